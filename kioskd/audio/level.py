"""The loudness of a block, without numpy: the kiosk need not load it to light a lamp."""

from __future__ import annotations

import math
from array import array
from operator import mul

from kioskd.audio.pcm import FRAME_BYTES

_STRIDE = 4  # one frame in four says as much about loudness, in a quarter of the time
_FULL_SCALE = 32768.0


def rms_level(pcm: bytes) -> float:
    """The RMS of s16le mono samples, 0.0 (silence, or nothing) to 1.0 (full scale)."""
    samples = array("h", pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES])[::_STRIDE]
    if not samples:
        return 0.0
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples)) / _FULL_SCALE
