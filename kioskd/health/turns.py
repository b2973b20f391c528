"""What each turn took, read off the events and effects as they pass. PURE."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field, frozen

from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, Sign, State
from kioskd.dialogue.events import Event
from kioskd.landmarks import TURN
from kioskd.value import Value

log = logging.getLogger(__name__)

PASSING = (Sign.LISTENING, Sign.SENT, Sign.CONNECTION_LOST, Sign.FAULT)  # no turn ends by them
TALKING = (State.LISTENING, State.THINKING, State.SPEAKING)


@frozen(eq=False, repr=False)
class TurnReport(Value):
    """One turn, over. Times in ms after the release of the button; None where it did not come to that."""

    turn: int
    question: str = ""
    answer: str = ""
    utterance_ms: int | None = None
    asked_ms: int | None = None
    answered_ms: int | None = None
    sounded_ms: int | None = None
    heard_ms: int | None = None
    sign: Sign | None = None
    interrupted: bool = False
    resumed: bool = False  # no press: the answer before was cut
    own: bool = False  # no question: a repeated answer, or words to the owner
    ending: e.Ending | None = None
    reason: str = ""
    usage: e.Usage | None = None


@define(eq=False, repr=False)
class TurnWatch:
    """An observer of the daemon; `on_report` gets each turn once, when it is over."""

    on_report: Callable[[TurnReport], None]
    _open: dict[int, TurnReport] = field(factory=dict, init=False)  # the current turn, and one falling silent
    _released_at: dict[int, float] = field(factory=dict, init=False)
    _silencing: set[int] = field(factory=set, init=False)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        match what:
            case f.BeginUtterance(turn):
                self._open[turn] = TurnReport(turn)
            case f.AskAgain(turn) | f.ContinueAnswer(turn):
                self._open[turn] = TurnReport(turn, resumed=True)
                self._released_at[turn] = now
            case f.RepeatAnswer(turn) | f.Announce(turn) | f.TestSound(turn) | f.CheckSound(turn) | f.SayWords(turn):
                self._open[turn] = TurnReport(turn, own=True)
                self._released_at[turn] = now
            case f.Show(view):
                self._close_all_but(max(self._open, default=0) if view.state in TALKING else 0)
            case f.GiveSign(sign) if self._open and sign not in PASSING:
                self._note(max(self._open), sign=sign)
            case f.StopSpeaking(turn) if turn in self._open:  # else it began before anybody watched
                self._silencing.add(turn)
            case f.Interrupt(turn, heard_ms):
                self._note(turn, heard_ms=heard_ms, interrupted=True)
                if turn in self._silencing:
                    self._close(turn)
            case _:
                self._note_answer(what, now)

    def close(self) -> None:
        """Nothing more will be seen: every turn is over."""
        for turn in sorted(self._open):
            self._close(turn)

    def _note_answer(self, what: Event | Effect, now: float) -> None:
        match what:
            case f.EndUtterance(turn):
                self._released_at[turn] = now
            case e.UtteranceEnded(turn, duration_ms):
                self._note(turn, utterance_ms=duration_ms)
            case f.Ask(turn):
                self._note(turn, asked_ms=self._since_release(turn, now))
            case f.Play(turn) if turn in self._open and self._open[turn].answered_ms is None:
                self._note(turn, answered_ms=self._since_release(turn, now))
            case e.SpeakingStarted(turn):
                self._note(turn, sounded_ms=self._since_release(turn, now))
            case e.SpeakingFinished(turn, heard_ms):
                self._note(turn, heard_ms=heard_ms)
            case e.AnswerEnded(turn, ending, reason):
                self._note(turn, ending=ending, reason=reason)
            case e.Transcript(turn, e.Speaker.VISITOR, text):
                self._note(turn, question=text)
            case e.Transcript(turn, e.Speaker.KIOSK, text):
                self._note(turn, answer=text)
            case e.Usage(turn):
                self._note(turn, usage=what)

    def _since_release(self, turn: int, now: float) -> int:
        return round((now - self._released_at.get(turn, now)) * 1000)

    def _note(self, turn: int, **seen: Any) -> None:
        if turn in self._open:
            self._open[turn] = evolve(self._open[turn], **seen)

    def _close_all_but(self, current: int) -> None:
        for turn in [turn for turn in self._open if turn != current and turn not in self._silencing]:
            self._close(turn)

    def _close(self, turn: int) -> None:
        self._silencing.discard(turn)
        self._released_at.pop(turn, None)
        self.on_report(self._open.pop(turn))


def log_turn(report: TurnReport) -> None:
    """One line a turn, for the owner; never what was said."""
    if report.own:
        log.info("turn %d: words of the kiosk's own, %d ms heard", report.turn, report.heard_ms or 0, extra=TURN)
    elif report.heard_ms is not None:
        log.info(
            "turn %d: %s ms of speech, sound after %s ms, %d ms of answer heard%s, %d tokens",
            report.turn,
            report.utterance_ms,
            report.sounded_ms,
            report.heard_ms,
            " until interrupted" if report.interrupted else "",
            report.usage.total if report.usage else 0,
            extra=TURN,
        )
    else:
        why = report.sign.value if report.sign else "cancelled by the next press"
        log.info(
            "turn %d: no answer: %s%s", report.turn, why, f" ({report.reason})" if report.reason else "", extra=TURN
        )
