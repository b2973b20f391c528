"""The sounds of the signs: short, soft melodies, synthesised once."""

from __future__ import annotations

import math
from array import array
from functools import cache

from attrs import frozen

from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.dialogue.effects import Sign

_LEVEL = 10 ** (-18 / 20)  # of full scale, RMS while a note sounds (its peak: -13): heard in a hall, no fright near by
_ATTACK_S = 0.012  # shorter clicks
_RELEASE_S = 0.045
_OVERTONES = (1.0, 0.22, 0.06)  # a small speaker carries no pure low tone


@frozen(eq=False, repr=False)
class _Note:
    hz: float  # 0: a rest
    seconds: float


_C4, _E4, _F4, _G4, _A4 = 261.63, 329.63, 349.23, 392.00, 440.00
_B4, _C5, _D5, _E5, _G5 = 493.88, 523.25, 587.33, 659.26, 783.99

# By the sign's name. A sign that is missing here has no sound; a test holds this against all there are.
_MELODIES: dict[str, tuple[_Note, ...]] = {
    "listening": (_Note(_B4, 0.12),),  # one soft drop: go on
    "sent": (_Note(_G5, 0.12),),  # one high drop: it is on its way
    "too-short": (_Note(_D5, 0.09), _Note(0, 0.05), _Note(_D5, 0.09)),  # two taps: once more, please
    "limit-reached": (_Note(_C5, 0.12), _Note(_E5, 0.12), _Note(_G5, 0.2)),  # rising: that will do, here it comes
    "connection-lost": (_Note(_G4, 0.12), _Note(0, 0.06), _Note(_G4, 0.12), _Note(0, 0.06), _Note(_D5, 0.16)),  # hello?
    "out-of-order": (_Note(_E4, 0.22), _Note(0, 0.04), _Note(_C4, 0.32)),  # low and final
    "sorry": (_Note(_E5, 0.14), _Note(_C5, 0.14), _Note(_A4, 0.14), _Note(_F4, 0.18)),  # a gentle fall
    "fault": (_Note(_C4, 0.14), _Note(0, 0.04), _Note(_C4, 0.14), _Note(0, 0.04), _Note(_C4, 0.2)),  # a low knocking
}


@cache
def earcon(sign: Sign) -> bytes:
    """The sound of a sign, s16le mono at 24 kHz, at most 600 ms, that begins and ends in silence."""
    return melody(sign.value)


def melody(name: str) -> bytes:
    """The sound of the sign of this name; b"" where there is none."""
    return b"".join(_sound(note) for note in _MELODIES.get(name, ()))


def _sound(note: _Note) -> bytes:
    """By hand, in a few ms: numpy's import alone takes longer than all the melodies together."""
    frames = round(note.seconds * RATE_HZ)
    if not note.hz:
        return bytes(frames * FRAME_BYTES)
    scale = _LEVEL * math.sqrt(2 / sum(weight**2 for weight in _OVERTONES)) * 32767
    first, second, third = (scale * weight for weight in _OVERTONES)
    step, sin, cos = 2 * math.pi * note.hz / RATE_HZ, math.sin, math.cos
    # sin 2x = 2 sin x cos x, sin 3x = sin x (4 cos² x - 1)
    tone = [
        sin(x) * (first + second * 2 * (c := cos(x)) + third * (4 * c * c - 1))
        for x in (step * n for n in range(frames))
    ]
    for at, factor in enumerate(_rise(_ATTACK_S)):
        tone[at] *= factor
    for at, factor in enumerate(_rise(_RELEASE_S), start=1):
        tone[-at] *= factor
    return array("h", map(round, tone)).tobytes()


def _rise(seconds: float) -> list[float]:
    """A raised cosine from 0.0 at the first frame to 1.0 after `seconds`: no click."""
    frames = round(seconds * RATE_HZ)
    return [0.5 - 0.5 * math.cos(math.pi * n / frames) for n in range(frames)]
