"""The speaker through real ALSA calls: what its monitor recorded is the judge, by the positions of samples."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from kioskd.audio.arrays import Floats, np, pcm_of, samples_of
from kioskd.audio.earcons import earcon
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config.schema import Audio
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import (
    FaultCleared,
    FaultRaised,
    SignFinished,
    SpeakingFinished,
    SpeakingStarted,
    SpeakingStopped,
)
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

PATIENCE_S = 30
PIECE = bytes_of(100)
QUIET_FRAMES = RATE_HZ // 5
AUDIBLE = 0.01
BARGE_INS = 20


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


async def test_an_answer_is_heard_whole_in_place_and_without_a_gap(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = speech(12, seed=3)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 12_000))
        heard = await silence_after(record)
        assert room.events == [SpeakingStarted(1), SpeakingFinished(1, 12_000)]
        assert room.speaker.xruns == 0
    window = RATE_HZ // 4
    start, match = place(heard, answer[:window])
    assert match > 0.9
    for at in range(0, len(answer) - window, window):
        around = heard[max(0, start + at - 480) : start + at + window + 480]
        offset, match = place(around, answer[at : at + window])
        assert match > 0.9, f"at {at / RATE_HZ} s"
        assert abs(offset - min(480, start + at)) <= RATE_HZ // 500, f"at {at / RATE_HZ} s"
    assert np.abs(heard[start + len(answer) + 480 :]).max() < AUDIBLE


async def test_an_answer_in_bursts_with_network_jitter_has_no_gap(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer, chance = speech(5, seed=4), random.Random(5)
    pcm = pcm_of(answer)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        for start in range(0, len(pcm), PIECE * 2):
            room.speaker.play(1, pcm[start : start + PIECE * 2])
            await trio.sleep(0.04 + 0.15 * chance.random())
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 5000))
        heard = await silence_after(record)
        assert room.speaker.xruns == 0
    assert place(heard, answer)[1] > 0.9


async def test_barge_ins_tell_what_was_heard(pulse: PrivatePulse, tmp_path: Path, record_property: Callable) -> None:
    chance, errors, previous_end = random.Random(11), [], 0
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        for turn in range(1, BARGE_INS + 1):
            answer = speech(3, seed=100 + turn)
            room.say(turn, pcm_of(answer))
            await room.hear(SpeakingStarted(turn))
            await trio.sleep(0.15 + chance.random())
            room.speaker.stop(turn)
            await room.until(lambda: any(isinstance(event, SpeakingStopped) for event in room.events))
            stopped = next(event for event in room.events if isinstance(event, SpeakingStopped))
            room.events.clear()
            assert stopped.turn == turn
            heard = await silence_after(record, previous_end)
            start, match = place(heard[previous_end:], answer[: RATE_HZ // 10])
            assert match > 0.9
            between = np.abs(heard[previous_end : previous_end + max(0, start - 48)])
            assert between.max(initial=0) < AUDIBLE
            audible = np.nonzero(np.abs(heard[previous_end:]) > AUDIBLE)[0]
            true_ms = (int(audible[-1]) + 1 - start) * 1000 / RATE_HZ
            errors.append(stopped.heard_ms - true_ms)
            previous_end += int(audible[-1]) + 1
    off = sorted(abs(error) for error in errors)
    record_property("heard_ms_off", errors)
    print("heard off by ms:", [round(error, 1) for error in errors])
    assert off[-1] <= 25
    assert off[int(BARGE_INS * 0.95) - 1] <= 10


async def test_nothing_of_a_cut_answer_follows_before_the_next(pulse: PrivatePulse, tmp_path: Path) -> None:
    old, new = speech(3, seed=21), speech(1, seed=22)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.say(1, pcm_of(old))
        await room.hear(SpeakingStarted(1))
        await trio.sleep(0.4)
        room.speaker.stop(1)
        room.say(2, pcm_of(new))
        room.speaker.finish(2)
        await room.hear(SpeakingFinished(2, 1000))
        heard = await silence_after(record)
    match = place(heard, new)[1]
    assert match > 0.9
    stopped = next(event for event in room.events if isinstance(event, SpeakingStopped))
    later = old[(stopped.heard_ms + 25) * RATE_HZ // 1000 :][: RATE_HZ // 5]
    assert place(heard, later)[1] < 0.3


async def test_a_sign_is_heard_and_the_answer_after_it(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = speech(1, seed=31)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.speaker.give_sign(Sign.SORRY)
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 1000))
        heard = await silence_after(record)
        assert room.events[0] != SpeakingFinished(1, 1000)
        assert SignFinished() in room.events
    sign = samples_of(earcon(Sign.SORRY))
    sign_at, sign_match = place(heard, sign)
    answer_at, answer_match = place(heard, answer)
    assert min(sign_match, answer_match) > 0.9
    assert abs(answer_at - (sign_at + len(sign))) <= RATE_HZ // 50  # the rest of a period at most


async def test_a_sign_cut_in_the_middle_leaves_the_answer_behind_it_whole(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = speech(1, seed=41)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.speaker.give_sign(Sign.TOO_SHORT)
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingStarted(1))  # in the device's buffer, behind the rest of the sign
        room.speaker.cut_sign()
        await room.hear(SpeakingFinished(1, 1000))
        heard = await silence_after(record)
    assert place(heard, answer)[1] > 0.9
    assert room.events.count(SignFinished()) == 1


async def test_a_server_that_dies_in_mid_answer_ends_it_and_is_found_again(pulse: PrivatePulse) -> None:
    async with speaking() as room:
        room.say(1, pcm_of(speech(5, seed=51)))
        room.speaker.give_sign(Sign.SORRY)
        await room.hear(SpeakingStarted(1))
        await trio.sleep(0.3)
        pulse.kill()
        await room.hear_any(FaultRaised)
        stopped = await room.hear_any(SpeakingStopped)
        assert 100 <= stopped.heard_ms < 5000
        await room.hear(SignFinished())
        room.say(2, bytes(PIECE))
        room.speaker.finish(2)
        await room.hear(SpeakingFinished(2, 0))
        pulse.start()
        await room.hear_any(FaultCleared)
        room.say(3, pcm_of(speech(0.5, seed=52)))
        room.speaker.finish(3)
        await room.hear(SpeakingFinished(3, 500))
        assert sum(isinstance(event, FaultRaised) for event in room.events) == 1


async def test_a_speaker_that_is_missing_at_the_start_is_found_when_it_appears(pulse: PrivatePulse) -> None:
    pulse.stop()
    async with speaking() as room:
        raised = await room.hear_any(FaultRaised)
        assert "'spk'" in raised.cause
        assert "\n" not in raised.cause
        room.speaker.give_sign(Sign.OUT_OF_ORDER)
        await room.hear(SignFinished())
        pulse.start()
        await room.hear_any(FaultCleared)
        room.speaker.give_sign(Sign.OUT_OF_ORDER)
        await room.until(lambda: room.events.count(SignFinished()) == 2)


async def test_a_stalled_card_does_not_hold_up_a_barge_in(pulse: PrivatePulse) -> None:
    async with speaking() as room:
        room.say(1, pcm_of(speech(5, seed=61)))
        await room.hear(SpeakingStarted(1))
        await trio.sleep(0.3)
        pulse.suspend("spk")
        await trio.sleep(0.3)
        room.speaker.stop(1)
        stopped = await room.hear_any(SpeakingStopped)
        assert stopped.heard_ms < 1000
        pulse.suspend("spk", False)
        room.say(2, pcm_of(speech(0.5, seed=62)))
        room.speaker.finish(2)
        await room.hear(SpeakingFinished(2, 500))
