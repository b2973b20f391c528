"""How loud the kiosk is: the schedule, the scale, and the sound itself where no mixer turns it. PURE.

The scale is that of alsamixer and of desktops: 60 dB in a cubic curve, so that each step sounds alike. Where the sound
itself is scaled, 80 leaves it as it came, and what is louder is bent rather than clipped at the peaks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kioskd.audio.pcm import FRAME_BYTES
from kioskd.config.schema import Audio

if TYPE_CHECKING:
    from numpy import floating
    from numpy.typing import NDArray

    Samples = NDArray[floating[Any]]

UNITY = 80
"""The volume at which sound is handed over as it came."""
_KNEE = 0.7  # of full scale; below it the limiter changes nothing
_FULL_SCALE = 32767.0


def volume_at(settings: Audio, minute: int | None) -> int:
    """The volume, 0 to 100, at this minute of the local day (0 to 1439); None: the time is unknown, and it is day."""
    volume, night = settings.volume, settings.night
    if night is not None and minute is not None:
        begin, end = minutes_of(night.begin), minutes_of(night.end)
        if (begin <= minute < end) if begin < end else (minute >= begin or minute < end):
            volume = night.volume
    return min(volume, settings.volume_ceiling)


def minutes_of(text: str) -> int:
    """The minute of the day of a time such as "22:00"; the settings hold no other."""
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def decibels_below_top(volume: int) -> float:
    """How far under its loudest a mixer is set for a volume of 1 to 100, in dB: 0 at 100, -18 at 50, -60 at 10."""
    return 60 * math.log10(volume / 100)


def gain_of(volume: int) -> float:
    """The factor for samples at a volume of 0 to 100: 0.0 at 0, 0.125 at 40, 1.0 at 80, 1.95 (+6 dB) at 100."""
    return (volume / UNITY) ** 3


def scaled(pcm: bytes, gain: float, gain_before: float) -> bytes:
    """A block of s16le mono at a gain; if another one counted before, it glides from there within the block."""
    if gain == gain_before == 1.0:
        return pcm
    if gain == gain_before == 0.0:
        return bytes(len(pcm))
    from kioskd.audio.arrays import np

    factor: np.float32 | Samples = np.float32(gain)
    if gain != gain_before:
        factor = np.linspace(gain_before, gain, len(pcm) // FRAME_BYTES, dtype=np.float32)
    samples: Samples = np.frombuffer(pcm, dtype="<i2") * factor
    if max(gain, gain_before) > 1.0:
        samples = limited(samples / _FULL_SCALE) * _FULL_SCALE
    return np.rint(samples).astype("<i2").tobytes()


def limited(samples: Samples) -> Samples:
    """Bend what exceeds the knee so that nothing exceeds full scale; the curve has no corner, and needs no memory."""
    from kioskd.audio.arrays import np

    size = np.abs(samples)
    if not len(size) or size.max() <= _KNEE:
        return samples
    rest = 1.0 - _KNEE
    bent = _KNEE + rest * np.tanh((size - _KNEE) / rest)
    return np.where(size > _KNEE, np.copysign(bent, samples), samples)
