"""The loudness of a block, without numpy: the kiosk need not load it to light a lamp."""

from __future__ import annotations

import math
from array import array

from kioskd.audio.pcm import FRAME_BYTES

_STRIDE = 5  # one frame in five says as much about loudness, in a fifth of the time; odd: no pitch hides
_FULL_SCALE = 32768.0


def rms_level(pcm: bytes) -> float:
    """The RMS of s16le mono samples, 0.0 (silence, or nothing) to 1.0 (full scale)."""
    samples = _some(pcm)
    return math.hypot(*samples) / math.sqrt(len(samples)) / _FULL_SCALE if samples else 0.0


def sound_level(pcm: bytes) -> float:
    """As `rms_level`, without the constant part that a microphone may add."""
    samples = _some(pcm)
    if not samples:
        return 0.0
    mean = sum(samples) / len(samples)
    return math.sqrt(max(0.0, math.hypot(*samples) ** 2 / len(samples) - mean * mean)) / _FULL_SCALE


def _some(pcm: bytes) -> array[int]:
    return array("h", pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES])[::_STRIDE]
