"""What each turn takes: once, by its usage; estimated and marked where none comes, and put right if it comes late."""

from __future__ import annotations

import itertools

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Ending, Event, Speaker, Usage
from kioskd.spend.account import GRACE_S, Account, Taken
from kioskd.spend.prices import Amounts

USAGE = Usage(1, 10, 20, 1, 2, 30, 40)


@define
class Books:
    sound: bool = True
    serving: str = "lobby"
    taken: list[Taken] = field(factory=list)
    account: Account = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.account = Account(
            lambda: self.serving, lambda name: self.sound, lambda name, asked: f"m{len(asked)}", self.taken.append
        )

    def see(self, now: float, *many: Event | Effect) -> None:
        for what in many:
            self.account(what, now)


def asked(turn: int = 1) -> list[Event | Effect]:
    return [f.BeginUtterance(turn, 0), e.UtteranceEnded(turn, 2000), f.Ask(turn)]


def answer(turn: int = 1) -> list[Event | Effect]:
    return [e.AnswerAudio(turn, b"", 1000.0), e.AnswerAudio(turn, b"", 500.0)]


def test_a_turn_is_booked_once_at_its_end_with_who_answered() -> None:
    books = Books()
    books.see(0.0, *asked())
    books.serving = "spare"  # it took over before the answer
    books.see(0.7, *answer())
    books.see(1.0, USAGE)
    assert books.taken == []
    books.see(1.1, e.AnswerEnded(1, Ending.COMPLETE))
    books.see(99.0, e.Tick())
    (taken,) = books.taken
    assert taken == Taken(1, "spare", "m0", Amounts(10, 20, 1, 2, 30, 40, 2000, 1500), wait_ms=700)


def test_without_usage_it_is_estimated_from_durations_and_says_so() -> None:
    books = Books()
    books.see(0.0, *asked())
    books.see(1.0, *answer(), e.AnswerEnded(1, Ending.COMPLETE))
    assert books.taken == [] and books.account.due == 1.0 + GRACE_S
    books.account.settle(1.0 + GRACE_S)
    (taken,) = books.taken
    assert taken.estimated and (taken.amounts.input_audio, taken.amounts.output_audio) == (20, 30)


def test_a_text_models_answer_is_estimated_from_its_words() -> None:
    books = Books(sound=False)
    books.see(0.0, *asked(), e.Transcript(1, Speaker.VISITOR, "x" * 40), e.Transcript(1, Speaker.KIOSK, "y" * 80))
    books.see(1.0, *answer(), e.AnswerEnded(1, Ending.COMPLETE))
    books.account.close()
    (taken,) = books.taken
    assert (taken.model, taken.amounts.input_text, taken.amounts.output_text) == ("m40", 10, 20)
    assert (taken.amounts.input_audio, taken.amounts.characters, taken.amounts.spoken_ms) == (0, 80, 1500)


@pytest.mark.parametrize("usage", [None, USAGE])
def test_an_answer_that_was_broken_off_before_its_words_came_is_as_long_as_its_sound(usage: Usage | None) -> None:
    books = Books(sound=False)
    books.see(0.0, *asked(), e.Transcript(1, Speaker.VISITOR, "x" * 40))
    books.see(1.0, e.AnswerAudio(1, b"", 20_000.0), f.Interrupt(1, 9000), *([usage] if usage else []))
    books.account.close()
    (taken,) = books.taken
    assert (taken.estimated, taken.amounts.characters) == (usage is None, 300)
    assert taken.amounts.output_text == (75 if usage is None else USAGE.output_text)


def test_words_count_as_they_are_where_they_came_and_sound_as_sound() -> None:
    for sound, words, characters in ((False, "y" * 12, 12), (True, "", 0)):
        books = Books(sound=sound)
        books.see(0.0, *asked(), *([e.Transcript(1, Speaker.KIOSK, words)] if words else []), *answer())
        books.account.close()
        assert books.taken[0].amounts.characters == characters


def test_a_usage_that_comes_late_takes_the_place_of_its_estimate() -> None:
    books = Books()
    books.see(0.0, *asked(), *answer(), e.AnswerEnded(1, Ending.COMPLETE))
    books.see(60.0, e.Tick(), USAGE)
    guess, real = books.taken
    assert guess.estimated and not guess.late
    assert real.late and not real.estimated and real.amounts.input_text == 10
    books.see(61.0, USAGE)
    assert books.taken[2].amounts == Amounts(10, 20, 1, 2, 30, 40) and not books.taken[2].late


def test_an_answer_that_was_broken_off_waits_for_its_usage() -> None:
    books = Books()
    books.see(0.0, *asked(), *answer())
    books.see(1.0, f.Interrupt(1, 300), *asked(2))
    books.see(1.2, USAGE)
    assert [(taken.turn, taken.estimated) for taken in books.taken] == [(1, False)]


def test_a_question_that_nothing_came_of_costs_nothing() -> None:
    books = Books()
    books.see(0.0, *asked(), e.AnswerEnded(1, Ending.FAILED))
    books.see(1.0, f.BeginUtterance(2, 0), f.DiscardUtterance(2))
    books.account.close()
    assert books.taken == []


def test_several_usages_of_a_turn_are_one() -> None:
    books = Books()
    books.see(0.0, *asked(), *answer(), USAGE, USAGE, e.AnswerEnded(1, Ending.COMPLETE))
    (taken,) = books.taken
    assert taken.amounts.output_text == 60


STEPS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from("aAuexit")), max_size=60)


@given(STEPS)
def test_in_any_order_all_tokens_are_booked_and_none_twice(steps: list[tuple[int, str]]) -> None:
    books, usages = Books(), 0
    for now, (turn, what) in zip(itertools.count(), steps, strict=False):
        match what:
            case "a":
                books.see(now, *asked(turn))
            case "A":
                books.see(now, *answer(turn))
            case "u":
                usages += 1
                books.see(now, Usage(turn, output_text=1))
            case "e":
                books.see(now, e.AnswerEnded(turn, Ending.COMPLETE))
            case "x":
                books.see(now, f.CancelAnswer(turn))
            case "i":
                books.see(now, f.Interrupt(turn, 1))
            case "t":
                books.see(now + 2 * GRACE_S, e.Tick())
    books.account.close()
    real = [taken for taken in books.taken if not taken.estimated]
    assert sum(taken.amounts.output_text for taken in real) == usages
    for late in (taken for taken in books.taken if taken.late):
        assert any(taken.estimated and taken.turn == late.turn for taken in books.taken)
    assert len(books.account._turns) <= 17
