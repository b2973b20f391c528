"""The sounds of the signs: short, soft melodies, synthesised once.

In plain Python: a few ms of work, where numpy would keep 15 MB in memory for as long as the kiosk runs.
"""

from __future__ import annotations

import math
import sys
from array import array
from functools import cache

from attrs import frozen

from kioskd.audio.pcm import RATE_HZ
from kioskd.dialogue.effects import Sign

_LEVEL = 10 ** (-18 / 20)  # of full scale, RMS while a note sounds: heard in a hall, no fright at arm's length
_FULL_SCALE = 32767
_ATTACK_S = 0.012  # shorter clicks
_RELEASE_S = 0.045
_SECOND, _THIRD = 0.22, 0.06  # overtones: a small speaker carries no pure low tone


@frozen
class _Note:
    hz: float  # 0: a rest
    seconds: float


_C5, _D5, _E5, _G5, _A4, _F4, _C4, _E4 = 523.25, 587.33, 659.26, 783.99, 440.00, 349.23, 261.63, 329.63

_MELODIES: dict[Sign, tuple[_Note, ...]] = {
    Sign.TOO_SHORT: (_Note(_D5, 0.09), _Note(0, 0.05), _Note(_D5, 0.09)),  # two taps: once more, please
    Sign.LIMIT_REACHED: (_Note(_C5, 0.12), _Note(_E5, 0.12), _Note(_G5, 0.2)),  # rising: that will do, here it comes
    Sign.OUT_OF_ORDER: (_Note(_E4, 0.22), _Note(0, 0.04), _Note(_C4, 0.32)),  # low and final
    Sign.SORRY: (_Note(_E5, 0.14), _Note(_C5, 0.14), _Note(_A4, 0.14), _Note(_F4, 0.18)),  # a gentle fall
}


@cache
def earcon(sign: Sign) -> bytes:
    """The sound of a sign, s16le mono at 24 kHz, at most 600 ms, that begins and ends in silence."""
    samples = array("h")
    for note in _MELODIES[sign]:
        samples.extend(_samples(note))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _samples(note: _Note) -> list[int]:
    frames = round(note.seconds * RATE_HZ)
    if not note.hz:
        return [0] * frames
    scale = _LEVEL * _FULL_SCALE * math.sqrt(2 / (1 + _SECOND**2 + _THIRD**2))
    step = 2 * math.pi * note.hz / RATE_HZ
    attack, release = round(_ATTACK_S * RATE_HZ), round(_RELEASE_S * RATE_HZ)
    samples: list[int] = []
    for i in range(frames):
        fundamental, quadrature = math.sin(i * step), math.cos(i * step)
        # the overtones by the formulas of multiple angles, in a third of the time
        tone = fundamental * (1 + 2 * _SECOND * quadrature + _THIRD * (3 - 4 * fundamental * fundamental))
        samples.append(round(scale * _ramp(i, attack) * _ramp(frames - 1 - i, release) * tone))
    return samples


def _ramp(i: int, frames: int) -> float:
    """A raised cosine from 0.0 at 0 to 1.0 at `frames` and beyond: no click."""
    return 1.0 if i >= frames else 0.5 - 0.5 * math.cos(math.pi * i / frames)
