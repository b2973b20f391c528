"""Which fault strikes when: drawn from a seed, and steered to what was hit least until now."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define, field

from kioskd.dialogue.effects import State, View
from kioskd.dialogue.events import Link
from kioskd.simulator.faults.catalogue import ALL_KINDS, KINDS, Kind, Level, Phase

PHASES = ("idle", "listening", "thinking", "speaking")
DOWN = "pressed-while-down"
PLAN_SHARE = 0.5  # of the presses get a fault planned
PLAN_PRESSES = 3  # a plan that found no opportunity by then is dropped
POKE_AFTER_S = (0.0, 0.005, 0.03, 0.1, 0.25, 0.5)
ANYWHERE_SHARE = 0.3  # of the plans wait for no phase of a turn, but for one of the connection, and a chance in it
ANYWHERE_CHANCE = 0.3
AGAIN = (1, 1, 1, 1, 2, 3)  # how often in a row a connection is refused
OFTEN = {"duplicate-event": 40}  # which one of many events it strikes makes the difference
OFTEN_IN = Phase.ANSWERING  # where most of it would be heard
COSTLY = {"frame-20mb": 20}  # takes as long as ten turns
_MESSAGES = [
    name
    for name, kind in KINDS.items()
    if kind.level is Level.MESSAGE and not kind.phases <= {Phase.SETUP} and name not in COSTLY
]


def phases_of(view: View) -> tuple[str, ...]:
    """The phases of a turn in which a fault that strikes now has struck."""
    name = "idle" if view.state is State.READY else view.state.value
    pressed = view.state in (State.LISTENING, State.THINKING)
    return (name, DOWN) if pressed and view.link is not Link.UP else (name,)


@define
class Coverage:
    """What has been hit, by kind and phase, in all the worlds of a run."""

    hits: Counter[tuple[str, str]] = field(factory=Counter)
    tries: Counter[tuple[str, str]] = field(factory=Counter)

    def struck(self, kind: str, view: View) -> None:
        """It was performed now."""
        for phase in phases_of(view):
            self.hits[kind, phase] += 1

    def choose(self, rng: random.Random, kinds: Sequence[str]) -> tuple[Kind, str]:
        """What needs it most."""
        cells = [(kind, phase) for kind in kinds for phase in PHASES]
        least = min(self._weight(cell) for cell in cells)
        cell = rng.choice([cell for cell in cells if self._weight(cell) <= least + 1])
        self.tries[cell] += 1
        return ALL_KINDS[cell[0]], cell[1]

    def kinds_in(self, phases: int) -> list[str]:
        """The kinds that were hit in at least so many phases."""
        found = Counter(kind for kind, _ in self.hits)
        return sorted(kind for kind, count in found.items() if count >= phases)

    def _weight(self, cell: tuple[str, str]) -> int:
        return (2 * self.hits[cell] + self.tries[cell]) * COSTLY.get(cell[0], 1)


@define
class _Plan:
    kind: Kind
    phase: str  # "": any
    times: int
    presses: int = 0
    poked: bool = False
    wire: Phase | None = None  # None: any that the kind allows

    @property
    def at_connect(self) -> bool:
        """Whether it can strike a new connection only."""
        return self.kind.phases <= {Phase.CONNECT, Phase.SETUP}


class Schedule:
    """The faults' source (see `simulator.faults.script.FaultSource`).

    `poke(kind, at a new connection)` has to bring about a chance; True if it has performed the fault itself.
    """

    def __init__(
        self,
        rng: random.Random,
        coverage: Coverage,
        view: Callable[[], View],
        poke_at: Callable[[float, Callable[[], None]], None],
        poke: Callable[[Kind, bool], bool],
        kinds: Sequence[str] = tuple(KINDS),
        anywhere: bool = False,
    ) -> None:
        """`anywhere`: the faults strike where they can, in whatever phase of a turn."""
        self._anywhere = anywhere
        self._kinds = kinds
        self._messages = [name for name in kinds if name in _MESSAGES]
        self._rng = rng
        self._coverage = coverage
        self._view = view
        self._poke_at = poke_at
        self._poke = poke
        self._plan: _Plan | None = None
        self.enabled = True

    def press(self) -> None:
        """The visitor is about to press."""
        if self._plan is not None:
            self._plan.presses += 1
            if self._plan.presses >= PLAN_PRESSES:
                self._plan = None
        if self._plan is None and self.enabled and self._rng.random() < PLAN_SHARE:
            self._plan = self._new_plan()

    def on_view(self, view: View) -> None:
        """The lamp shows something else: is it the planned moment?"""
        plan = self._plan
        if plan is not None and not plan.poked and plan.phase in phases_of(view):
            plan.poked = True
            self._poke_at(self._rng.choice(POKE_AFTER_S), lambda: self._come(plan))

    def draw(self, level: Level, phase: Phase) -> Kind | None:
        """See `FaultSource`."""
        plan = self._plan
        if plan is None or plan.kind.level is not level or phase not in plan.kind.phases:
            return None
        if plan.wire not in (None, phase):
            return None
        if not plan.at_connect and not self._is_moment(plan):
            return None
        plan.times -= 1
        if plan.times <= 0:
            self._plan = None
        return plan.kind

    def refusal(self) -> Kind | None:
        """The fault of an attempt to connect, before there is a connection."""
        if self._plan is None or not self._plan.kind.phases <= {Phase.CONNECT}:
            return None
        return self.draw(Level.NETWORK, Phase.CONNECT)

    def stop(self) -> None:
        """No fault from now on, until `enabled`."""
        self.enabled, self._plan = False, None

    def _new_plan(self) -> _Plan:
        if self._anywhere:
            kind = ALL_KINDS[self._rng.choice(self._kinds)]
            return _Plan(kind, "", self._rng.choice(AGAIN) if kind.phases <= {Phase.CONNECT} else 1)
        if self._rng.random() < ANYWHERE_SHARE and self._messages:
            (name,) = self._rng.choices(self._messages, [OFTEN.get(name, 1) for name in self._messages])
            phases = sorted(KINDS[name].phases - {Phase.SETUP}, key=lambda phase: phase.value)
            if name in OFTEN and self._rng.random() < 0.5:
                phases = [OFTEN_IN]
            return _Plan(KINDS[name], "", 1, wire=self._rng.choice(phases))
        kind, phase = self._coverage.choose(self._rng, self._kinds)
        return _Plan(kind, phase, self._rng.choice(AGAIN) if kind.phases <= {Phase.CONNECT} else 1)

    def _is_moment(self, plan: _Plan) -> bool:
        if not plan.phase:
            return self._rng.random() < ANYWHERE_CHANCE
        return plan.phase in phases_of(self._view())

    def _come(self, plan: _Plan) -> None:
        if plan is self._plan and self._poke(plan.kind, plan.at_connect):
            self._plan = None
