"""Captured sound is cleaned without moving a frame, and measured."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.audio.conditioning import Conditioner, sum_of
from kioskd.audio.pcm import RATE_HZ

BLOCK = RATE_HZ // 50


def tone(seconds: float, peak: float = 6000.0, hz: float = 440.0) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def pcm(samples: np.ndarray) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


def run(samples: np.ndarray, size: int = BLOCK) -> np.ndarray:
    conditioner = Conditioner()
    blocks = [samples[at : at + size] for at in range(0, len(samples), size)]
    return np.frombuffer(b"".join(conditioner.process(pcm(block)).pcm for block in blocks), "<i2").astype(float)


@pytest.mark.parametrize("size", [BLOCK, 5 * BLOCK, 777])
@pytest.mark.parametrize("offset", [40.0, -3000.0])
def test_a_constant_part_goes_and_the_voice_stays_where_it_was(offset: float, size: int) -> None:
    said = tone(4.0)
    heard = run(said + offset, size)
    assert len(heard) == len(said)
    settled = slice(RATE_HZ, None)
    assert abs(np.mean(heard[settled])) < 3
    assert np.abs((heard - said)[settled]).max() < 60  # 1 % of the voice


def test_sound_without_a_constant_part_passes_to_the_bit() -> None:
    said = np.rint(tone(1.0, hz=400.0))  # whole periods in each block
    assert np.array_equal(run(said), said)


def test_a_constant_part_that_changes_fades_without_a_click() -> None:
    heard = run(np.concatenate((np.zeros(RATE_HZ), np.full(6 * RATE_HZ, 2000.0))))
    steps = np.abs(np.diff(heard))
    assert np.sort(steps)[-2] < 3  # but for the step in the sound itself
    assert abs(heard[-1]) < 200


def test_another_device_is_learned_anew() -> None:
    conditioner = Conditioner()
    for _ in range(200):
        conditioner.process(pcm(np.full(BLOCK, 2000.0)))
    conditioner.reset()
    cleaned = np.frombuffer(conditioner.process(pcm(np.full(BLOCK, -500.0))).pcm, "<i2")
    assert np.abs(cleaned).max() <= 1


def test_a_voice_teaches_nothing_once_the_constant_part_is_known() -> None:
    conditioner = Conditioner()
    drift = pcm(np.full(BLOCK, 700.0))
    for _ in range(100):
        conditioner.process(pcm(np.full(BLOCK, 300.0)), learn=False)  # nobody else taught it
    assert conditioner.settled
    assert np.frombuffer(conditioner.process(drift, learn=False).pcm, "<i2").tolist() == [400] * BLOCK
    assert np.frombuffer(conditioner.process(drift, learn=False).pcm, "<i2").tolist() == [400] * BLOCK
    conditioner.process(drift)
    assert max(np.frombuffer(conditioner.process(drift, learn=False).pcm, "<i2")) < 400


def test_frames_at_the_rails_are_counted_before_anything_is_removed() -> None:
    samples = np.full(BLOCK, 100.0)
    samples[[3, 4, 5]] = 32767
    samples[9] = -32768
    assert Conditioner().process(pcm(samples)).clipped == 4
    assert Conditioner().process(pcm(np.minimum(samples, 100))).clipped == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_full_scale_stays_full_scale_when_the_constant_part_is_on_the_other_side(sign: int) -> None:
    conditioner = Conditioner()
    for _ in range(200):
        conditioner.process(pcm(np.full(BLOCK, sign * -2000.0)))
    samples = np.full(BLOCK, sign * -2000.0)
    samples[100:110] = sign * 32767
    cleaned = np.frombuffer(conditioner.process(pcm(samples)).pcm, "<i2") * float(sign)
    assert cleaned[100:110].min() >= 32767


def test_the_loudest_20_ms_count_however_long_the_block_is() -> None:
    samples = np.zeros(5 * BLOCK)
    samples[2 * BLOCK : 3 * BLOCK] = tone(0.02, peak=1000.0, hz=500.0)
    assert Conditioner().process(pcm(samples)).loudest == pytest.approx(1000 / 2**0.5, rel=0.01)
    assert Conditioner().process(pcm(samples[:100])).loudest == 0.0


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=20))
def test_any_sound_comes_out_frame_for_frame(blocks: list[bytes]) -> None:
    conditioner = Conditioner()
    for half in blocks:
        block = half * 2  # whole frames
        done = conditioner.process(block)
        assert len(done.pcm) == len(block)
        assert done.frames == len(block) // 2


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([1, 3, 400]))
def test_the_sum_is_exact(half: bytes, times: int) -> None:
    pcm = half * 2 * times  # also of more frames than are summed at once
    assert sum_of(pcm) == int(np.frombuffer(pcm, "<i2").sum(dtype=np.int64))


@pytest.mark.parametrize("rail", [b"\xff\x7f", b"\x00\x80"])
def test_the_sum_of_a_block_at_a_rail_is_exact(rail: bytes) -> None:
    assert sum_of(rail * 70_000) == int.from_bytes(rail, "little", signed=True) * 70_000


@settings(deadline=None)
@given(st.integers(-30_000, 30_000), st.integers(-30_000, 30_000), st.integers(1, 3000))
def test_what_is_removed_moves_evenly_from_the_old_constant_to_the_new(first: int, last: int, size: int) -> None:
    conditioner = Conditioner()
    conditioner.process(pcm(np.full(4 * RATE_HZ, float(first))))
    samples = np.full(size, float(last))
    now = first + (last - first) * min(1.0, size / (2 * RATE_HZ))
    wanted = np.clip(np.rint(samples - np.linspace(first, now, size)), -32768, 32767)
    heard = np.frombuffer(conditioner.process(pcm(samples)).pcm, "<i2")
    assert np.abs(heard - wanted).max() <= 2 + abs(now - first) / size


def test_a_running_microphone_needs_no_numpy() -> None:
    code = "import sys, kioskd.composition; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_constant_part_lets_no_peak_wrap_around(sign: int) -> None:
    conditioner = Conditioner()
    conditioner.process(pcm(np.full(4 * RATE_HZ, sign * 40.0)))
    samples = np.full(BLOCK, sign * 40.0)
    samples[100:103] = sign * -32768
    cleaned = np.frombuffer(conditioner.process(pcm(samples)).pcm, "<i2") * float(sign)
    assert cleaned[100:103].max() <= -32767
    assert np.abs(np.delete(cleaned, range(100, 103))).max() <= 3


@pytest.mark.parametrize("constant", [40, 255, 256, 257, 3000, 20_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_peak_wraps_around_however_near_a_rail_it_is(sign: int, constant: int) -> None:
    conditioner = Conditioner()
    conditioner.process(pcm(np.full(4 * RATE_HZ, sign * constant)))
    for from_rail in range(0, constant + 600, 7):
        samples = np.full(9, sign * (from_rail - 32768))
        cleaned = np.frombuffer(conditioner.process(pcm(samples), learn=False).pcm, "<i2")
        heard_at_rail = np.clip(samples, -32768, 32767) - sign * constant
        assert cleaned.tolist() == np.clip(heard_at_rail, -32768, 32767).tolist()
