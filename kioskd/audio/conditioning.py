"""What is done to captured sound before anybody gets it: its constant part is removed, its loudness measured. PURE."""

from __future__ import annotations

import math
from functools import lru_cache

from attrs import define, field, frozen

from kioskd.audio.arrays import Singles, np
from kioskd.audio.pcm import RATE_HZ

_WINDOW_FRAMES = 2 * RATE_HZ  # the mean runs over 2 s: far below any voice, and settled before the first press
_LEAST_OFFSET = 1.0  # of 32768: sound without a constant part passes to the bit
_PART_FRAMES = RATE_HZ * 20 // 1000
_RAIL = 32767


@frozen
class Block:
    """A piece of captured sound, frame for frame what came in."""

    pcm: bytes
    frames: int
    clipped: int
    """Frames at the rails, as the sound card gave them."""
    loudest: float
    """The RMS of its loudest 20 ms, 0.0 to 32768.0."""


@define
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

    def process(self, pcm: bytes) -> Block:
        """A block of whole frames, s16le mono; not empty."""
        raw = np.frombuffer(pcm, dtype="<i2")  # ufuncs and dot below: at 50 blocks a second, np.mean and the like cost
        highest, lowest = int(np.maximum.reduce(raw)), int(np.minimum.reduce(raw))
        at_rails = highest >= _RAIL or lowest <= -_RAIL
        clipped = int(np.count_nonzero((raw >= _RAIL) | (raw <= -_RAIL))) if at_rails else 0
        samples = raw.astype(np.float32)
        before, now = self._learn(float(np.add.reduce(samples, dtype=np.float64)) / len(raw), len(raw))
        least, most = min(before, now), max(before, now)
        if least > -_LEAST_OFFSET and most < _LEAST_OFFSET:
            return Block(pcm, len(raw), clipped, _loudest(samples))
        samples -= before + _rising(len(raw)) * np.float32(now - before)  # a step would click
        loudest = _loudest(samples)
        np.rint(samples, out=samples)
        if highest - least > 32767 or lowest - most < -32768:
            np.clip(samples, -32768, 32767, out=samples)
        return Block(samples.astype("<i2").tobytes(), len(raw), clipped, loudest)

    def _learn(self, mean: float, frames: int) -> tuple[float, float]:
        """The offset at the block's beginning and at its end."""
        first = self._frames == 0
        self._frames = min(self._frames + frames, _WINDOW_FRAMES)
        before = self._offset
        self._offset += (mean - before) * min(1.0, frames / self._frames)
        return (self._offset if first else before), self._offset


@lru_cache(maxsize=16)  # there are one or two sizes of block, and now and then another
def _rising(frames: int) -> Singles:
    """From 0 to 1."""
    return np.linspace(0.0, 1.0, frames, dtype=np.float32)


def _loudest(samples: Singles) -> float:
    whole = len(samples) // _PART_FRAMES * _PART_FRAMES
    if whole <= _PART_FRAMES:
        return math.sqrt(float(samples.dot(samples)) / len(samples))
    parts = samples[:whole].reshape(-1, _PART_FRAMES)
    return math.sqrt(float(np.einsum("ij,ij->i", parts, parts).max()) / _PART_FRAMES)
