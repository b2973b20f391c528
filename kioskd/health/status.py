"""What the owner is told of the past: turns by outcome, the latest latencies, faults with cause and age. PURE."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from attrs import define, evolve, field, frozen

from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event, Fault, Link
from kioskd.health.turns import TurnReport, TurnWatch
from kioskd.value import Value

KEPT_TURNS = 32  # as many as a line on a screen of 80 columns has room for

_UNTOLD = {Fault.BUTTON_STUCK: "held down for too long: look at the button, and at its wires"}


def outcome(report: TurnReport) -> str:
    """What came of a turn, in a word: answered, interrupted, cancelled, own, or the sign that it ended with."""
    if report.own:
        return "own"
    if report.sign is not None:
        return report.sign.value
    if report.heard_ms is None:
        return "cancelled"
    return "interrupted" if report.interrupted else "answered"


@frozen(eq=False, repr=False)
class FaultNote(Value):
    """A fault that lasts. `since` in seconds of the daemon's clock."""

    cause: str
    since: float


@frozen(eq=False, repr=False)
class EndedTurn(Value):
    """A turn that is over, without what was said in it. `at` in seconds of the daemon's clock."""

    report: TurnReport
    at: float


@define(eq=False, repr=False)
class Chronicle:
    """An observer of the daemon. `on_turn` hears of each turn that is over, with what was said."""

    on_turn: Callable[[TurnReport], None] = field(default=lambda report: None)
    turns: Counter[str] = field(factory=Counter, init=False)
    last: deque[EndedTurn] = field(factory=lambda: deque(maxlen=KEPT_TURNS), init=False)
    faults: dict[Fault, FaultNote] = field(factory=dict, init=False)
    fault_counts: Counter[Fault] = field(factory=Counter, init=False)
    link_losses: int = field(default=0, init=False)
    _link: Link = field(default=Link.DOWN, init=False)
    _causes: dict[Fault, str] = field(factory=dict, init=False)
    _now: float = field(default=0.0, init=False)
    _watch: TurnWatch = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._watch = TurnWatch(self._turn_over)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        if type(what) is e.AnswerAudio:  # the most frequent of all, and it means nothing here
            return
        self._now = now
        self._watch(what, now)
        match what:
            case e.FaultRaised(fault, cause):
                self._causes[fault] = cause
                if fault in self.faults:  # the same one, of another cause
                    self.faults[fault] = evolve(self.faults[fault], cause=cause)
            case e.LinkChanged(link):
                self.link_losses += self._link is Link.UP and link is not Link.UP
                self._link = link
            case f.Show(view):
                self._note_faults(view.faults, now)

    def begin_again(self) -> None:
        """The parts are new ones (settings were reloaded): what was under way is over, what was counted stays."""
        self._watch.close()
        self.faults.clear()
        self._causes.clear()
        self._link = Link.DOWN

    @property
    def latencies_ms(self) -> list[int]:
        """From the release of the button to the first sound, of the latest turns that came to that, oldest first."""
        return [
            turn.report.sounded_ms
            for turn in self.last
            if turn.report.sounded_ms is not None and not turn.report.own and not turn.report.resumed
        ]

    def trouble(self, fault: Fault) -> str:
        """What is wrong, in one line that names the fault."""
        cause = self.faults[fault].cause
        return cause if cause.startswith(fault.value) else f"{fault.value}: {cause or 'no cause known'}"

    def _note_faults(self, faults: frozenset[Fault], now: float) -> None:
        for fault in faults - set(self.faults):
            self.faults[fault] = FaultNote(self._causes.get(fault) or _UNTOLD.get(fault, ""), now)
            self.fault_counts[fault] += 1
        for fault in set(self.faults) - faults:
            del self.faults[fault]
            self._causes.pop(fault, None)

    def _turn_over(self, report: TurnReport) -> None:
        self.turns["resumed" if report.resumed else outcome(report)] += 1
        self.last.append(EndedTurn(evolve(report, question="", answer=""), self._now))
        self.on_turn(report)
