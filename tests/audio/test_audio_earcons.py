"""What a visitor hears of a sign: soft, short, and unlike the others."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from kioskd.audio.earcons import earcon
from kioskd.audio.earcons import melody as synthesised
from kioskd.audio.pcm import RATE_HZ, ms_of
from kioskd.config.schema import Sounds
from kioskd.dialogue.effects import Sign

SIGNS = [name.replace("_", "-") for name in Sounds.__annotations__ if name != "sorry_in"]


def samples(sign: str) -> np.ndarray:
    return np.frombuffer(synthesised(sign), dtype="<i2").astype(float) / 32768


def melody(sign: str) -> list[int]:
    """The loudest frequency of each 20 ms that sounds, repeats left out."""
    blocks = samples(sign)[: len(samples(sign)) // 480 * 480].reshape(-1, 480)
    spectra = [np.abs(np.fft.rfft(block * np.hanning(480), 4800)) for block in blocks if np.std(block) > 0.05]
    pitches = [int(np.argmax(spectrum)) * RATE_HZ // 4800 for spectrum in spectra]
    return [pitch for i, pitch in enumerate(pitches) if i == 0 or abs(pitch - pitches[i - 1]) > 20]


@pytest.mark.parametrize("sign", Sign)
def test_every_sign_has_a_sound_and_a_setting(sign: Sign) -> None:
    assert earcon(sign)
    assert sign.value in SIGNS


@pytest.mark.parametrize("sign", SIGNS)
def test_is_short_and_at_a_comfortable_level(sign: str) -> None:
    assert 100 <= ms_of(len(synthesised(sign))) <= 600
    sounding = samples(sign)[np.abs(samples(sign)) > 0.001]
    assert -21 < 20 * np.log10(np.sqrt(np.mean(sounding**2))) < -16
    assert np.abs(samples(sign)).max() < 0.5


@pytest.mark.parametrize("sign", SIGNS)
def test_begins_and_ends_in_silence_and_never_clicks(sign: str) -> None:
    sound = samples(sign)
    assert abs(sound[0]) < 0.001
    assert abs(sound[-1]) < 0.001
    highest_hz, peak = 800 * 3, np.abs(sound).max()
    assert np.abs(np.diff(sound)).max() < peak * 2 * np.pi * highest_hz / RATE_HZ / 2


def test_no_two_signs_sound_alike() -> None:
    melodies = {sign: samples(sign) for sign in SIGNS}
    for one, other in combinations(melodies.values(), 2):
        length = min(len(one), len(other))
        alike = np.dot(one[:length], other[:length]) / (np.linalg.norm(one[:length]) * np.linalg.norm(other[:length]))
        assert abs(alike) < 0.7


def test_sorry_falls() -> None:
    notes = melody("sorry")
    assert len(notes) >= 3
    assert notes == sorted(notes, reverse=True)
