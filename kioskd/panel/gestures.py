"""From the edges of a bouncing contact to what somebody meant by them. PURE.

One table says what an edge, or the time that passed without one, means after what came before. Times alone tell the
gestures apart: shorter than the debounce is nothing, a release shorter than the slip is none, a press shorter than a
tap is one, and two of those with a short pause are a double press.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto

from kioskd.config.schema import Button, DoublePress, OwnerButton
from kioskd.config.schema import Gestures as Use
from kioskd.dialogue.events import DoublePressed, FoundHeld, OwnerHeld, OwnerPressed, Pressed, Released, Tapped
from kioskd.panel.debounce import Debounce

ButtonEvent = Pressed | Released | Tapped | DoublePressed | FoundHeld
OwnerEvent = OwnerPressed | OwnerHeld


class Phase(Enum):
    """What the finger is believed to do."""

    UNREAD = auto()  # nobody has looked yet
    FOUND = auto()  # down at the first look, perhaps a glitch
    HELD = auto()  # down since before the first look: no press until it was up once
    UP = auto()
    DOWN = auto()
    SLIPPING = auto()  # up, but perhaps only for a moment
    TAPPED = auto()  # up after a tap, which may be the first of two
    OWING = auto()  # the same, and nobody was told yet that it is up


class Cue(Enum):
    """What the table is asked about."""

    WENT_DOWN = auto()
    WENT_UP = auto()
    TIME_IS_UP = auto()


class Gestures:
    """The push-to-talk button. Times are seconds on any monotonic clock.

    A button goes down by `Pressed`, `DoublePressed` or `FoundHeld` and up by `Released` or `Tapped`, in turns; only
    the release before a `DoublePressed` may go untold.
    """

    def __init__(self, settings: Button) -> None:
        self._settings = settings
        self._debounce = Debounce(settings.debounce_ms)
        self._phase = Phase.UNREAD
        self._down_at = 0.0
        self._up_at = 0.0
        self._second = False  # the press at hand is the second of a double press

    @property
    def deadline(self) -> float | None:
        """When `feed` is due though the level doesn't change; None while time alone changes nothing."""
        return min((due for due in (self._debounce.deadline, self._due) if due is not None), default=None)

    def feed(self, raw_down: bool, now: float) -> list[ButtonEvent]:
        """The level as read at `now`, and what it or the time means. Feeding an unchanged level is no edge."""
        if self._phase is Phase.UNREAD:
            self._phase = Phase.FOUND if raw_down else Phase.UP
        told = list(self._catch_up(now))
        if (edge := self._debounce.feed(raw_down, now)) is not None:
            told += self._follow(edge, now, now)
            told += self._catch_up(now)
        if self._phase is Phase.FOUND and not raw_down:
            self._phase = Phase.UP
        return told

    def lost(self, now: float) -> list[ButtonEvent]:
        """The button can't be read any more: a press that nobody can see the end of ends here."""
        if self._phase in (Phase.DOWN, Phase.HELD):
            self._up_at = now
        told: list[ButtonEvent] = list(self._over(now)) if self._phase in (Phase.DOWN, Phase.SLIPPING) else []
        if self._phase in (Phase.HELD, Phase.OWING):
            told.append(self._released(now))
        self._phase = Phase.UP
        return told

    @property
    def _due(self) -> float | None:
        match self._phase:
            case Phase.SLIPPING:
                return self._up_at + self._settings.slip_ms / 1000
            case Phase.TAPPED | Phase.OWING:
                return self._up_at + self._settings.double_press_ms / 1000
        return None

    def _catch_up(self, now: float) -> Iterator[ButtonEvent]:
        """What was due until now, in its order, so that a caller who comes late loses nothing."""
        while (due := self.deadline) is not None and due <= now:
            if due == self._due:
                yield from TABLE[self._phase, Cue.TIME_IS_UP](self, due, now)
            elif (edge := self._debounce.tick(due)) is not None:
                yield from self._follow(edge, due, now)

    def _follow(self, edge: Pressed | Released, at: float, now: float) -> Iterator[ButtonEvent]:
        cue = Cue.WENT_DOWN if isinstance(edge, Pressed) else Cue.WENT_UP
        yield from TABLE.get((self._phase, cue), Gestures._nothing)(self, at, now)

    # -- the outcomes: `at` is when it happened, `now` when it is told

    def _nothing(self, at: float, now: float) -> Iterator[ButtonEvent]:
        yield from ()

    def _press(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase, self._down_at, self._second = Phase.DOWN, at, False
        yield Pressed()

    def _press_again(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase, self._down_at, self._second = Phase.DOWN, at, True
        yield DoublePressed()

    def _find(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase = Phase.HELD
        yield FoundHeld()

    def _let_go(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase, self._up_at = Phase.UP, at
        yield self._released(now)

    def _lift(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase, self._up_at = Phase.SLIPPING, at
        yield from ()

    def _catch(self, at: float, now: float) -> Iterator[ButtonEvent]:
        """The finger is back: the press goes on as if it had never been away."""
        self._phase = Phase.DOWN
        yield from ()

    def _over(self, now: float) -> Iterator[ButtonEvent]:
        short = (self._up_at - self._down_at) * 1000 < self._settings.tap_ms
        use = self._settings.gestures
        tapped = not self._second and (use is Use.TAP or (use is Use.BOTH and short))
        may_double = not self._second and short and self._settings.double_press is DoublePress.REPEAT
        self._phase = Phase.UP
        if tapped:
            self._phase = Phase.TAPPED if may_double else Phase.UP
            yield Tapped()
        elif may_double:  # in a hurry to say that it was too short, the kiosk would talk into the second press
            self._phase = Phase.OWING
        else:
            yield self._released(now)

    def _end(self, at: float, now: float) -> Iterator[ButtonEvent]:
        yield from self._over(now)

    def _stay_single(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase = Phase.UP
        yield from ()

    def _pay(self, at: float, now: float) -> Iterator[ButtonEvent]:
        self._phase = Phase.UP
        yield self._released(now)

    def _released(self, now: float) -> Released:
        return Released(round((now - self._up_at) * 1000))


TABLE: dict[tuple[Phase, Cue], Callable[[Gestures, float, float], Iterator[ButtonEvent]]] = {
    (Phase.FOUND, Cue.WENT_DOWN): Gestures._find,  # held for the whole debounce, and never seen up
    (Phase.HELD, Cue.WENT_UP): Gestures._let_go,
    (Phase.UP, Cue.WENT_DOWN): Gestures._press,  # at once: the first word is not to be lost, whatever this becomes
    (Phase.DOWN, Cue.WENT_UP): Gestures._lift,
    (Phase.SLIPPING, Cue.WENT_DOWN): Gestures._catch,  # before slip_ms: the same press
    (Phase.SLIPPING, Cue.TIME_IS_UP): Gestures._end,  # after slip_ms: a tap below tap_ms, else a release
    (Phase.TAPPED, Cue.WENT_DOWN): Gestures._press_again,  # before double_press_ms: a double press
    (Phase.TAPPED, Cue.TIME_IS_UP): Gestures._stay_single,
    (Phase.OWING, Cue.WENT_DOWN): Gestures._press_again,
    (Phase.OWING, Cue.TIME_IS_UP): Gestures._pay,
}
"""What is missing can't happen: a contact goes down and up in turns, and time counts only where it is waited for."""


class OwnerGestures:
    """The owner's button: short is told at its release, long as soon as it is."""

    def __init__(self, settings: OwnerButton) -> None:
        self._long_s = settings.long_press_s
        self._debounce = Debounce(settings.debounce_ms)
        self._seen_up = False
        self._down_at: float | None = None  # None: up, or a press that was told already

    @property
    def deadline(self) -> float | None:
        """When `feed` is due though the level doesn't change."""
        return min((due for due in (self._debounce.deadline, self._due) if due is not None), default=None)

    def feed(self, raw_down: bool, now: float) -> list[OwnerEvent]:
        """The level as read at `now`. A button that was down at the first look says nothing until it was up once."""
        told = list(self._catch_up(now))
        edge = self._debounce.feed(raw_down, now)
        told += self._follow(edge, now)
        told += self._catch_up(now)
        self._seen_up |= not raw_down
        return told

    @property
    def _due(self) -> float | None:
        return None if self._down_at is None else self._down_at + self._long_s

    def _catch_up(self, now: float) -> Iterator[OwnerEvent]:
        while (due := self.deadline) is not None and due <= now:
            if due == self._due:
                self._down_at = None
                yield OwnerHeld()
            else:
                yield from self._follow(self._debounce.tick(due), due)

    def _follow(self, edge: Pressed | Released | None, at: float) -> Iterator[OwnerEvent]:
        if isinstance(edge, Pressed) and self._seen_up:
            self._down_at = at
        elif isinstance(edge, Released) and self._down_at is not None:
            self._down_at = None
            yield OwnerPressed()
