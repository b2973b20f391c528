"""The jitter buffer lets an answer begin as early as it can be heard without a gap, and learns that from the link."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def measured(answer: list[tuple[int, int]]) -> Lateness:
    lateness = Lateness()
    for (ms, _), (at, _) in zip(answer, arrivals(answer), strict=True):
        lateness.came(ms, at)
    return lateness


def beginning(answer: list[tuple[int, int]], target_ms: float) -> float:
    """When an answer begins that waits for this target."""
    filling = Filling()
    times = [at for at, _ in arrivals(answer)]
    for (ms, _), (at, following) in zip(answer, pairwise([*times, float("inf")]), strict=True):
        filling.came(ms, at)
        if (ready := max(at, filling.ready_at(target_ms, MARGIN_MS))) < following:
            return ready
    raise AssertionError("it never begins")


def least_left_ms(answer: list[tuple[int, int]], begin_at: float) -> float:
    """The least that is still to be played when a piece comes after the beginning; below 0: a gap."""
    left = [before - (at - begin_at) * 1000 for at, before in arrivals(answer) if at > begin_at + EPSILON_S]
    return min(left, default=float("inf"))


def stalls(answer: list[tuple[int, int]]) -> bool:
    (first_at, _), *_ = times = arrivals(answer)
    return any(at - before / 1000 - first_at > CEILING_MS / 1000 for at, before in times)


def stored(answer: list[tuple[int, int]]) -> bool:
    """True if so much is in store at times that what comes then isn't measured."""
    (first_at, _), *_ = times = arrivals(answer)
    return any(
        ms + first_at * 1000 - (at * 1000 - before) > 400 for (ms, _), (at, before) in zip(answer, times, strict=True)
    )


@given(ANSWERS)
def test_what_an_answer_needed_is_enough_whichever_of_its_pieces_had_been_the_first(
    answer: list[tuple[int, int]],
) -> None:
    target_ms = measured(answer).target_ms
    if target_ms is None or stalls(answer) or target_ms + MARGIN_MS > CEILING_MS:
        return
    for first in range(len(answer) if not stored(answer) else 1):
        rest = answer[first:]
        assert least_left_ms(rest, beginning(rest, target_ms)) >= MARGIN_MS - 0.001


@given(ANSWERS, st.floats(-2000, 2000))
def test_nothing_waits_longer_than_the_ceiling(answer: list[tuple[int, int]], target_ms: float) -> None:
    assert beginning(answer, target_ms) <= 100 + answer[0][1] / 1000 + CEILING_MS / 1000 + EPSILON_S


@given(ANSWERS, st.integers(401, 5000))
def test_a_stall_is_no_jitter(answer: list[tuple[int, int]], stall_ms: int) -> None:
    ahead_ms = sum(ms for ms, _ in answer)
    if not stalls(answer):  # what is in store plays out, and then it stalls
        assert measured([*answer, (100, ahead_ms + stall_ms)]).target_ms == measured(answer).target_ms


def jittery(ms: int, jitter_ms: list[int], speed: int = 1) -> list[tuple[int, int]]:
    """Pieces that come so many times as fast as they play, each as late as said."""
    times = list(accumulate((n * ms // speed + late for n, late in enumerate(jitter_ms)), max))
    return [(ms, b - a) for a, b in pairwise([0, *times])]


def learned(*answers: list[tuple[int, int]]) -> JitterBuffer:
    jitter = JitterBuffer(MARGIN_MS)
    for answer in answers:
        jitter.learn(measured(answer))
    return jitter


LATE = jittery(100, [0, 20, 150, 0, 90, 150, 0])
PROMPT = [(200, 0), (200, 20), (200, 20), (200, 20)]


def test_from_the_first_answer_on_a_piece_may_be_80_ms_late() -> None:
    assert JitterBuffer(MARGIN_MS).target_ms == START_MS == 80
    late = [(100, 0), (100, 180)]
    assert least_left_ms(late, beginning(late, START_MS)) >= MARGIN_MS - 0.001


def test_a_link_that_is_ahead_is_not_waited_for_once_it_is_known() -> None:
    assert learned(*[PROMPT] * 3).target_ms == START_MS
    assert beginning(PROMPT, learned(*[PROMPT] * 8).target_ms) == 100.0, "with its first piece"


def test_what_is_too_little_for_the_device_waits_for_more_on_any_link() -> None:
    assert beginning([(20, 0), (20, 4), (20, 4)], -200.0) == pytest.approx(100.008)


def test_an_answer_that_was_lucky_does_not_make_the_link_a_good_one() -> None:
    lucky = jittery(100, [100, 20, 150, 0, 90, 150, 0, 0, 0, 0, 0, 150, 0], speed=5)
    assert least_left_ms(lucky, beginning(lucky, -MARGIN_MS)) >= MARGIN_MS, "it needed nothing"
    assert learned(*[lucky] * 8).target_ms == START_MS


def test_what_a_reader_lets_gather_is_no_jitter() -> None:
    gathered = [(100, 0), *[(100, 20)] * 5, (100, 102), *[(100, 0)] * 4, (100, 100), *[(100, 0)] * 4]
    assert learned(*[gathered] * 8).target_ms == pytest.approx(-80)


def test_a_pause_that_eats_up_what_was_in_store_is_jitter() -> None:
    late = [(500, 0), (100, 20), (100, 650)]
    assert learned(*[late] * 8).target_ms > START_MS


def test_an_answer_of_one_piece_tells_nothing() -> None:
    assert learned(*[[(200, 0)]] * 8).target_ms == START_MS


def test_one_bad_answer_is_an_accident_and_two_are_the_link() -> None:
    assert learned(LATE).target_ms == START_MS
    jitter = learned(LATE, PROMPT, LATE)
    assert least_left_ms(LATE, beginning(LATE, jitter.target_ms)) >= MARGIN_MS - 0.001
    assert jitter.target_ms > 150
    for _ in range(8):
        jitter.learn(measured(PROMPT))
    assert jitter.target_ms < 0


def test_sound_in_real_time_is_let_through_with_little_more_than_the_margin() -> None:
    steady = jittery(20, [0] * 50)
    jitter = learned(*[steady] * 8)
    assert beginning(steady, jitter.target_ms) - 100 <= 1.1 * MARGIN_MS / 1000
    assert least_left_ms(steady, beginning(steady, jitter.target_ms)) >= MARGIN_MS - 0.001


def test_an_answer_that_ran_dry_waits_for_what_it_would_have_needed() -> None:
    queue, sound = PlaybackQueue(JitterBuffer(MARGIN_MS)), Sound(1)
    queue.add(sound, bytes(bytes_of(100)), 10.0)
    assert size_of(queue.take(bytes_of(40), 10.14)) == bytes_of(40)
    assert size_of(queue.take_rest()) == bytes_of(60)
    queue.starve(sound, 10.2)
    queue.add(sound, bytes(bytes_of(100)), 10.25)  # 150 ms late, and the next one may be so too
    assert queue.take(bytes_of(20), 10.25) == []
    assert 0.15 + MARGIN_MS / 1000 <= queue.ready_in(10.25) < 0.3
    queue.add(sound, bytes(bytes_of(300)), 10.25)
    queue.add(sound, bytes(bytes_of(100)), 10.25)
    assert size_of(queue.take(bytes_of(20), 10.25)) == bytes_of(20)


def test_what_a_card_refused_when_it_ran_dry_is_enough_to_go_on_with() -> None:
    queue, sound = PlaybackQueue(JitterBuffer(MARGIN_MS)), Sound(1)
    queue.add(sound, bytes(bytes_of(200)), 10.0)
    queue.put_back(queue.take(bytes_of(20), 10.14))
    queue.starve(sound, 10.2)
    assert size_of(queue.take(bytes_of(20), 10.2)) == bytes_of(20)


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
