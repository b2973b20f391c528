"""How much of what was written to a sound card has been heard. PURE."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from attrs import define, evolve, field

from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.audio.queue import Piece, Sound, is_sign

SERVER_STEP_FRAMES = RATE_HZ * 20 // 1000  # a sound server tells its buffer's level in steps of up to 20 ms
CARD_STEP_FRAMES = RATE_HZ * 4 // 1000  # a card's own driver tells it as exactly as the kernel's clock ticks

_AUDIBLE_BYTES = RATE_HZ * 20 // 1000 * FRAME_BYTES  # enough to tell how loud it is


@define(eq=False, repr=False)
class Playout:
    """The sound in a device's buffer, since it last began from silence. Times are seconds of one monotonic clock.

    What was heard is at least what was written less what the buffer holds; the buffer's level moves in steps, and the
    wall clock since the first write fills them, but never runs ahead by more than one. A sound's end is not guessed.
    """

    buffer_frames: int
    step_frames: int = SERVER_STEP_FRAMES
    written_frames: int = field(default=0, init=False)
    heard_frames: int = field(default=0, init=False)
    moved_at: float = field(default=0.0, init=False)
    """When `heard_frames` last grew."""
    _began_at: float = field(default=0.0, init=False)
    _pieces: deque[Piece] = field(factory=deque, init=False)  # unheard; the first may be heard in part
    _ending: deque[tuple[int, Sound]] = field(factory=deque, init=False)  # with the frame that was its last
    _first_heard_bytes: int = field(default=0, init=False)
    _newest: Piece | None = field(default=None, init=False)

    @property
    def flowing(self) -> bool:
        """True from the first write until `exhaust` or `drop`."""
        return self.written_frames > 0

    @property
    def remaining_frames(self) -> int:
        """Written, not heard yet."""
        return self.written_frames - self.heard_frames

    @property
    def next_end_frames(self) -> int | None:
        """What is still to be heard before a sound ends; None if none does in what was written."""
        return self._ending[0][0] - self.heard_frames if self._ending else None

    @property
    def newest(self) -> Sound | None:
        """The sound that was written last; None for silence, or nothing."""
        return self._newest.sound if self._newest else None

    @property
    def ends_abruptly(self) -> bool:
        """A sound stops with the buffer's last frame: a card may repeat stale sound before it notices."""
        newest = self._newest
        return newest is not None and (newest.last or (newest.sound is not None and newest.sound.starved))

    @property
    def holds_sign(self) -> bool:
        """Part of an earcon is still to be heard, or its end to be told."""
        return any(is_sign(piece) for piece in self._pieces) or any(sound.turn is None for _, sound in self._ending)

    @property
    def unheard(self) -> bytes:
        """All that is still to be heard."""
        return b"".join(piece.pcm for piece in self._pieces)[self._first_heard_bytes :]

    def audible_at(self, now: float) -> bytes:
        """What is being heard now, as far as the clock tells: a few ms, or b"" for silence.

        May be called from another thread than the one that writes: then it is as good as a glance can be.
        """
        begin = self._first_heard_bytes
        begin += max(0, min(self._by_clock(now), self.written_frames) - self.heard_frames) * FRAME_BYTES
        try:
            for number in range(len(self._pieces)):
                pcm = self._pieces[number].pcm
                if begin < len(pcm):
                    return bytes(pcm[begin : begin + _AUDIBLE_BYTES])
                begin -= len(pcm)
        except IndexError:  # it was heard meanwhile
            return b""
        return b""

    def wrote(self, pieces: Sequence[Piece], now: float) -> None:
        """The device took these (at least one), in whole frames altogether."""
        if not self.flowing:
            self._began_at = self.moved_at = now
        size = self.written_frames * FRAME_BYTES
        for piece in pieces:
            if piece.sound is not None and piece.sound.begun_at is None and piece.pcm:
                piece.sound.begun_at = self._began_at + size / (FRAME_BYTES * RATE_HZ)
            self._pieces.append(piece)
            self._newest = piece
            size += len(piece.pcm)
            if piece.last and piece.sound is not None:
                self._ending.append((size // FRAME_BYTES, piece.sound))
        self.written_frames = size // FRAME_BYTES

    def played_out(self, avail: int, now: float) -> bool:
        """True when nothing can be left to hear. Room alone proves nothing: Pulse takes sound before it plays it."""
        return avail >= self.buffer_frames and self._by_clock(now) >= self.written_frames

    def hear(self, avail: int, now: float) -> list[Sound]:
        """The device has room for `avail` frames; the sounds that were heard to their end by now."""
        sure = min(max(0, self.written_frames - (self.buffer_frames - avail)), self.written_frames)
        likely = min(max(self._by_clock(now), sure), sure + self.step_frames, self.written_frames)
        if likely > self.heard_frames:
            self.moved_at = now
        self._advance(likely)
        return self._ended_by(sure)

    def exhaust(self) -> list[Sound]:
        """The device ran dry: everything was heard; the sounds that ended."""
        self._advance(self.written_frames)
        ended = self._ended_by(self.written_frames)
        self._reset()
        return ended

    def drop(self) -> list[Piece]:
        """The device's buffer is thrown away; the pieces that nobody heard, and the ends that `hear` has not told."""
        unheard = list(self._pieces)
        if unheard and self._first_heard_bytes:
            unheard[0] = evolve(unheard[0], pcm=memoryview(unheard[0].pcm)[self._first_heard_bytes :])
        to_come = {piece.sound for piece in unheard if piece.last}
        ends = [Piece(sound, b"", last=True) for _, sound in self._ending if sound not in to_come]
        self._reset()
        return ends + unheard

    def _by_clock(self, now: float) -> int:
        return int((now - self._began_at) * RATE_HZ)

    def _ended_by(self, frames: int) -> list[Sound]:
        ended = []
        while self._ending and self._ending[0][0] <= frames:
            ended.append(self._ending.popleft()[1])
        return ended

    def _advance(self, frames: int) -> None:
        size = max(0, frames - self.heard_frames) * FRAME_BYTES
        self.heard_frames = max(frames, self.heard_frames)
        while self._pieces:
            piece = self._pieces[0]
            left = len(piece.pcm) - self._first_heard_bytes
            step = min(left, size)
            size -= step
            if piece.sound is not None:
                piece.sound.heard_bytes += step
            if step < left:
                self._first_heard_bytes += step
                break
            self._pieces.popleft()
            self._first_heard_bytes = 0

    def _reset(self) -> None:
        self.written_frames = self.heard_frames = self._first_heard_bytes = 0
        self._pieces.clear()
        self._ending.clear()
        self._newest = None
