"""What became of each turn, out of the record of a run. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import define, field, frozen

from kioskd.chaos import marks
from kioskd.chaos import record as r

EDGE_MS = 2  # a millisecond may be cut at either end of what was played

PASSING = ("sent", "limit-reached", "connection-lost", "fault")  # signs that no turn ends by


class Fate(Enum):
    """How a press ended."""

    ANSWERED = "answered"
    SHORTENED = "shortened"  # the answerer stopped by a limit or a filter of its own
    INTERRUPTED = "interrupted"  # by the visitor's next press, in mid-answer
    CANCELLED = "cancelled"  # by the visitor's next press, before any answer
    APOLOGISED = "apologised"
    REFUSED = "refused"  # by the out-of-order sign
    DISCARDED = "discarded"  # held too short
    LOST = "lost"
    STUCK = "stuck"


@frozen
class Limits:
    """What the settings of the run allow. `turn_ms`: from a press to its end, but for the playing of its answer."""

    turn_ms: float
    forget_after_ms: float
    in_flight_ms: float = 0.0  # by how much `sent_at` may be too late
    silent_within_ms: float = 0.0  # after a press or an apology
    shortening: frozenset[str] = frozenset()  # faults by which an answer ends early, and seems whole
    harmless: frozenset[str] = frozenset()  # faults that excuse nothing
    lasting: frozenset[str] = frozenset()  # faults that last until the next session


@define
class Case:
    """A press, and what followed. `turn` 0: it opened none."""

    turn: int
    pressed_at: float
    innocent: bool = False  # nothing had gone wrong since the last turn's end
    cut_innocent: bool = False  # its answer was cut though nothing had gone wrong
    heard: int = 0  # so often did the server hear the question
    asked_again_innocent: bool = False  # the server heard it again though nothing had gone wrong
    released_at: float | None = None
    recorded_ms: int | None = None
    signed_at: float | None = None
    sign: str = ""
    spoken: list[r.Spoken] = field(factory=list)
    next_press: float | None = None
    shortened: bool = False
    answers: dict[int, int] = field(factory=dict)  # part -> its ms, as the server gave them
    pressed_while: str = "ready"  # what the lamp showed at the next press, or at the end
    over_at: float = 0.0
    fate: Fate = Fate.STUCK

    @property
    def spoken_ms(self) -> float:
        """How long its answer took."""
        return sum(spoken.at - spoken.began for spoken in self.spoken)

    @property
    def is_whole(self) -> bool:
        """All of the answer was heard: each part from its beginning, the last one to its end."""
        sound = [stretch for spoken in self.spoken for stretch in spoken.sound]
        if not sound or any(stretch.first for stretch in sound) or len({one.part for one in sound}) != len(sound):
            return False
        last = sound[-1]
        return last.ms >= self.answers.get(last.part, marks.PART_MS) - EDGE_MS

    def close(self, at: float) -> None:
        """The next press has come, or the end of the run: how had it ended until then?"""
        finished = self.spoken[-1] if self.spoken and self.spoken[-1].finished else None
        if self.sign:
            self.over_at = self.signed_at if self.signed_at is not None else at
            self.fate = {"too-short": Fate.DISCARDED, "out-of-order": Fate.REFUSED}.get(self.sign, Fate.APOLOGISED)
        elif finished is not None and (self.is_whole or self.pressed_while == "ready"):
            self.over_at = finished.at
            self.fate = Fate.ANSWERED if self.is_whole else Fate.SHORTENED if self.shortened else Fate.LOST
        elif self.turn and self.pressed_while == "ready":  # the lamp has shown an end, and nothing else has
            self.over_at, self.fate = at, Fate.LOST
        elif self.next_press is not None and self.turn:
            self.over_at = self.next_press
            self.fate = Fate.INTERRUPTED if self.pressed_while == "speaking" else Fate.CANCELLED
        else:
            self.over_at = at


@define
class _Blame:
    """Whether anything has gone wrong lately."""

    limits: Limits
    link: str = "down"
    state: str = "starting"
    up_since: float = float("inf")
    over_at: float = float("-inf")  # when the last turn was over
    faults: list[float] = field(factory=list)  # the times of those since then
    lasting: bool = False  # a fault lasts until the session that it struck is replaced

    @property
    def innocent(self) -> bool:
        return self.up_since <= self.over_at and not self.faults and not self.lasting

    def note(self, entry: r.Entry) -> None:
        match entry:
            case r.Struck(at, kind) if kind not in self.limits.harmless:
                self.faults.append(at)
                self.lasting = self.lasting or kind in self.limits.lasting
            case r.Viewed(at, state, link):
                if link != self.link:
                    self.up_since = at if link == "up" else float("inf")
                self.link, self.state = link, state
            case r.Opened():
                self.lasting = False

    def turn_over(self, at: float) -> None:
        self.over_at = at
        self.faults = [fault for fault in self.faults if fault > at]


def follow(log: Sequence[r.Entry], limits: Limits) -> list[Case]:
    """The presses of a run, in their order."""
    cases: list[Case] = []
    by_turn: dict[int, Case] = {}
    blame = _Blame(limits)
    case: Case | None = None
    for entry in log:
        blame.note(entry)
        match entry:
            case r.Pressed(at):
                if case is not None:
                    case.next_press, case.pressed_while = at, blame.state
                    _close(case, at, blame)
                case = Case(0, at)
                cases.append(case)
            case r.Begun(_, turn) if case is not None:
                case.turn = turn
                by_turn[turn] = case
            case r.Released(at, turn) if turn in by_turn:
                by_turn[turn].released_at = at
            case r.Resumed(_, turn) if case is not None:
                by_turn[turn] = case
                case.cut_innocent = case.cut_innocent or blame.innocent
            case r.Recorded(_, turn, ms) if turn in by_turn:
                by_turn[turn].recorded_ms = ms
            case r.Signed(at, sign) if case is not None and sign not in PASSING and not case.sign:
                case.sign, case.signed_at = sign, at
                case.innocent = blame.innocent
            case r.Spoken(_, turn) if turn in by_turn:
                by_turn[turn].spoken.append(entry)
            case r.Asked(_, _, turn, part, ms) if turn in by_turn:
                by_turn[turn].answers[part] = ms
            case r.Heard(_, _, _, sound) if sound and sound[0].turn in by_turn:
                heard = by_turn[sound[0].turn]
                heard.heard += 1
                heard.asked_again_innocent |= heard.heard > 1 and heard is case and blame.innocent
            case r.Struck(_, kind) if case is not None and kind in limits.shortening:
                case.shortened = True
    if case is not None:
        case.pressed_while = blame.state
        _close(case, log[-1].at, blame)
    return cases


def _close(case: Case, at: float, blame: _Blame) -> None:
    case.close(at)
    blame.turn_over(case.over_at)
