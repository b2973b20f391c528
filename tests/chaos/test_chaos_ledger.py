"""The ledger finds each way of failing somebody in a record made by hand, and nothing in one of a good run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kioskd.chaos import record as r
from kioskd.chaos.cases import Fate, Limits
from kioskd.chaos.ledger import judge
from kioskd.chaos.marks import ANSWER, QUESTION, SECOND_PART, Sound, Stretch

LIMITS = Limits(turn_ms=30_000, forget_after_ms=31_000, harmless=frozenset({"unknown-event"}))


def question(turn: int, first: int = 0, end: int = 800) -> Sound:
    return (Stretch(turn, QUESTION, first, end - first),)


def answer(turn: int, first: int = 0, end: int = 500, part: int = ANSWER) -> Sound:
    return (Stretch(turn, part, first, end - first),)


def opened(at: float, session: int = 1) -> list[r.Entry]:
    return [r.Viewed(at, "ready", "up"), r.Opened(at, session)]


def spoken_to(at: float, turn: int) -> list[r.Entry]:
    return [
        r.Pressed(at),
        r.Begun(at, turn),
        r.Viewed(at, "listening", "up"),
        r.Released(at + 600, turn),
        r.Viewed(at + 600, "thinking", "up"),
        r.Recorded(at + 700, turn, 800),
    ]


def asked(at: float, turn: int, session: int = 1, known: Sequence[int] = ()) -> list[r.Entry]:
    return [
        r.Heard(at + 720, at + 700, session, question(turn), frozenset(known)),
        r.Asked(at + 770, session, turn, ANSWER, 500),
    ]


def answered(at: float, turn: int, sound: Sound | None = None, finished: bool = True) -> list[r.Entry]:
    return [
        r.Viewed(at + 900, "speaking", "up"),
        r.Spoken(at + 1400, turn, at + 900, answer(turn) if sound is None else sound, finished),
        r.Viewed(at + 1400, "ready", "up"),
    ]


def whole_turn(at: float, turn: int, session: int = 1, known: Sequence[int] = ()) -> list[r.Entry]:
    return [*spoken_to(at, turn), *asked(at, turn, session, known), *answered(at, turn)]


def columns(log: Sequence[r.Entry], limits: Limits = LIMITS) -> set[str]:
    return {finding.column for finding in judge(log, limits).findings}


def test_good_turns_leave_nothing() -> None:
    log = [*opened(0), *whole_turn(100, 1), *whole_turn(2000, 2, known=[1])]
    verdict = judge(log, LIMITS)
    assert verdict.findings == []
    assert verdict.fates == {Fate.ANSWERED: 2}


def test_a_barge_in_and_a_short_press_are_fates_of_their_own() -> None:
    log = [*opened(0), *spoken_to(100, 1), *asked(100, 1), r.Viewed(1000, "speaking", "up"), r.Pressed(1200)]
    log += [r.Spoken(1200, 1, 1000, answer(1, end=200), False), r.Begun(1200, 2), r.Viewed(1200, "listening", "up")]
    log += [r.Signed(1300, "too-short"), r.Viewed(1300, "ready", "up")]
    verdict = judge(log, LIMITS)
    assert verdict.findings == []
    assert verdict.fates == {Fate.INTERRUPTED: 1, Fate.DISCARDED: 1}


def test_an_answer_that_was_cut_and_goes_on_is_whole() -> None:
    log = [*opened(0), *spoken_to(100, 1), *asked(100, 1), r.Viewed(1000, "speaking", "up")]
    log += [r.Struck(1100, "close-1011", "answering", "speaking"), r.Spoken(1200, 1, 1000, answer(1, end=200), True)]
    log += [
        r.Resumed(1200, 2),
        r.Viewed(1200, "thinking", "up"),
        r.Opened(1300, 2),
        r.Asked(1500, 2, 1, SECOND_PART, 300),
    ]
    log += [r.Viewed(1600, "speaking", "up"), r.Spoken(1900, 2, 1600, answer(1, end=300, part=SECOND_PART), True)]
    log += [r.Viewed(1900, "ready", "up")]
    verdict = judge(log, LIMITS)
    assert verdict.findings == []
    assert verdict.fates == {Fate.ANSWERED: 1}


def test_an_apology_is_excused_by_a_fault_alone() -> None:
    turn = [*spoken_to(2000, 2), r.Signed(18_000, "sorry"), r.Viewed(18_000, "ready", "up")]
    excuse = r.Struck(1900, "silent-upstream", "idle", "ready")
    harmless = r.Struck(1900, "unknown-event", "idle", "ready")
    before = [*opened(0), *whole_turn(100, 1)]  # the first turn of all has seen the link come up
    assert columns([*before, excuse, *turn]) == set()
    assert columns([*before, *turn]) == {"lost"}
    assert columns([*before, harmless, *turn]) == {"lost"}


TURN_1 = whole_turn(100, 1)
BAD: dict[str, tuple[str, list[r.Entry]]] = {
    "neither answer nor apology": (
        "lost",
        [*spoken_to(100, 1), *asked(100, 1), r.Viewed(9000, "ready", "up"), *whole_turn(9500, 2, known=[1])],
    ),
    "no answer": ("lost", [*spoken_to(100, 1), *asked(100, 1), *answered(100, 1, sound=())]),
    "the end of the answer is missing": (
        "lost",
        [*spoken_to(100, 1), *asked(100, 1), *answered(100, 1, sound=answer(1, end=300))],
    ),
    "the beginning of the answer is missing": (
        "lost",
        [*spoken_to(100, 1), *asked(100, 1), *answered(100, 1, sound=answer(1, first=100))],
    ),
    "the question had a hole": (
        "lost",
        [
            *spoken_to(100, 1),
            r.Heard(820, 800, 1, question(1, end=100) + question(1, first=300), frozenset()),
            r.Asked(870, 1, 1, ANSWER, 500),
            *answered(100, 1),
        ],
    ),
    "the question lacked its end": (
        "lost",
        [
            *spoken_to(100, 1),
            r.Heard(820, 800, 1, question(1, end=700), frozenset()),
            r.Asked(870, 1, 1, ANSWER, 500),
            *answered(100, 1),
        ],
    ),
    "the question began with another turn's sound": (
        "lost",
        [
            *spoken_to(100, 1),
            r.Heard(820, 800, 1, question(1) + question(7), frozenset()),
            r.Asked(870, 1, 1, ANSWER, 500),
            *answered(100, 1),
        ],
    ),
    "the new session knows nothing": ("lost", [*TURN_1, r.Opened(1600, 2), *whole_turn(2000, 2, session=2)]),
    "cut for nothing": (
        "lost",
        [
            *TURN_1,
            *spoken_to(2000, 2),
            *asked(2000, 2, known=[1]),
            r.Spoken(3000, 2, 2900, answer(2, end=100), True),
            r.Resumed(3000, 3),
            r.Asked(3100, 1, 2, SECOND_PART, 300),
            r.Spoken(3500, 3, 3200, answer(2, end=300, part=SECOND_PART), True),
            r.Viewed(3500, "ready", "up"),
        ],
    ),
    "asked twice in one session": ("doubled", [*TURN_1[:-3], *asked(150, 1, known=[1]), *TURN_1[-3:]]),
    "answered twice in one session": ("doubled", [*TURN_1[:-3], r.Asked(880, 1, 1, ANSWER, 500), *TURN_1[-3:]]),
    "asked again for nothing": (
        "doubled",
        [
            *TURN_1,
            *spoken_to(2000, 2),
            *asked(2000, 2, known=[1]),
            r.Opened(2790, 2),
            *asked(2100, 2, session=2, known=[1]),
            *answered(2000, 2),
        ],
    ),
    "a block played twice": (
        "doubled",
        [*spoken_to(100, 1), *asked(100, 1), *answered(100, 1, sound=answer(1, end=200) + answer(1, first=100))],
    ),
    "the answer to another turn": ("stale", [*spoken_to(100, 1), *asked(100, 1), *answered(100, 1, sound=answer(5))]),
    "sound after the next press": (
        "stale",
        [
            *TURN_1[:-3],
            r.Viewed(900, "speaking", "up"),
            r.Pressed(1000),
            r.Begun(1000, 2),
            *TURN_1[-2:-1],
            r.Signed(1500, "too-short"),
            r.Viewed(1500, "ready", "up"),
        ],
    ),
    "sound after the apology": (
        "stale",
        [
            *spoken_to(100, 1),
            *asked(100, 1),
            r.Struck(900, "close-1011", "asked", "thinking"),
            r.Signed(1000, "sorry"),
            r.Spoken(1400, 1, 900, answer(1), True),
            r.Viewed(1400, "ready", "up"),
        ],
    ),
    "asked after the apology": (
        "stale",
        [
            *spoken_to(100, 1),
            r.Struck(200, "black-hole", "", "listening"),
            r.Signed(700, "sorry"),
            r.Heard(900, 850, 1, question(1), frozenset()),
            r.Viewed(1400, "ready", "up"),
        ],
    ),
    "a former visitor's session": (
        "stale",
        [*TURN_1, r.Forgotten(40_000), *whole_turn(50_000, 2, known=[1])],
    ),
    "a visitor who was not forgotten": ("stale", [*TURN_1, *whole_turn(50_000, 2, known=[1])]),
    "a press without an end": ("stuck", [*spoken_to(100, 1), *asked(100, 1)]),
    "a press that took too long": (
        "stuck",
        [
            *spoken_to(100, 1),
            r.Struck(200, "black-hole", "", "listening"),
            r.Signed(60_000, "sorry"),
            r.Viewed(60_000, "ready", "up"),
        ],
    ),
    "a press that opened nothing": ("stuck", [r.Pressed(100)]),
    "a lamp that never shows ready": ("stuck", [*TURN_1, r.Viewed(2000, "thinking", "up")]),
}


@pytest.mark.parametrize("name", BAD)
def test_each_way_to_fail_somebody_has_its_column(name: str) -> None:
    column, log = BAD[name]
    assert column in columns([*opened(0), *log])
