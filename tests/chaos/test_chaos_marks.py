"""Marked sound tells whose it is, wherever it was cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kioskd.chaos import marks
from kioskd.chaos.marks import BYTES_PER_MS, Stretch


@given(
    turn=st.integers(0, marks.MAX_TURN),
    part=st.integers(0, 3),
    first=st.integers(0, 500),
    ms=st.integers(3, 300),
    cut=st.integers(0, BYTES_PER_MS),
)
def test_sound_that_was_cut_anywhere_is_known_again(turn: int, part: int, first: int, ms: int, cut: int) -> None:
    pcm = marks.marked(turn, part, first, ms)
    assert len(pcm) == ms * BYTES_PER_MS
    assert marks.read(pcm) == (Stretch(turn, part, first, ms),)
    (rest,) = marks.read(pcm[cut:])
    assert (rest.turn, rest.part, rest.end) == (turn, part, first + ms)
    assert rest.first - first in (0, 1)
    assert marks.owner(pcm[cut:]) == turn


def test_a_piece_that_comes_twice_is_found_even_if_it_ends_within_a_sample() -> None:
    pcm = marks.marked(7, marks.ANSWER, 0, 400)
    twice = pcm[:4801] + pcm[:4801] + pcm[4801:]
    assert [stretch.turn for stretch in marks.repeated(marks.read(twice))] == [7]
    assert marks.repeated(marks.read(pcm)) == []


def test_silence_belongs_to_nobody() -> None:
    assert marks.read(bytes(4800)) == ()
    assert marks.owner(bytes(4800)) is None
