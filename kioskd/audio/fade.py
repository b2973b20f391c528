"""A few ms of fading where sound stops for want of more, and where it comes back: no click. PURE."""

from __future__ import annotations

import math
from array import array

from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ

FADE_FRAMES = RATE_HZ * 5 // 1000
FADE_BYTES = FADE_FRAMES * FRAME_BYTES


def fade_in(pcm: bytearray, begin: int) -> None:
    """Let the sound that begins at byte `begin` rise out of silence; its length stays."""
    _ramp(pcm, begin, min(begin + FADE_BYTES, len(pcm)), rising=True)


def fade_out(pcm: bytearray, end: int) -> None:
    """Let the sound that stops at byte `end` fall into silence; its length stays."""
    _ramp(pcm, max(0, end - FADE_BYTES), end, rising=False)


def _ramp(pcm: bytearray, begin: int, end: int, rising: bool) -> None:
    """A raised cosine, so that neither end of it has an edge."""
    samples = array("h", pcm[begin:end])
    frames = len(samples)
    for i in range(frames):
        share = 0.5 - 0.5 * math.cos(math.pi * (i + 0.5) / frames)
        samples[i] = round(samples[i] * (share if rising else 1.0 - share))
    pcm[begin:end] = samples.tobytes()
