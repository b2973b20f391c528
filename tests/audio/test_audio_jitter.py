"""The jitter buffer lets an answer begin as early as it can be heard without a gap, and learns that from the link."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.audio import jitter as jitter_module
from kioskd.audio.fade import FADE_BYTES
from kioskd.audio.jitter import CEILING_MS, START_MS, Filling, JitterBuffer, Lateness
from kioskd.audio.pcm import bytes_of
from kioskd.audio.queue import Piece, PlaybackQueue, Sound, size_of

MARGIN_MS = 60
EPSILON_S = 1e-6
# an answer: (ms of sound, ms of pause before it) of each piece
ANSWERS = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 600)), min_size=1, max_size=25)


def arrivals(answer: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """(when it came, the ms of sound before it) of each piece."""
    came = accumulate(pause for _, pause in answer)
    before = accumulate((ms for ms, _ in answer), initial=0)
    return [(100 + at / 1000, float(ms)) for at, ms in zip(came, before, strict=False)]


def measured(answer: list[tuple[int, int]], margin_ms: float = MARGIN_MS) -> Lateness:
    lateness = Lateness(margin_ms)
    for (ms, _), (at, _) in zip(answer, arrivals(answer), strict=True):
        lateness.came(ms, at)
    return lateness


def beginning(answer: list[tuple[int, int]], target_ms: float) -> float:
    """When an answer begins that waits for this target."""
    filling = Filling()
    times = [at for at, _ in arrivals(answer)]
    for (ms, _), (at, following) in zip(answer, pairwise([*times, float("inf")]), strict=True):
        filling.came(ms, at)
        if (ready := max(at, filling.ready_at(target_ms))) < following:
            return ready
    raise AssertionError("it never begins")


def least_left_ms(answer: list[tuple[int, int]], begin_at: float) -> float:
    """The least that is still to be played when a piece comes after the beginning; below 0: a gap."""
    left = [before - (at - begin_at) * 1000 for at, before in arrivals(answer) if at > begin_at + EPSILON_S]
    return min(left, default=float("inf"))


def stalls(answer: list[tuple[int, int]]) -> bool:
    (first_at, _), *others = arrivals(answer)
    return any(at - max(0.0, before - MARGIN_MS) / 1000 - first_at > CEILING_MS / 1000 for at, before in others)


@given(ANSWERS)
def test_what_an_answer_needed_would_have_been_enough_for_it_and_no_less_would(answer: list[tuple[int, int]]) -> None:
    need_ms = measured(answer).need_ms
    if stalls(answer):
        return
    assert least_left_ms(answer, beginning(answer, need_ms)) >= MARGIN_MS - 0.001
    if need_ms > 1:
        assert least_left_ms(answer, beginning(answer, need_ms - 1)) < MARGIN_MS


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30)), min_size=5, max_size=40))
def test_of_thousands_of_tiny_pieces_rather_too_much_is_asked(answer: list[tuple[int, int]]) -> None:
    need_ms = measured(answer).need_ms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jitter_module, "_MAX_EARLY", 3)
        assert measured(answer).need_ms >= need_ms


@given(ANSWERS, st.floats(0, 2000))
def test_nothing_waits_longer_than_the_ceiling(answer: list[tuple[int, int]], target_ms: float) -> None:
    assert beginning(answer, target_ms) <= 100 + answer[0][1] / 1000 + CEILING_MS / 1000 + EPSILON_S


@given(ANSWERS, ANSWERS, st.integers(1000, 5000))
def test_a_stall_is_no_jitter(before: list[tuple[int, int]], after: list[tuple[int, int]], stall_ms: int) -> None:
    ahead_ms = sum(ms for ms, _ in before)
    (ms, _), *rest = after
    whole = [*before, (ms, ahead_ms + stall_ms), *rest]
    if stalls(before) or stalls(after):
        return
    assert abs(measured(whole).need_ms - max(measured(before).need_ms, measured([(ms, 0), *rest]).need_ms)) < 0.001


def jittery(ms: int, jitter_ms: list[int]) -> list[tuple[int, int]]:
    """Pieces in real time, each as late as said."""
    times = list(accumulate((n * ms + late for n, late in enumerate(jitter_ms)), max))
    return [(ms, b - a) for a, b in pairwise([0, *times])]


def learned(*answers: list[tuple[int, int]]) -> JitterBuffer:
    jitter = JitterBuffer(MARGIN_MS)
    for answer in answers:
        jitter.learn(measured(answer))
    return jitter


LATE = jittery(100, [0, 20, 150, 0, 90, 150, 0])
PROMPT = [(200, 0), (200, 20), (200, 20), (200, 20)]


def test_it_begins_with_80_ms_and_comes_down_on_a_link_that_is_ahead() -> None:
    assert JitterBuffer(MARGIN_MS).target_ms == START_MS == 80
    assert learned(*[PROMPT] * 3).target_ms == START_MS
    assert learned(*[PROMPT] * 8).target_ms == MARGIN_MS


def test_one_bad_answer_is_an_accident_and_two_are_the_link() -> None:
    assert learned(LATE).target_ms == START_MS
    jitter = learned(LATE, PROMPT, LATE)
    assert least_left_ms(LATE, beginning(LATE, jitter.target_ms)) >= MARGIN_MS - 0.001
    for _ in range(8):
        jitter.learn(measured(PROMPT))
    assert jitter.target_ms == MARGIN_MS


def test_sound_in_real_time_is_let_through_with_little_more_than_the_margin() -> None:
    steady = jittery(20, [0] * 50)
    jitter = learned(*[steady] * 8)
    assert beginning(steady, jitter.target_ms) - 100 <= 1.5 * MARGIN_MS / 1000
    assert least_left_ms(steady, beginning(steady, jitter.target_ms)) >= MARGIN_MS - 0.001


def test_an_answer_that_ran_dry_waits_for_what_it_would_have_needed() -> None:
    queue, sound = PlaybackQueue(JitterBuffer(MARGIN_MS)), Sound(1)
    queue.add(sound, bytes(bytes_of(100)), 10.0)
    assert size_of(queue.take(bytes_of(40), 10.0)) == bytes_of(40)
    assert size_of(queue.take_rest()) == bytes_of(60)
    queue.starve(sound, 10.1)
    queue.add(sound, bytes(bytes_of(100)), 10.25)  # 150 ms late: 100 ms of sound had to be 210 ms old
    assert queue.take(bytes_of(20), 10.25) == []
    assert 0.21 <= queue.ready_in(10.25) < 0.3
    queue.add(sound, bytes(bytes_of(300)), 10.25)
    assert size_of(queue.take(bytes_of(20), 10.25)) == bytes_of(20)


def test_what_a_card_refused_when_it_ran_dry_is_enough_to_go_on_with() -> None:
    queue, sound = PlaybackQueue(JitterBuffer(MARGIN_MS)), Sound(1)
    queue.add(sound, bytes(bytes_of(200)), 10.0)
    queue.put_back(queue.take(bytes_of(20), 10.0))
    queue.starve(sound, 10.1)
    assert size_of(queue.take(bytes_of(20), 10.1)) == bytes_of(20)


@given(st.lists(st.integers(0, 3000), max_size=20), st.sampled_from([240, 960, 2048]))
def test_a_growing_sound_leaves_enough_to_fade_and_its_rest_is_whole(sizes: list[int], block: int) -> None:
    queue, sound, now = PlaybackQueue(JitterBuffer(0)), Sound(1), 0.0
    given_pcm, taken = b"", list[Piece]()
    for size in sizes:
        now += 1.0
        queue.add(sound, pcm := bytes((len(given_pcm) + i) % 251 for i in range(size)), now)
        given_pcm += pcm
        while pieces := queue.take(block, now):
            assert size_of(pieces) == block
            taken += pieces
        assert not sound.flowing or min(FADE_BYTES, len(given_pcm)) <= len(queue) < block + FADE_BYTES
    rest = queue.take_rest()
    assert size_of(rest) % 2 == 0, "half a frame would turn all that follows into noise"
    taken += rest
    queue.close(sound)
    while pieces := queue.take(block, now):
        taken += pieces
    assert b"".join(piece.pcm for piece in taken) == given_pcm + bytes(len(given_pcm) % 2)
    assert sum(piece.last for piece in taken) == 1


def test_a_growing_sound_keeps_nothing_back_of_the_one_before_it() -> None:
    queue, first, second = PlaybackQueue(JitterBuffer(0)), Sound(1), Sound(2)
    queue.add(first, b"a" * 300, 0.0)
    queue.close(first)
    queue.add(second, b"b" * 100, 0.0)
    assert b"".join(piece.pcm for piece in queue.take(960, 0.0)) == b"a" * 300
