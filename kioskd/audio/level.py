"""The loudness of a block, without numpy: the kiosk need not load it to light a lamp."""

from __future__ import annotations

import math
from array import array
from operator import mul

from kioskd.audio.pcm import FRAME_BYTES

_STRIDE = 5  # one frame in five says as much about loudness, in a fifth of the time; odd: no pitch hides
_FULL_SCALE = 32768.0


def rms_level(pcm: bytes) -> float:
    """The RMS of s16le mono samples, 0.0 (silence, or nothing) to 1.0 (full scale)."""
    samples = _some(pcm)
    return math.sqrt(_mean_square(samples)) / _FULL_SCALE if samples else 0.0


def sound_level(pcm: bytes) -> float:
    """As `rms_level`, without the constant part that a microphone may add."""
    samples = _some(pcm)
    if not samples:
        return 0.0
    mean = sum(samples) / len(samples)
    return math.sqrt(max(0.0, _mean_square(samples) - mean * mean)) / _FULL_SCALE


def _some(pcm: bytes) -> array[int]:
    return array("h", pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES])[::_STRIDE]


def _mean_square(samples: array[int]) -> float:
    return float(sum(map(mul, samples, samples))) / len(samples)
