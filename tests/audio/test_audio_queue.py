"""Sound goes through the queue and the device's buffer whole, in order, and is accounted for to the frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kioskd.audio.heard import CARD_STEP_FRAMES, SERVER_STEP_FRAMES, Playout
from kioskd.audio.jitter import JitterBuffer
from kioskd.audio.pcm import bytes_of
from kioskd.audio.queue import Piece, PlaybackQueue, Sound, size_of, sounds_of, split_at

SIZES = st.lists(st.integers(0, 700), max_size=12)


def bytes_in(pieces: list[Piece]) -> bytes:
    return b"".join(piece.pcm for piece in pieces)


def numbered(size: int, first: int) -> bytes:
    return bytes((first + i) % 251 for i in range(size))


@given(st.lists(SIZES, max_size=4), st.integers(1, 480))
def test_everything_given_is_taken_in_order_and_ends_once(sounds: list[list[int]], block: int) -> None:
    queue, given_pcm, known = PlaybackQueue(), b"", []
    for turn, sizes in enumerate(sounds):
        known.append(sound := Sound(turn))
        for size in sizes:
            queue.add(sound, pcm := numbered(size, len(given_pcm)))
            given_pcm += pcm
        queue.close(sound)
        given_pcm += bytes(sum(sizes) % 2)
    taken: list[Piece] = []
    while pieces := queue.take(block):
        assert size_of(pieces) <= block
        taken += pieces
    assert bytes_in(taken) == given_pcm
    assert [piece.sound for piece in taken if piece.last] == known
    assert len(queue) == 0


@given(SIZES, st.integers(1, 480))
def test_part_of_a_growing_sound_waits_for_the_rest(sizes: list[int], block: int) -> None:
    queue, sound = PlaybackQueue(), Sound(1)
    for size in sizes:
        queue.add(sound, bytes(size))
    while pieces := queue.take(block):
        assert size_of(pieces) == block
    assert len(queue) < block


@given(SIZES, st.integers(0, 200), st.integers(1, 9), st.integers(1, 300))
def test_all_whole_units_of_what_waits_are_taken_at_once(sizes: list[int], frames: int, units: int, unit: int) -> None:
    queue, first, second = PlaybackQueue(), Sound(1), Sound(2)
    queue.add(first, bytes(frames * 2))
    queue.close(first)
    for size in sizes:
        queue.add(second, bytes(size))
    waiting = len(queue)
    taken = size_of(queue.take(units * unit, 0.0, unit))
    assert taken == min(units * unit, max(waiting // unit * unit, frames * 2)), "or up to a sound's end"
    assert len(queue) == waiting - taken


def test_the_end_of_one_sound_does_not_wait_for_the_pre_buffer_of_the_next() -> None:
    queue, first, second = PlaybackQueue(JitterBuffer(0)), Sound(1), Sound(2)
    queue.add(first, b"a" * 100)
    queue.close(first)
    queue.add(second, b"b" * 300)
    assert bytes_in(queue.take(960)) == b"a" * 100
    assert queue.take(960) == []
    queue.add(second, b"b" * bytes_of(80))
    queue.add(second, b"b" * bytes_of(80))
    assert bytes_in(queue.take(960)) == b"b" * 960


def test_a_short_answer_does_not_wait_for_the_pre_buffer() -> None:
    queue, sound = PlaybackQueue(JitterBuffer(0)), Sound(1)
    queue.add(sound, b"ab" * 200)
    assert queue.take(960) == []
    queue.close(sound)
    assert bytes_in(queue.take(960)) == b"ab" * 200


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 400))
def test_split_at_keeps_every_byte_and_every_end(chunks: list[bytes], size: int) -> None:
    sound = Sound(1)
    pieces = [Piece(sound, chunk, last=i % 2 == 0) for i, chunk in enumerate(chunks)]
    head, tail = split_at(pieces, size)
    assert size_of(head) == min(size, size_of(pieces))
    assert bytes_in(head) + bytes_in(tail) == bytes_in(pieces)
    assert sum(piece.last for piece in head + tail) == sum(piece.last for piece in pieces)


@given(
    writes=st.lists(st.integers(1, 480), min_size=1, max_size=20),
    rooms=st.lists(st.integers(-100, 8000), max_size=20),
    seconds=st.lists(st.floats(0, 0.1), min_size=20, max_size=20),
    step_frames=st.sampled_from([SERVER_STEP_FRAMES, CARD_STEP_FRAMES]),
)
def test_heard_never_exceeds_written_never_shrinks_and_leads_by_a_step_at_most(
    writes: list[int], rooms: list[int], seconds: list[float], step_frames: int
) -> None:
    playout, sound, now = Playout(3840, step_frames), Sound(1), 5.0
    for frames in writes:
        playout.wrote([Piece(sound, bytes(frames * 2))], now)
    lower_bound = 0
    for room, step in zip(rooms, seconds, strict=False):
        before = playout.heard_frames
        now += step
        playout.hear(room, now)
        lower_bound = max(lower_bound, min(sum(writes), max(0, sum(writes) - 3840 + room)))
        assert before <= playout.heard_frames <= sum(writes)
        assert lower_bound <= playout.heard_frames <= lower_bound + step_frames
        assert sound.heard_bytes == playout.heard_frames * 2
    rest = playout.drop()
    assert size_of(rest) + sound.heard_bytes == sum(writes) * 2
    assert not playout.flowing


@given(st.lists(st.integers(0, 480), min_size=1, max_size=10))
def test_every_sound_in_the_buffer_ends_once_and_in_order(sizes: list[int]) -> None:
    playout, ended, now = Playout(48_000), [], 0.0
    pieces = [Piece(Sound(turn), bytes(size * 2), last=True) for turn, size in enumerate(sizes)]
    playout.wrote(pieces, now)
    while playout.remaining_frames:
        now += 0.01
        ended += playout.hear(48_000 - playout.remaining_frames + 200, now)
    ended += playout.exhaust()
    assert ended == sounds_of(pieces)
    assert [sound.heard_bytes for sound in ended] == [size * 2 for size in sizes]


@given(st.lists(st.integers(0, 480), min_size=1, max_size=8), st.integers(0, 3000), st.floats(0, 0.05))
def test_a_drop_forgets_no_end(sizes: list[int], room: int, seconds: float) -> None:
    playout = Playout(48_000)
    pieces = [Piece(Sound(turn), bytes(size * 2), last=True) for turn, size in enumerate(sizes)]
    playout.wrote(pieces, 0.0)
    ended = playout.hear(48_000 - sum(sizes) + room, seconds)
    assert ended + [piece.sound for piece in playout.drop() if piece.last] == sounds_of(pieces)
