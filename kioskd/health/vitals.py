"""What must keep moving for the kiosk to be alive, and the ladder for a part that doesn't (PURE).

Every number of the ladder stands here. Ages are seconds on the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from attrs import define, field, frozen

from kioskd.config.schema import Endpoint
from kioskd.value import Value

LOOK_S = 5.0  # between two looks; the service manager's watchdog may want them closer
RUNG_S = 10.0  # each rung gets so long to work. With LOOK_S, EXIT comes within 25 s of the last WATCHDOG=1
STEADY_S = 60.0  # a part that stands still again within so long goes on at the rung after the last one
STANDSTILL_S = 3 * LOOK_S  # between two looks: the machine or the process was stopped, and nobody is to blame
LOOP_LOOKS = 3  # so many looks of the guard without a beat of the loop: a turn of the loop takes 0.1 s at worst
LAST_RESORT_S = 25.0  # without a beat: not even the guard could run, as a library keeps the interpreter to itself
LINK_SLACK_S = 10.0  # beyond the endpoint's own deadlines, which are to end what hangs before we do
STOP_BOUND_S = 8.0  # to close devices and connections, after the answer's own grace; the unit's TimeoutStopSec is more


class Rung(Enum):
    """What is done about a part that stands still, from the gentlest on."""

    REOPEN = "reopen"  # the part gives its device or connection back, and takes it anew
    RESTART = "restart"  # the part's task is cancelled and begun anew
    EXIT = "exit"  # the process ends, and the service manager starts it anew


@frozen(eq=False, repr=False)
class Vital:
    """One thing that must move.

    Attributes:
        still: What is wrong where it doesn't, in words for the owner.
        limit_s: It is fresh up to this age.
        rungs: What helps, in this order.
        exit_code: Of the process that ends because of it.
    """

    still: str
    limit_s: float
    rungs: tuple[Rung, ...]
    exit_code: int


STOP_OVERDUE = 85  # the exit code where closing everything took longer than STOP_BOUND_S

_ALL = (Rung.REOPEN, Rung.RESTART, Rung.EXIT)

VITALS: Mapping[str, Vital] = {
    "loop": Vital("the event loop does not turn", LOOP_LOOKS * LOOK_S, (Rung.EXIT,), 80),
    # A device gives sound, or is lost and tried again, within 3 s; to open one over Bluetooth takes up to 5 s.
    "capture": Vital("no sound from the microphone, and no attempt to open it", 10.0, _ALL, 81),
    "playback": Vital("the speaker's thread does not turn", 10.0, _ALL, 82),
    # Replaced by `link_limit_s`, which knows the endpoints.
    "link": Vital("no sign of life from the endpoint, and no attempt to reach it", 60.0, _ALL, 83),
    # It looks every three seconds, and opens its board in a moment. What it has to reopen is all of it.
    "panel": Vital("the button is not read, nor its board tried again", 10.0, (Rung.RESTART, Rung.EXIT), 84),
}


@frozen(eq=False, repr=False)
class Reading(Value):
    """One vital as it was read; ages in seconds on the monotonic clock.

    Attributes:
        name: `loop`, `capture`, `playback`, `link` or `panel`.
        age_s: Since it last moved.
        limit_s: It is fresh up to this age.
        excuse: A known absence in words ("no board: next try in 4 s"); with one the vital is fresh at any age.
        hung: Its thread doesn't turn: it can't be restarted, and only the process's end may free it.
    """

    name: str
    age_s: float
    limit_s: float
    excuse: str = ""
    hung: bool = False

    @property
    def fresh(self) -> bool:
        """Whether it moved lately enough, or is known to be absent."""
        return bool(self.excuse) or self.age_s <= self.limit_s

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What may help, the gentlest first."""
        rungs = VITALS[self.name].rungs
        return tuple(rung for rung in rungs if rung is not Rung.RESTART) if self.hung else rungs

    @property
    def complaint(self) -> str:
        """What is wrong with one that isn't fresh, in words."""
        still = "its thread hangs in the sound driver" if self.hung else VITALS[self.name].still
        return f"{self.name}: {still}, for {self.age_s:.0f} s"


@frozen(eq=False, repr=False)
class Step(Value):
    """A rung to be taken now."""

    reading: Reading
    rung: Rung


@frozen(eq=False, repr=False)
class Verdict(Value):
    """What one look found. `recovered` are the names of those that were stale at the look before."""

    stale: tuple[Reading, ...] = ()
    steps: tuple[Step, ...] = ()
    recovered: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether the service manager may be told so."""
        return not self.stale


@define(eq=False, repr=False)
class _Climb:
    """How far one vital is up the ladder."""

    taken: int  # rungs
    taken_at: float
    stale_at: float  # when it was last seen standing still
    stale: bool = True


@define(eq=False, repr=False)
class Ladder:
    """Judges one look after another; it remembers the rungs: one that didn't help for long is not taken again."""

    _climbs: dict[str, _Climb] = field(factory=dict, init=False)
    _looked_at: float | None = field(default=None, init=False)
    _moving_since: float = field(default=0.0, init=False)

    def look(self, readings: Iterable[Reading], now: float) -> Verdict:
        """The verdict about `readings`, taken at `now`."""
        if self._looked_at is None or now - self._looked_at > STANDSTILL_S:
            self._moving_since = now
        self._looked_at = now
        stale, steps, recovered = [], [], []
        for reading in readings:
            climb = self._climbs.get(reading.name)
            if reading.fresh or now - self._moving_since <= reading.limit_s < reading.age_s:
                if climb is not None and climb.stale:
                    climb.stale = False
                    recovered.append(reading.name)
                continue
            stale.append(reading)
            if rung := self._climb(reading, now):
                steps.append(Step(reading, rung))
        return Verdict(tuple(stale), tuple(steps), tuple(recovered))

    def _climb(self, reading: Reading, now: float) -> Rung | None:
        """The rung to be taken now; None while the one before may still work."""
        climb = self._climbs.get(reading.name)
        if climb is None or now - climb.stale_at > STEADY_S:
            climb = self._climbs[reading.name] = _Climb(0, now, now)
        elif climb.stale and now - climb.taken_at < RUNG_S:
            climb.stale_at = now
            return None
        rungs = reading.rungs
        rung = rungs[min(climb.taken, len(rungs) - 1)]
        climb.taken += 1
        climb.taken_at = climb.stale_at = now
        climb.stale = True
        return rung


def link_limit_s(endpoints: Iterable[Endpoint]) -> float:
    """How long a link may go without a pong, an attempt or a change, by the slowest endpoint's own deadlines."""
    return max(_slowest_step_s(endpoint) + endpoint.close_timeout_s for endpoint in endpoints) + LINK_SLACK_S


def _slowest_step_s(endpoint: Endpoint) -> float:
    mint_s = endpoint.mint.timeout_s if endpoint.mint else 0.0
    opening_s = mint_s + endpoint.open_timeout_s + endpoint.setup_timeout_s
    return max(opening_s, endpoint.ping_interval_s + endpoint.ping_timeout_s)
