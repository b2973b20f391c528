"""A running speaker, and what its monitor hears of it. Imported by the tests beside it."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from kioskd.audio.arrays import Floats, np, samples_of
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config.schema import Audio
from kioskd.simulator.pulse import PrivatePulse

PATIENCE_S = 30
PIECE = bytes_of(100)
QUIET_FRAMES = RATE_HZ // 5
AUDIBLE = 0.01


def speech(seconds: float, seed: int) -> Floats:
    """Noise in the band of speech at a steady loudness: no two windows are alike, and resampling spares it."""
    frames = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(frames))
    pitch = np.fft.rfftfreq(frames, 1 / RATE_HZ)
    spectrum[(pitch < 200) | (pitch > 4000)] = 0
    sound = np.fft.irfft(spectrum, frames)
    return np.asarray(sound / np.abs(sound).max() * 0.8, dtype=np.float64)


def place(record: Floats, piece: Floats) -> tuple[int, float]:
    """Where `piece` begins in `record`, in frames, and the normalised correlation there."""
    size = 1 << (len(record) + len(piece)).bit_length()
    product = np.fft.irfft(np.fft.rfft(record, size) * np.conj(np.fft.rfft(piece, size)), size)
    at = int(np.argmax(product[: max(1, len(record) - len(piece) + 1)]))
    window = record[at : at + len(piece)]
    norm = float(np.linalg.norm(window) * np.linalg.norm(piece))
    return at, float(product[at]) / norm if norm else 0.0


class Room:
    """A running speaker, what it reported, and what its monitor recorded."""

    def __init__(self, speaker: AlsaSpeaker) -> None:
        self.speaker = speaker
        self.events: list[SpeakerEvent] = []
        self._news = trio.Event()

    def report(self, event: SpeakerEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, arrived: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not arrived():
                self._news = trio.Event()
                with trio.move_on_after(0.02):
                    await self._news.wait()

    async def hear(self, event: SpeakerEvent) -> None:
        await self.until(lambda: event in self.events)

    async def hear_any(self, kind: type[SpeakerEvent]) -> SpeakerEvent:
        await self.until(lambda: any(isinstance(event, kind) for event in self.events))
        return next(event for event in self.events if isinstance(event, kind))

    def say(self, turn: int, pcm: bytes) -> None:
        """All of it at once, in the pieces of a network: faster than real time."""
        for start in range(0, len(pcm), PIECE):
            self.speaker.play(turn, pcm[start : start + PIECE])


@asynccontextmanager
async def speaking() -> AsyncIterator[Room]:
    room = Room(AlsaSpeaker(Audio(speaker=PrivatePulse.SPEAKER)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.speaker.run, room.report)
        yield room
        nursery.cancel_scope.cancel()


@contextmanager
def hall(pulse: PrivatePulse, decay_s: float) -> Iterator[None]:
    """While inside, the microphone hears the speaker in a hall that gets 60 dB quieter in `decay_s`."""
    at = np.arange(round(1.2 * decay_s * RATE_HZ))
    walls = np.random.default_rng(2).standard_normal(len(at)) * 10 ** (-3 * at / RATE_HZ / decay_s)
    response = 0.2 * walls / np.linalg.norm(walls)
    response[0] += 0.5
    format_ = ["--format=s16le", f"--rate={RATE_HZ}", "--channels=1", "--raw"]
    parec = pulse_client(
        pulse, ["parec", "--device=spk.monitor", "--latency-msec=10", *format_], stdout=subprocess.PIPE
    )
    pacat = pulse_client(pulse, ["pacat", "--device=mic", "--latency-msec=60", *format_], stdin=subprocess.PIPE)

    def sound() -> None:
        """Overlap-add, 20 ms at a time."""
        block, overlap = RATE_HZ // 50, np.zeros(len(response))
        size = 1 << (block + len(response)).bit_length()
        spectrum = np.fft.rfft(response, size)
        assert parec.stdout is not None and pacat.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            while heard := parec.stdout.read(2 * block):
                dry = np.frombuffer(heard, "<i2").astype(np.float64)
                wet = np.fft.irfft(np.fft.rfft(dry, size) * spectrum, size)[: len(dry) + len(response)]
                wet[: len(overlap)] += overlap
                overlap = wet[len(dry) :]
                pacat.stdin.write(np.clip(np.rint(wet[: len(dry)]), -32768, 32767).astype("<i2").tobytes())
                pacat.stdin.flush()

    thread = threading.Thread(target=sound, daemon=True)
    thread.start()
    try:
        yield
    finally:
        for client in (parec, pacat):
            client.terminate()
            client.wait()
        thread.join(PATIENCE_S)


def pulse_client(pulse: PrivatePulse, command: list[str], **pipes: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env={**os.environ, **pulse.environment}, **pipes)  # type: ignore[call-overload]


@asynccontextmanager
async def recorded(pulse: PrivatePulse, tmp_path: Path) -> AsyncIterator[Callable[[], Floats]]:
    """While inside, the speaker's monitor is recorded; the value reads what there is of it."""
    raw = tmp_path / "monitor.raw"
    # a null sink renders in blocks of what its monitor asks for: they are the ruler's marks
    command = ["parec", "--device=spk.monitor", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1", "--raw"]
    with raw.open("wb") as sink:
        parec = subprocess.Popen([*command, "--latency-msec=5"], stdout=sink, env={**os.environ, **pulse.environment})

    def record() -> Floats:
        heard = raw.read_bytes()
        return samples_of(heard[: len(heard) // 2 * 2])

    with trio.fail_after(PATIENCE_S):
        while raw.stat().st_size == 0:
            await trio.sleep(0.01)
    try:
        yield record
    finally:
        parec.terminate()
        parec.wait()


async def silence_after(record: Callable[[], Floats], sounded: int = 0) -> Floats:
    """Wait until the record ends in silence, beyond frame `sounded`."""
    with trio.fail_after(PATIENCE_S):
        while True:
            heard = record()
            if len(heard) > sounded + QUIET_FRAMES and np.abs(heard[-QUIET_FRAMES:]).max() < AUDIBLE:
                return heard
            await trio.sleep(0.05)
