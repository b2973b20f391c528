"""What is done to captured sound before anybody gets it: its constant part is removed, its loudness measured. PURE.

Without numpy, whose import costs more than a kiosk's whole first minute: the frames of a block lie in one long integer,
16 bits each, and are summed and shifted all at once. That is about as fast, and exact.
"""

from __future__ import annotations

import math
from array import array
from functools import lru_cache

from attrs import define, field, frozen

from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.value import Value

_WINDOW_FRAMES = 2 * RATE_HZ  # the mean runs over 2 s: far below any voice, and settled before the first press
_LEAST_OFFSET = 1.0  # of 32768: sound without a constant part passes to the bit
_PART_FRAMES = RATE_HZ * 20 // 1000
_STRIDE = 5  # one frame in five says as much about loudness; odd, and a divisor of a part
_RAIL = 32767
_SUMMED_FRAMES = 32768  # at once: their sum fits 32 bits


@frozen(eq=False, repr=False)
class Block(Value):
    """A piece of captured sound (s16le mono), frame for frame what came in."""

    pcm: bytes
    clipped: int
    """Frames at the rails, as the sound card gave them."""

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.pcm) // FRAME_BYTES

    @property
    def loudest(self) -> float:
        """The RMS of its loudest 20 ms, 0.0 to 32768.0. Worked out anew each time: it costs more than all the rest."""
        return _loudest(array("h", self.pcm))


@define(eq=False, repr=False)
class Conditioner:
    """Removes the constant part (DC) that cheap microphones add: a running mean, faded from block to block.

    A frame out for each frame in, at the same place; no delay.
    """

    _offset: float = field(default=0.0, init=False)
    _frames: int = field(default=0, init=False)

    @property
    def settled(self) -> bool:
        """The offset is well known: a look now and then keeps it so."""
        return self._frames >= _WINDOW_FRAMES

    def reset(self) -> None:
        """Another device: nothing is known of its offset."""
        self._frames = 0

    def process(self, pcm: bytes, learn: bool = True) -> Block:
        """A block of whole frames, s16le mono; not empty. It counts for the offset if `learn`, or until `settled`."""
        frames = len(pcm) // FRAME_BYTES
        upper_bytes = pcm[1::2]
        clipped = sum(map(array("h", pcm).count, (_RAIL, -_RAIL, -_RAIL - 1))) if _near_rails(upper_bytes, 1) else 0
        before = now = self._offset
        if learn or not self.settled:
            before, now = self._learn(sum_of(pcm) / frames, frames)
        if max(abs(before), abs(now)) >= _LEAST_OFFSET:
            pcm = _shifted(pcm, before, now, upper_bytes)
        return Block(pcm, clipped)

    def _learn(self, mean: float, frames: int) -> tuple[float, float]:
        """The offset at the block's beginning and at its end."""
        first = self._frames == 0
        self._frames = min(self._frames + frames, _WINDOW_FRAMES)
        before = self._offset
        self._offset += (mean - before) * min(1.0, frames / self._frames)
        return (self._offset if first else before), self._offset


def _near_rails(upper_bytes: bytes, distance: int) -> bool:
    """Is any frame within so many times 256 of a rail? Its upper byte tells, and all of them are looked at at once."""
    return len(upper_bytes.translate(None, _near(distance))) < len(upper_bytes)


@lru_cache(maxsize=4)
def _near(distance: int) -> bytes:
    return bytes(range(max(0x80 - distance, 0), min(0x80 + distance, 0x100)))


def sum_of(pcm: bytes) -> int:
    """The sum of all frames, exactly."""
    size = _SUMMED_FRAMES * FRAME_BYTES
    return sum(_sum_of_some(pcm[at : at + size]) for at in range(0, len(pcm), size))


def _sum_of_some(pcm: bytes) -> int:
    frames = len(pcm) // FRAME_BYTES
    lanes = int.from_bytes(pcm, "little") ^ _each(frames, 0x8000)  # now from 0 (the lowest) to 65535
    pairs = (lanes & _every_other(frames)) + (lanes >> 16 & _every_other(frames))
    return pairs % 0xFFFFFFFF - frames * 0x8000  # as the sum of decimal digits is what remains beyond nines


def _shifted(pcm: bytes, before: float, now: float, upper_bytes: bytes) -> bytes:
    """The frames less an offset that moves evenly from `before` to `now`; what would pass a rail stays at it."""
    frames = len(pcm) // FRAME_BYTES
    offsets = _ramp(frames, before, now)
    largest = max(abs(before), abs(now))
    if _near_rails(upper_bytes, math.ceil(largest) // 256 + 1):
        samples = array("h", pcm)
        if max(samples) + largest >= _RAIL or min(samples) - largest <= -_RAIL:
            less = zip(samples, array("H", offsets), strict=True)
            return array("h", [max(-_RAIL - 1, min(_RAIL, each - (off - 0x8000))) for each, off in less]).tobytes()
    middle = _each(frames, 0x8000)
    lanes = (int.from_bytes(pcm, "little") ^ middle) - (int.from_bytes(offsets, "little") - middle)
    return (lanes ^ middle).to_bytes(len(pcm), "little")


def _ramp(frames: int, before: float, now: float) -> bytes:
    """For each frame the offset's nearest whole number, plus 32768: in steps of one, for a larger step would click."""
    first, last = round(before), round(now)
    up = 1 if last >= first else -1
    steps, at = [], 0
    for value in range(first, last, up):
        until = min(frames, math.ceil(frames * (value + up / 2 - before) / (now - before)))
        steps.append((value + 0x8000).to_bytes(2, "little") * max(0, until - at))
        at = max(at, until)
    steps.append((last + 0x8000).to_bytes(2, "little") * (frames - at))
    return b"".join(steps)


@lru_cache(maxsize=4)  # there are one or two sizes of block, and now and then another; one takes up to 10 KB
def _each(frames: int, value: int) -> int:
    """So many frames of one value, as an integer."""
    return int.from_bytes(value.to_bytes(2, "little") * frames, "little")


@lru_cache(maxsize=4)
def _every_other(frames: int) -> int:
    """All ones in every second frame."""
    return int.from_bytes((b"\xff\xff\0\0" * (frames // 2 + 1))[: frames * FRAME_BYTES], "little")


def _loudest(samples: array[int]) -> float:
    whole = len(samples) // _PART_FRAMES * _PART_FRAMES
    if whole <= _PART_FRAMES:
        return math.hypot(*samples) / math.sqrt(len(samples))
    some, part = samples[:whole:_STRIDE], _PART_FRAMES // _STRIDE
    return max(math.hypot(*some[at : at + part]) for at in range(0, len(some), part)) / math.sqrt(part)
