"""How badly a grammar explains a sound, by hand-made decodes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.local.rejection import MAX_DEFICIT, MIN_SPEECH_FRAMES, UNEXPLAINED, WINDOW_FRAMES, Segment, deficit

SECOND = 100  # of frames


def decode(*parts: tuple[int, float], spoken: bool = True) -> list[Segment]:
    """Segments in a row: so many frames, each with so many thousandths of log likelihood."""
    segments, at = [], 0
    for frames, score in parts:
        segments.append(Segment(spoken, at, at + frames - 1, frames * score / 1000))
        at += frames
    return segments


def test_a_grammar_as_good_as_free_phones_loses_nothing() -> None:
    assert deficit(decode((30, -4), (70, -5)), decode((30, -4), (70, -5))) == pytest.approx(0)


def test_an_even_loss_counts_in_the_mean_and_in_the_worst_window() -> None:
    assert deficit(decode((SECOND, -6)), decode((SECOND, -4))) == pytest.approx(2 + 2)


def test_one_foreign_word_stands_out_wherever_it_is() -> None:
    free = decode((3 * SECOND, -4))
    for before in (0, SECOND, 3 * SECOND - WINDOW_FRAMES):
        word = (before, -4), (WINDOW_FRAMES, -12), (3 * SECOND - before - WINDOW_FRAMES, -4)
        asked = decode(*(part for part in word if part[0]))
        assert deficit(asked, free) == pytest.approx(8 + 8 * WINDOW_FRAMES / (3 * SECOND)), before


def test_what_the_grammar_calls_silence_and_free_phones_call_speech_counts() -> None:
    words = decode((SECOND, -4))
    silence = Segment(False, SECOND, 2 * SECOND - 1, SECOND * -8 / 1000)
    assert deficit([*words, silence], decode((2 * SECOND, -4))) == pytest.approx(2 + 4)


def test_silence_that_both_hear_is_no_speech_and_thins_out_no_loss() -> None:
    words, silence = decode((SECOND, -6)), Segment(False, SECOND, 9 * SECOND, -0.8)
    assert deficit([*words, silence], [*decode((SECOND, -4)), silence]) == pytest.approx(2 + 2)


def test_a_grammar_that_ends_within_the_sound_has_not_explained_the_rest() -> None:
    found = deficit(decode((SECOND, -4)), decode((2 * SECOND, -4)))
    assert found == pytest.approx(UNEXPLAINED / 2 + UNEXPLAINED)
    assert found > MAX_DEFICIT


@pytest.mark.parametrize(
    ("asked", "free"),
    [
        ([], []),
        ([], decode((SECOND, -4))),
        (decode((SECOND, -4)), []),
        (decode((SECOND, -4), spoken=False), decode((SECOND, -4))),
        (decode((MIN_SPEECH_FRAMES - 1, -4)), decode((SECOND, -4))),
    ],
)
def test_too_little_speech_for_a_question(asked: list[Segment], free: list[Segment]) -> None:
    assert deficit(asked, free) is None


@given(
    words=st.lists(st.tuples(st.integers(20, 60), st.integers(-20, -1)), min_size=1, max_size=8),
    at=st.integers(0, 7),
    worse=st.integers(1, 20),
)
def test_a_word_that_fits_worse_never_makes_the_whole_fit_better(
    words: list[tuple[int, int]], at: int, worse: int
) -> None:
    free = decode((sum(frames for frames, _ in words), -4))
    frames, score = words[at % len(words)]
    spoilt = list(words)
    spoilt[at % len(words)] = frames, score - worse
    before, after = deficit(decode(*words), free), deficit(decode(*spoilt), free)
    assert before is not None and after is not None and after > before
