"""A fade changes no length, touches only its few ms, and leaves no edge."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kioskd.audio.arrays import np
from kioskd.audio.fade import FADE_FRAMES, fade_in, fade_out

LOUD = 30_000


def level(frames: int) -> bytearray:
    return bytearray(np.full(frames, LOUD, dtype="<i2").tobytes())


def samples(pcm: bytearray) -> np.ndarray:
    return np.frombuffer(bytes(pcm), dtype="<i2").astype(int)


@given(st.integers(0, 600), st.integers(0, 600))
def test_only_the_few_ms_at_the_edge_change(before: int, after: int) -> None:
    rising, falling = level(before + after), level(before + after)
    fade_in(rising, before * 2)
    fade_out(falling, before * 2)
    assert len(rising) == len(falling) == (before + after) * 2
    assert (samples(rising)[:before] == LOUD).all()
    assert (samples(rising)[before + FADE_FRAMES :] == LOUD).all()
    assert (samples(falling)[: max(0, before - FADE_FRAMES)] == LOUD).all()
    assert (samples(falling)[before:] == LOUD).all()


def test_a_fade_runs_from_silence_to_full_without_an_edge() -> None:
    pcm = level(FADE_FRAMES * 2)
    fade_in(pcm, 0)
    fade_out(pcm, len(pcm))
    heard = np.concatenate([[0], samples(pcm), [0]])
    assert np.abs(np.diff(heard)).max() <= LOUD * np.pi / 2 / FADE_FRAMES + 1
    assert (np.diff(heard[: FADE_FRAMES + 1]) >= 0).all()
    assert (heard == heard[::-1]).all()
