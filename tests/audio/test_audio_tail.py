"""The tail that the self-test measures, in made-up rooms whose echo is known to the frame."""

from __future__ import annotations

import numpy as np
import pytest

from kioskd.audio.arrays import Floats
from kioskd.audio.pcm import RATE_HZ
from kioskd.audio.selftest import LONGEST_ECHO_MS, Recording, Verdict, chirp, judge
from kioskd.audio.verdict import LONGEST_TAIL_MS, SHORTEST_TAIL_MS, with_tail
from kioskd.config.schema import Audio

PLAYED_AT = RATE_HZ // 2
CHIRP = len(chirp())
SIZE = PLAYED_AT + CHIRP + LONGEST_ECHO_MS * RATE_HZ // 1000
WINDOW = RATE_HZ // 100
EXACT_MS, EXACT_DB = 20, 3  # so exact it is: where a slow decay meets the noise, 3 dB are many ms
IN_BAND = 0.6  # of white noise, as RMS: what lies in the band of voices


def frames(ms: float) -> int:
    return round(ms * RATE_HZ / 1000)


def echo(decay_s: float, latency_ms: float, seed: int, gain: float = 0.3) -> Floats:
    """What the microphone hears of the chirp in a room that gets 60 dB quieter in `decay_s`; 0: no walls."""
    response = np.zeros(max(1, round(1.2 * decay_s * RATE_HZ)))
    if decay_s:
        at = np.arange(len(response))
        walls = np.random.default_rng(seed).standard_normal(len(at)) * 10 ** (-3 * at / RATE_HZ / decay_s)
        response += 0.3 * walls / np.linalg.norm(walls)
    response[0] += 1
    heard = np.convolve(gain * chirp(), response)
    sound = np.zeros(SIZE)
    begin = PLAYED_AT + frames(latency_ms)
    sound[begin : begin + len(heard)] = heard[: SIZE - begin]
    return sound


def hiss(level: float, seed: int = 5) -> Floats:
    return np.random.default_rng(seed).standard_normal(SIZE) * level


def true_tail_ms(sound: Floats, latency_ms: float, noise: float) -> float:
    """When the echo is for good below the noise, or 40 dB below the chirp, after the device's last frame."""
    begin = PLAYED_AT + frames(latency_ms)
    chirps = np.sqrt(np.mean(sound[begin : begin + CHIRP] ** 2))
    after = sound[begin + CHIRP :]
    windows = after[: len(after) // WINDOW * WINDOW].reshape(-1, WINDOW)
    loud = np.nonzero(np.sqrt(np.mean(windows**2, axis=1)) > max(IN_BAND * noise, 0.01 * chirps))[0]
    return latency_ms + (10.0 * (int(loud[-1]) + 1) if len(loud) else 0.0)


def tail_of(sound: Floats) -> float | None:
    report = judge(Recording(np.clip(np.rint(sound), -32768, 32767), PLAYED_AT))
    assert report.verdict is Verdict.FINE
    return report.tail_ms


@pytest.mark.parametrize("latency_ms", [0.0, 15.0, 60.0, 240.0])
@pytest.mark.parametrize("noise", [3.0, 30.0, 100.0])
@pytest.mark.parametrize("decay_s", [0.0, 0.15, 0.35, 0.6, 0.9])
def test_it_is_the_rooms_own_with_all_of_the_latency(decay_s: float, noise: float, latency_ms: float) -> None:
    for seed in range(5):
        sound = echo(decay_s, latency_ms, seed)
        true_ms = true_tail_ms(sound, latency_ms, noise)
        measured_ms = tail_of(sound + hiss(noise, 100 + seed))
        assert measured_ms is not None
        assert measured_ms == pytest.approx(true_ms, abs=EXACT_MS + EXACT_DB / 60 * decay_s * 1000)


def test_a_room_ten_times_as_loud_shortens_it_by_a_third_of_its_decay() -> None:
    """20 dB of 60, whatever the measurement takes for quiet."""
    loud, quiet = ([tail_of(echo(0.6, 20, seed, 0.9) + hiss(level, seed)) or 0 for seed in range(20)]
                   for level in (600.0, 60.0))  # fmt: skip
    assert np.mean(quiet) - np.mean(loud) == pytest.approx(200, abs=30)


def test_a_speaker_later_than_the_chirp_is_long_is_not_taken_for_a_quiet_room() -> None:
    assert tail_of(echo(0.15, 480, 1) + hiss(30)) == pytest.approx(480 + 50, abs=40)


def test_a_fan_beside_the_microphone_hides_no_echo() -> None:
    at = np.arange(SIZE) / RATE_HZ
    fan = 600 * np.sin(2 * np.pi * 50 * at) + 300 * np.sin(2 * np.pi * 97 * at) + 700
    sound = echo(0.35, 60, 3)
    without = tail_of(sound + hiss(20))
    assert without is not None and tail_of(sound + hiss(20) + fan) == pytest.approx(without, abs=20)


# -- somebody is there


def cough(after_ms: float, ms: float, level: float = 3000.0) -> Floats:
    """Begins so long after the chirp's last frame was heard, at a latency of 60 ms."""
    begin = PLAYED_AT + CHIRP + frames(60 + after_ms)
    sound = np.zeros(SIZE)
    sound[begin : begin + frames(ms)] = np.random.default_rng(8).standard_normal(frames(ms)) * level
    return sound


@pytest.mark.parametrize("after_ms", [10, 20, 40])
def test_a_cough_into_the_decay_is_no_measurement(after_ms: float) -> None:
    assert tail_of(echo(0, 60, 1) + hiss(30) + cough(after_ms, 200)) is None


@pytest.mark.parametrize("ms", [100, 700])
def test_a_cough_once_it_is_quiet_changes_nothing(ms: float) -> None:
    assert tail_of(echo(0, 60, 1) + hiss(30) + cough(150, ms)) == pytest.approx(60, abs=10)


@pytest.mark.parametrize(("begin_s", "ms"), [(0.0, 100), (0.05, 350)])
def test_a_cough_before_the_chirp_makes_no_room_loud(begin_s: float, ms: float) -> None:
    sound = echo(0.6, 60, 2) + hiss(30)
    true_ms = tail_of(sound)
    sound += np.roll(cough(0, ms), round(begin_s * RATE_HZ) - (PLAYED_AT + CHIRP + frames(60)))
    assert true_ms is not None and tail_of(sound) == pytest.approx(true_ms, abs=30)


@pytest.mark.parametrize("begin_ms", [-200, 0])
def test_a_tail_that_does_not_end_is_none(begin_ms: float) -> None:
    assert tail_of(echo(0.1, 60, 1) + hiss(30) + cough(begin_ms, 930 - begin_ms, 300)) is None
    assert tail_of(echo(4.0, 60, 1, 0.9) + hiss(3)) is None


# -- what counts


def test_the_owners_word_counts_else_what_was_measured_and_a_little_more() -> None:
    assert with_tail(Audio(), None) == Audio()
    assert with_tail(Audio(echo_tail_ms=0), 400.0) == Audio(echo_tail_ms=0)
    assert with_tail(Audio(), 180.0) == Audio(echo_tail_ms=210)  # a window of 10 ms, and a microphone's period of 20
    assert with_tail(Audio(period_frames=240), 180.0).echo_tail_ms == 200
    assert with_tail(Audio(), 3.0).echo_tail_ms == SHORTEST_TAIL_MS
    assert with_tail(Audio(period_frames=4800), 950.0).echo_tail_ms == LONGEST_TAIL_MS
