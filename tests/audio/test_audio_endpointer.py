"""The end of an utterance that no finger ends: never in speech, always in silence."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from kioskd.audio.endpointer import LOWEST_DB, RISE_DB_PER_S, Endpointer, Verdict
from kioskd.audio.hands_free import LOOK_EVERY_S, SilenceWatch
from kioskd.audio.last_answer import LastAnswer
from kioskd.audio.level import rms_level
from kioskd.audio.pcm import BYTES_PER_MS, FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.utterance import Utterance
from kioskd.config.schema import Conversation
from kioskd.dialogue.events import FellSilent
from kioskd.local.speak import synthesise

SILENCE_MS, NO_SPEECH_MS, BLOCK_MS = 900, 5000, 20
LONGEST_SILENCE_MS = SILENCE_MS + NO_SPEECH_MS - LOWEST_DB / RISE_DB_PER_S * 1000
SPEECH_RMS = 1500.0  # of 32768: -27 dBFS
SETTLING_MS = 250  # the ear's own smoothing, at both ends

TEXTS = (
    "Yes.",
    "Where can I find the library?",
    "What time does the museum open on Sundays, and how much is a ticket for two adults and a child?",
)


def ends_at(blocks: list[float]) -> tuple[Verdict | None, int]:
    """The verdict on blocks of 20 ms, and after how many ms."""
    endpointer = Endpointer(SILENCE_MS, NO_SPEECH_MS)
    for number, level in enumerate(blocks, 1):
        if (verdict := endpointer.feed(level, BLOCK_MS)) is not None:
            return verdict, number * BLOCK_MS
    return None, len(blocks) * BLOCK_MS


def amplitude(level_db: float) -> float:
    return 10 ** (level_db / 20)


def blocks_of(pcm: bytes) -> list[float]:
    size = bytes_of(BLOCK_MS)
    return [rms_level(pcm[at : at + size]) for at in range(0, len(pcm) - size + 1, size)]


def noise(frames: int, rms: float, pink: bool) -> np.ndarray:
    white = np.random.default_rng(4).normal(size=frames)
    if not pink:
        return white * rms
    spectrum = np.fft.rfft(white)
    hum = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), frames)
    return hum * rms / hum.std()


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    """Real words, each as loud as the other, without the silence around them."""

    async def speak() -> list[bytes]:
        return [await synthesise(text) for text in TEXTS]

    voices = [np.frombuffer(pcm, "<i2").astype(float) for pcm in trio.run(speak)]
    voices = [voice / np.sqrt(np.mean(voice[voice != 0] ** 2)) * SPEECH_RMS for voice in voices]
    return [voice[: np.flatnonzero(np.abs(voice) > 100)[-1] + 1] for voice in voices]


@pytest.mark.parametrize("lead_ms", [0, 300, 1500])
@pytest.mark.parametrize("pink", [False, True], ids=["white", "pink"])
@pytest.mark.parametrize("snr_db", [20, 10])
def test_speech_in_noise_is_heard_out_and_then_it_ends(
    spoken: list[np.ndarray], snr_db: float, pink: bool, lead_ms: int
) -> None:
    for voice in spoken:
        sound = np.concatenate([np.zeros(lead_ms * RATE_HZ // 1000), voice, np.zeros(3 * RATE_HZ)])
        sound += noise(len(sound), SPEECH_RMS / amplitude(snr_db), pink)
        verdict, after_ms = ends_at(blocks_of(sound.clip(-32768, 32767).astype("<i2").tobytes()))
        said_ms = lead_ms + len(voice) * 1000 // RATE_HZ
        assert verdict is Verdict.SPOKEN
        assert said_ms < after_ms <= said_ms + SILENCE_MS + SETTLING_MS


@pytest.mark.parametrize("pink", [False, True], ids=["white", "pink"])
@pytest.mark.parametrize("rms", [0.0, 3.0, 300.0, 3000.0])
def test_noise_alone_is_no_speech_nor_are_the_clicks_of_a_button(rms: float, pink: bool) -> None:
    sound = noise(8 * RATE_HZ, rms, pink)
    for at_ms in (320, 450):
        sound[at_ms * 24 : at_ms * 24 + 240] += 8000
    assert ends_at(blocks_of(sound.clip(-32768, 32767).astype("<i2").tobytes())) == (Verdict.NOTHING_SAID, NO_SPEECH_MS)


LEVELS = st.floats(0, 1) | st.sampled_from([0.0, 1e-5, 0.001, 0.03, 1.0])
NOISE_DB = st.floats(-60, -25)
LOUDER_DB = 14.0
BURSTS = st.lists(st.tuples(st.integers(200, 1500), st.integers(150, SILENCE_MS - 300)), min_size=1, max_size=12)


@given(NOISE_DB, st.floats(LOUDER_DB, 25), st.integers(0, 2000), BURSTS)
def test_never_within_speech(noise_db: float, louder_db: float, lead_ms: int, bursts: list[tuple[int, int]]) -> None:
    quiet, loud = amplitude(noise_db), amplitude(noise_db + louder_db)
    blocks = [quiet] * (lead_ms // BLOCK_MS)
    for burst_ms, gap_ms in bursts:
        blocks += [loud] * (burst_ms // BLOCK_MS) + [quiet] * (gap_ms // BLOCK_MS)
    said_ms = len(blocks) * BLOCK_MS - bursts[-1][1]
    verdict, after_ms = ends_at([*blocks, *[quiet] * 200])
    assert verdict is Verdict.SPOKEN
    assert said_ms + SILENCE_MS - SETTLING_MS < after_ms <= said_ms + SILENCE_MS + SETTLING_MS


@given(st.lists(LEVELS, max_size=300), st.floats(0, 1))
def test_always_in_silence_whatever_was_before_and_however_loud_the_silence_is(before: list[float], hum: float) -> None:
    verdict, after_ms = ends_at([*before, *[hum] * int(LONGEST_SILENCE_MS / BLOCK_MS)])
    assert verdict is not None
    assert after_ms >= min(SILENCE_MS, NO_SPEECH_MS)


@given(st.lists(LEVELS, max_size=300))
def test_it_ends_only_in_a_whole_silence_by_its_own_measure(blocks: list[float]) -> None:
    endpointer = Endpointer(SILENCE_MS, NO_SPEECH_MS)
    thresholds: list[float] = []
    for number, level in enumerate(blocks, 1):
        verdict = endpointer.feed(level, BLOCK_MS)
        thresholds.append(endpointer.threshold)
        if verdict is Verdict.SPOKEN:
            silent = slice(number - SILENCE_MS // BLOCK_MS, number)
            # Smoothed by some 50 ms: three loud blocks in a row can't hide in it.
            loud = [x > y for x, y in zip(blocks[silent], thresholds[silent], strict=True)]
            assert not any(all(loud[at : at + 8]) for at in range(len(loud) - 7))
        if verdict is not None:
            return


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50))
def test_no_number_breaks_it_and_its_state_is_bounded(levels: list[float]) -> None:
    endpointer = Endpointer(SILENCE_MS, NO_SPEECH_MS)
    for level in levels:
        endpointer.feed(level, BLOCK_MS)
        assert 0.0 < endpointer.floor <= 1.0 and math.isfinite(endpointer.threshold)
    for _ in range(1000):
        endpointer.feed(0.1, BLOCK_MS)
    assert len(pickle.dumps(endpointer)) < 2048


# -- listening to an utterance


def tone(ms: int, amplitude_16bit: int) -> bytes:
    return amplitude_16bit.to_bytes(2, "little", signed=True) * (ms * BYTES_PER_MS // FRAME_BYTES)


async def test_an_utterance_is_listened_to_as_it_grows_and_told_once(autojump_clock: trio.testing.MockClock) -> None:
    told: list[tuple[float, FellSilent]] = []
    watch = SilenceWatch(Conversation())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run, lambda event: told.append((trio.current_time(), event)))
        for turn, voice in ((1, 8000), (2, 10)):
            utterance = Utterance(turn, bytes_of(60_000))
            utterance.append(tone(500, 10))
            watch.watch(utterance)
            for level in [voice] * 10 + [10] * 60:
                await trio.sleep(0.1)
                utterance.append(tone(100, level))
        nursery.cancel_scope.cancel()
    assert [event for _, event in told] == [FellSilent(1, True), FellSilent(2, False)]
    speech_ended = 1.0
    assert speech_ended + 0.8 < told[0][0] <= speech_ended + 0.9 + 0.1 + LOOK_EVERY_S + SETTLING_MS / 1000


async def test_what_nobody_waits_for_is_not_told(autojump_clock: trio.testing.MockClock) -> None:
    told: list[FellSilent] = []
    watch = SilenceWatch(Conversation())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run, told.append)
        forgotten, ended = Utterance(1, bytes_of(60_000)), Utterance(2, bytes_of(60_000))
        watch.watch(forgotten)
        await trio.sleep(1)
        watch.forget()
        forgotten.append(tone(20_000, 0))
        watch.watch(ended)
        ended.end()
        await trio.sleep(1)
        ended.append(tone(20_000, 0))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert told == []


# -- what was said last


def test_the_last_answer_is_kept_until_a_new_one_begins_and_no_longer_than_its_bound() -> None:
    kept = LastAnswer(longest_ms=10)
    kept.expect(1)
    kept.add(1, b"a" * 200)
    kept.add(7, b"x")  # the kiosk's own words
    kept.expect(2)
    assert b"".join(kept.pieces) == b"a" * 200, "until the new one can be heard"
    kept.add(1, b"late")
    kept.add(2, b"b" * 300)
    kept.expect(3, rest=True)
    kept.add(3, b"c" * 300)
    kept.add(3, b"d" * 300)
    assert b"".join(kept.pieces) == b"b" * 300 + b"c" * (10 * BYTES_PER_MS - 300)
    kept.forget()
    kept.add(3, b"e")
    assert kept.pieces == ()
