"""Who was failed? The server's log and the speaker's record decide. PURE.

- **lost**: a turn that was spoken and released, and got neither its whole answer, nor an apology or out-of-order sign,
  nor the visitor's next press; an answered question that the server heard with parts missing, out of order, or of
  another turn; a turn apologised for or cut though nothing had gone wrong since the last turn's end; a new session in
  the middle of a conversation that knows nothing of the turns answered before.
- **doubled**: a question taken twice in one session, or answered twice in it, or asked again in another session though
  nothing had gone wrong; any part of an answer played twice.
- **stale**: sound of a turn played after the visitor's next press, after its apology, or as another turn's answer; a
  question sent after its turn was over; anything of one visitor in the session of the next.
- **stuck**: a press that came to no end within its limits; a kiosk that isn't ready when all is over.
- **leaked**: not here (see `leaks`): tasks, sockets, memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from attrs import define, field, frozen

from kioskd.chaos import marks
from kioskd.chaos import record as r
from kioskd.chaos.cases import Case, Fate, Limits, follow
from kioskd.chaos.marks import Sound, Stretch

PLACES_TOLD = 6  # of a sound in pieces: more say nothing more
COLUMNS = ("lost", "doubled", "stale", "stuck", "leaked")


@frozen
class Finding:
    """Somebody was failed: when (virtual ms), which turn, in which column, and how."""

    at: float
    turn: int
    column: str
    what: str


@define
class Verdict:
    """What became of all the turns."""

    fates: dict[Fate, int] = field(factory=dict)
    findings: list[Finding] = field(factory=list)

    def count(self, column: str) -> int:
        """How many findings a column has."""
        return sum(1 for finding in self.findings if finding.column == column)


def judge(log: Sequence[r.Entry], limits: Limits) -> Verdict:
    """The verdict on a run that is over."""
    cases = follow(log, limits)
    findings: list[Finding] = []
    for case in cases:
        findings += _of_case(case, limits)
    findings += _of_server(log, cases, limits)
    findings += _of_visitors(log, cases, limits)
    last = next((entry for entry in reversed(log) if isinstance(entry, r.Viewed)), None)
    if last is not None and last.state not in ("ready", "stopped"):
        findings.append(Finding(last.at, 0, "stuck", f"the lamp shows {last.state} when all is over"))
    fates: dict[Fate, int] = defaultdict(int)
    for case in cases:
        fates[case.fate] += 1
    return Verdict(dict(fates), sorted(findings, key=lambda finding: finding.at))


def _of_case(case: Case, limits: Limits) -> Iterable[Finding]:
    def found(column: str, what: str) -> Finding:
        return Finding(case.over_at, case.turn, column, what)

    if case.fate is Fate.LOST:
        yield found("lost", f"pressed at {case.pressed_at:.0f}, and got {_told(case)}")
    if case.fate is Fate.STUCK:
        yield found("stuck", f"pressed at {case.pressed_at:.0f}, and never ended")
    elif case.over_at - case.pressed_at > limits.turn_ms + case.spoken_ms:
        yield found("stuck", f"it took {case.over_at - case.pressed_at:.0f} ms")
    if case.fate in (Fate.APOLOGISED, Fate.REFUSED) and case.innocent:
        yield found("lost", f"{case.fate.value} though nothing had gone wrong")
    if case.cut_innocent:
        yield found("lost", "its answer was cut though nothing had gone wrong")
    if case.asked_again_innocent:
        yield found("doubled", "asked again in another session though nothing had gone wrong")
    for spoken in case.spoken:
        for stretch in spoken.sound:
            if stretch.turn != case.turn:
                yield found("stale", f"the answer to turn {stretch.turn} was played instead: {_place(stretch)}")
        if case.signed_at is not None and spoken.at > case.signed_at + limits.silent_within_ms:
            yield found("stale", "its answer was played after its apology")
        if case.next_press is not None and spoken.at > case.next_press + limits.silent_within_ms:
            yield found("stale", "its answer was played after the visitor's next press")
    whole: Sound = tuple(stretch for spoken in case.spoken for stretch in spoken.sound)
    for stretch in marks.repeated(whole):
        yield found("doubled", f"played twice: {_place(stretch)}")


def _of_server(log: Sequence[r.Entry], cases: Sequence[Case], limits: Limits) -> Iterable[Finding]:
    by_turn = {case.turn: case for case in cases}
    heard: set[tuple[int, int]] = set()
    asked: set[tuple[int, int, int]] = set()
    for entry in log:
        match entry:
            case r.Heard(at, sent_at, session, sound, _):
                turn = sound[0].turn if sound else 0
                case_ = by_turn.get(turn)
                if case_ is None:
                    yield Finding(at, turn, "lost", "the server heard a question that nobody recorded")
                    continue
                if (session, turn) in heard:
                    yield Finding(at, turn, "doubled", f"asked twice in session {session}")
                heard.add((session, turn))
                if (flaw := _flaw(sound, case_)) and case_.fate in (Fate.ANSWERED, Fate.INTERRUPTED):
                    yield Finding(at, turn, "lost", f"the server heard {flaw}")
                if sent_at > case_.over_at + limits.in_flight_ms:
                    yield Finding(at, turn, "stale", f"asked {sent_at - case_.over_at:.0f} ms after its end")
            case r.Asked(at, session, turn, part, _):
                if (session, turn, part) in asked:
                    yield Finding(at, turn, "doubled", f"answered twice in session {session}")
                asked.add((session, turn, part))


def _flaw(sound: Sound, case: Case) -> str:
    """What is wrong with a question as the server heard it."""
    others = [stretch for stretch in sound if stretch.turn != case.turn or stretch.part != marks.QUESTION]
    if others:
        return f"sound that isn't its own: {_place(others[0])}"
    if len(sound) > 1 or sound[0].first != 0:
        return "holes: " + " ".join(_place(stretch) for stretch in sound)
    if case.recorded_ms is not None and sound[0].ms != case.recorded_ms:
        return f"{sound[0].ms} ms of {case.recorded_ms}"
    return ""


def _of_visitors(log: Sequence[r.Entry], cases: Sequence[Case], limits: Limits) -> Iterable[Finding]:
    """What sessions knew, and what they should not have known."""
    forgotten = [entry.at for entry in log if isinstance(entry, r.Forgotten)]
    opened = {entry.session: entry.at for entry in log if isinstance(entry, r.Opened)}
    visitor = {case.turn: sum(1 for at in forgotten if at <= case.pressed_at) for case in cases}
    answered = [case for case in cases if case.fate is Fate.ANSWERED]
    for entry in log:
        if not isinstance(entry, r.Heard) or not entry.sound or entry.sound[0].turn not in visitor:
            continue
        turn, session = entry.sound[0].turn, entry.session
        strangers = sorted(known for known in entry.known if visitor.get(known, -1) != visitor[turn])
        if strangers:
            yield Finding(entry.at, turn, "stale", f"session {session} knows turn {strangers[0]} of a former visitor")
        before = [
            case.turn
            for case in answered
            if case.turn < turn and visitor[case.turn] == visitor[turn] and case.over_at < opened.get(session, 0.0)
        ]
        if before and not entry.known:
            yield Finding(entry.at, turn, "lost", f"session {session} knows nothing of turn {before[-1]}")
    for former, case in pairwise(cases):
        late = case.pressed_at - former.over_at > limits.forget_after_ms
        if late and former.heard and visitor[former.turn] == visitor[case.turn]:
            yield Finding(case.pressed_at, case.turn, "stale", "the visitor before was not forgotten")


def _told(case: Case) -> str:
    places = [_place(stretch) for spoken in case.spoken for stretch in spoken.sound]
    return " ".join(places[:PLACES_TOLD]) or "nothing"


def _place(stretch: Stretch) -> str:
    return f"{stretch.turn}.{stretch.part}[{stretch.first}:{stretch.end}]"
