"""The microphone through real ALSA calls, judged by the positions of samples, never by a clock."""

from __future__ import annotations

import math
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from kioskd.audio.arrays import Floats, np, pcm_of, samples_of
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.ports import MicrophoneEvent
from kioskd.audio.utterance import Utterance
from kioskd.config.schema import Audio
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, UtteranceEnded
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

WINDOW = RATE_HZ // 4
STEP_TOLERANCE = 3  # frames: Pulse resamples 48 kHz to 24 kHz
LOUD = 0.02


def speech(seconds: float, seed: int = 7) -> Floats:
    """Noise in the band of speech, faded in and out: no two windows of it are alike, and resampling spares it."""
    frames = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(frames))
    pitch = np.fft.rfftfreq(frames, 1 / RATE_HZ)
    spectrum[(pitch < 200) | (pitch > 4000)] = 0
    sound = np.fft.irfft(spectrum, frames)
    return np.asarray(sound / np.abs(sound).max() * 0.8, dtype=np.float64)


def save(path: Path, sound: Floats) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm_of(sound))
    return path


def place(heard: Floats, piece: Floats) -> tuple[int, float]:
    """Where `piece` begins in `heard`, in frames, and the normalised correlation there."""
    size = 1 << math.ceil(math.log2(len(heard) + len(piece)))
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)
    at = int(np.argmax(product[: max(1, len(heard) - len(piece) + 1)]))
    window = heard[at : at + len(piece)]
    norm = float(np.linalg.norm(window) * np.linalg.norm(piece[: len(window)]))
    return at, float(product[at]) / norm if norm else 0.0


class Ear:
    """A running microphone and what it reported."""

    def __init__(self, device: str = PrivatePulse.MICROPHONE, channel: int | None = None) -> None:
        settings = Audio(microphone=device, microphone_channel=channel)
        self.microphone = AlsaMicrophone(settings, pre_roll_max_ms=2000, max_utterance_ms=60_000)
        self._send, self.events = trio.open_memory_channel[MicrophoneEvent](100)

    def report(self, event: MicrophoneEvent) -> None:
        self._send.send_nowait(event)

    async def heard(self, done: Callable[[Utterance], bool], utterance: Utterance) -> None:
        """Wait until the utterance is as it should be."""
        reached = trio.Event()

        def look() -> None:
            if done(utterance):
                reached.set()

        utterance.subscribe(look)
        look()
        await reached.wait()

    async def captured(self, ms: int) -> None:
        """Wait until so much more was captured, recorded or not."""
        enough = self.microphone.frames + ms * RATE_HZ // 1000
        while self.microphone.frames < enough:
            await trio.sleep(0.01)

    async def grown(self, utterance: Utterance, ms: float) -> None:
        await self.heard(lambda it: it.size >= bytes_of(ms), utterance)


@asynccontextmanager
async def listening(timeout_s: float = 60.0, ear: Ear | None = None) -> AsyncIterator[Ear]:
    ear = ear or Ear()
    with trio.fail_after(timeout_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ear.microphone.run, ear.report)
            yield ear
            nursery.cancel_scope.cancel()


async def test_thirty_seconds_arrive_whole_and_in_order(pulse: PrivatePulse, tmp_path: Path) -> None:
    said = speech(30)
    wav = save(tmp_path / "said.wav", said)
    async with listening(90) as ear:
        utterance = ear.microphone.begin(1, 0)
        await ear.grown(utterance, 100)
        speaking = pulse.speak(wav)
        began = utterance.size
        await ear.heard(lambda it: it.size >= began + bytes_of(31_000), utterance)
        ear.microphone.end(1, 200)
        assert await ear.events.receive() == UtteranceEnded(1, utterance.duration_ms)
        pulse.hush(speaking)
    heard = samples_of(utterance.since(0))
    start, _ = place(heard, said[:WINDOW])
    for at in range(0, len(said) - WINDOW, WINDOW):
        lag, likeness = place(heard[start + at - 2400 :][: WINDOW + 4800], said[at : at + WINDOW])
        assert likeness > 0.9, f"{at / RATE_HZ:.2f} s into what was said"
        assert abs(lag - 2400) <= STEP_TOLERANCE, f"a block was lost or doubled {at / RATE_HZ:.2f} s into it"
    assert ear.microphone.xruns == 0


async def test_the_pre_roll_holds_what_was_said_before_the_press(pulse: PrivatePulse, tmp_path: Path) -> None:
    """The sound begins in an utterance that is discarded, so that the test knows it was heard before the press."""
    said = speech(6)
    wav = save(tmp_path / "said.wav", said)
    async with listening() as ear:
        probe = ear.microphone.begin(1, 0)
        speaking = pulse.speak(wav)
        await ear.heard(
            lambda it: float(np.abs(samples_of(it.since(max(0, it.size - 960)))).max(initial=0)) > LOUD, probe
        )
        await ear.grown(probe, 48 + probe.duration_ms)
        ear.microphone.discard(1)
        await ear.captured(1000)
        at_press = ear.microphone.frames
        utterance = ear.microphone.begin(2, 800)
        await ear.grown(utterance, 1)
        first = utterance.since(0)
        assert len(first) == bytes_of(800)
        assert ear.microphone.frames - at_press < RATE_HZ // 4  # most of it is older than the press
        await ear.grown(utterance, 1800)
        ear.microphone.end(2, 0)
        assert isinstance(await ear.events.receive(), UtteranceEnded)
        pulse.hush(speaking)
    whole, likeness = place(said, samples_of(utterance.since(0))[: RATE_HZ * 3 // 2])
    assert likeness > 0.9  # pre-roll and what follows join without a seam
    before, likeness = place(said, samples_of(first))
    assert likeness > 0.9
    assert abs(before - whole) <= STEP_TOLERANCE


@pytest.mark.usefixtures("pulse")
async def test_the_post_roll_is_of_the_length_that_was_asked_for() -> None:
    async with listening() as ear:
        for turn, post_roll_ms in enumerate((0, 200, 730), start=1):
            utterance = ear.microphone.begin(turn, 0)
            await ear.grown(utterance, 300)
            ear.microphone.end(turn, post_roll_ms)
            at_release = utterance.duration_ms
            ended = await ear.events.receive()
            assert ended == UtteranceEnded(turn, utterance.duration_ms)
            # a chunk of 100 ms may have been on its way when the button came up, with 20 ms in the device
            assert post_roll_ms <= utterance.duration_ms - at_release <= post_roll_ms + 160
            assert utterance.ended


async def test_a_server_that_comes_later_is_found(pulse: PrivatePulse) -> None:
    pulse.kill()
    async with listening() as ear:
        raised = await ear.events.receive()
        assert isinstance(raised, FaultRaised)
        assert raised.fault is Fault.MICROPHONE
        assert "server" in raised.cause
        ear.microphone.begin(1, 300)
        ear.microphone.end(1, 200)
        assert await ear.events.receive() == UtteranceEnded(1, 0)
        await trio.to_thread.run_sync(pulse.start)
        assert await ear.events.receive() == FaultCleared(Fault.MICROPHONE)
        utterance = ear.microphone.begin(2, 0)
        await ear.grown(utterance, 200)


async def test_a_server_killed_in_mid_utterance_ends_it(pulse: PrivatePulse) -> None:
    async with listening() as ear:
        utterance = ear.microphone.begin(1, 0)
        await ear.grown(utterance, 300)
        pulse.kill()
        assert isinstance(await ear.events.receive(), FaultRaised)
        assert utterance.ended
        ear.microphone.end(1, 200)
        assert await ear.events.receive() == UtteranceEnded(1, utterance.duration_ms)
        assert utterance.duration_ms >= 300
        await trio.to_thread.run_sync(pulse.start)
        assert await ear.events.receive() == FaultCleared(Fault.MICROPHONE)


async def test_a_source_that_stalls_is_a_fault_until_it_moves_again(pulse: PrivatePulse) -> None:
    async with listening() as ear:
        utterance = ear.microphone.begin(1, 0)
        await ear.grown(utterance, 100)
        pulse.suspend("mic")
        raised = await ear.events.receive()
        assert isinstance(raised, FaultRaised)
        assert "no sound" in raised.cause
        pulse.suspend("mic", False)
        assert await ear.events.receive() == FaultCleared(Fault.MICROPHONE)


@pytest.mark.usefixtures("pulse")
async def test_alsas_null_device_is_no_microphone() -> None:
    ear = Ear("null")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ear.microphone.run, ear.report)
            utterance = ear.microphone.begin(1, 300)
            raised = await ear.events.receive()
            assert isinstance(raised, FaultRaised)
            assert utterance.size == 0  # what null "captures" is this process's memory
            nursery.cancel_scope.cancel()


async def test_one_channel_of_two_is_heard_unmixed(pulse: PrivatePulse, tmp_path: Path) -> None:
    left, right = speech(2, seed=1), speech(2, seed=2)
    both = np.stack((left, right), axis=1).ravel() / 2
    with wave.open(str(tmp_path / "both.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm_of(both))
    sink = pulse.load_module(
        "module-null-sink", "sink_name=stereo", "rate=48000", "channels=2", "format=s16le", "norewinds=1"
    )
    likeness: dict[int | None, tuple[float, float]] = {}
    for channel in (0, 1, None):
        async with listening(ear=Ear("pulse:stereo.monitor", channel)) as ear:
            utterance = ear.microphone.begin(1, 0)
            await ear.grown(utterance, 100)
            speaking = pulse.speak(tmp_path / "both.wav", "stereo")
            while place(samples_of(utterance.since(0)), left + right)[1] < 0.4:
                await ear.grown(utterance, utterance.duration_ms + 200)
            pulse.hush(speaking)
        heard = samples_of(utterance.since(0))
        likeness[channel] = (place(heard, left)[1], place(heard, right)[1])
    pulse.unload_module(sink)
    assert likeness[0][0] > 0.9 and likeness[0][1] < 0.3
    assert likeness[1][1] > 0.9 and likeness[1][0] < 0.3
    assert min(likeness[None]) > 0.6  # either is half of the mix


async def test_a_muted_microphone_is_a_fault_after_three_presses_until_it_hears(
    pulse: PrivatePulse, tmp_path: Path
) -> None:
    wav = save(tmp_path / "said.wav", speech(6))
    pulse.mute("source", "mic.monitor")
    async with listening() as ear:
        for turn in (1, 2, 3):
            utterance = ear.microphone.begin(turn, 0)
            await ear.grown(utterance, 500)
            ear.microphone.end(turn, 0)
            assert isinstance(await ear.events.receive(), UtteranceEnded)
        raised = await ear.events.receive()
        assert isinstance(raised, FaultRaised)
        assert "hears nothing for 3 presses" in raised.cause
        pulse.mute("source", "mic.monitor", False)
        speaking = pulse.speak(wav)
        assert await ear.events.receive() == FaultCleared(Fault.MICROPHONE)
        pulse.hush(speaking)
