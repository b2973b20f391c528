"""The self-test of a running kiosk: through the threads that hold the card, on a speaker that a microphone hears."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio
from attrs import define, field
from monitor import AUDIBLE, Room, hall, place, recorded, silence_after, speech

from kioskd.audio.arrays import pcm_of, samples_of
from kioskd.audio.latencies import Latencies
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.pcm import RATE_HZ
from kioskd.audio.sound_check import SoundCheck
from kioskd.audio.sound_test import SoundTestError
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.audio.verdict import Verdict, output_latency_ms, with_tail
from kioskd.audio.wav import write_wav
from kioskd.config.schema import Audio
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, SpeakingStarted, SpeakingStopped
from kioskd.dialogue.surroundings import UNMEASURED_TAIL_MS
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

PATIENCE_S = 30
BARGE_INS = 40
AMPLIFIER_MS = 150
DRY_MS = 20  # of silence, until a room without walls is found quiet: windows of 10 ms
HALL_S = 0.6
NEAR_DB = 4.0  # above the room, of the loudest 10 ms: noise by itself is 1 dB above its mean


@pytest.fixture
def noise(pulse: PrivatePulse, tmp_path: Path) -> Iterator[PrivatePulse]:
    """The microphone hears noise of -55 dBFS."""
    hiss = np.random.default_rng(1).standard_normal(60 * RATE_HZ) * 60
    write_wav(tmp_path / "noise.wav", hiss.astype("<i2").tobytes())
    noisy = pulse.speak(tmp_path / "noise.wav")
    yield pulse
    pulse.hush(noisy)
    pulse.mute("sink", "spk", False)
    pulse.mute("source", "mic.monitor", False)


@define(eq=False)
class Running:
    """A microphone and a speaker with their threads, and the self-test that is made through them."""

    room: Room
    microphone: AlsaMicrophone
    check: SoundCheck
    told: list[object] = field(factory=list)


@asynccontextmanager
async def running(microphone: str = PrivatePulse.MICROPHONE, state: Path | None = None) -> AsyncIterator[Running]:
    audio = Audio(microphone=microphone, speaker=PrivatePulse.SPEAKER)
    check: SoundCheck
    speaker = AlsaSpeaker(audio, latency_of=lambda card: check.opened(card, audio.speaker))
    ear = AlsaMicrophone(audio, 500, 60_000)
    check = SoundCheck(audio, ear, speaker, Latencies(state), minute=lambda: 0)
    room = Room(speaker)
    with trio.fail_after(3 * PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speaker.run, room.report)
            nursery.start_soon(ear.run, lambda event: None)
            await room.until(lambda: speaker.present and ear.present)
            yield Running(room, ear, check)
            nursery.cancel_scope.cancel()


async def test_it_finds_both_fine_while_their_threads_go_on_and_keeps_latency_and_tail(
    noise: PrivatePulse, tmp_path: Path
) -> None:
    late = noise.add_echo(AMPLIFIER_MS)
    async with running(state=tmp_path) as it:
        reports = [await it.check.test(it.told.append) for _ in range(3)]
        assert [report.verdict for report in reports] == [Verdict.FINE] * 3, reports
        found = [report.latency_ms or 0 for report in reports]
        print("round trip, ms:", [round(ms, 1) for ms in found], "speaker's:", it.room.speaker.latency_ms)
        assert all(AMPLIFIER_MS - 20 <= ms <= AMPLIFIER_MS + 60 for ms in found)
        assert it.room.speaker.latency_ms == output_latency_ms(found[-1])
        tails = [report.tail_ms or 0 for report in reports]
        print("tail, ms:", [round(ms, 1) for ms in tails])
        assert all(0 <= tail - ms <= DRY_MS for tail, ms in zip(tails, found, strict=True)), (
            "no walls: the latency alone"
        )
        assert it.told == [] and it.room.speaker.xruns == it.microphone.xruns == 0
    async with running(state=tmp_path) as it:
        assert it.room.speaker.latency_ms == pytest.approx(output_latency_ms(found[-1]), abs=3), "known after a restart"
        assert it.check.tail_ms == pytest.approx(tails[-1], abs=3)
    noise.unload_module(late)


async def test_what_reaches_the_endpoint_behind_the_tail_of_a_hall_is_no_louder_than_the_room(
    noise: PrivatePulse, tmp_path: Path
) -> None:
    with hall(noise, HALL_S):
        async with running(state=tmp_path) as it:
            report = await it.check.test(it.told.append)
            print(report)
            assert report.verdict is Verdict.FINE and report.tail_ms is not None and report.latency_ms is not None
            assert 0.3 * HALL_S <= (report.tail_ms - report.latency_ms) / 1000 <= HALL_S
            measured = with_tail(Audio(), it.check.tail_ms).echo_tail_ms
            assert measured is not None
            for turn, (gate_ms, quiet) in enumerate(((measured, True), (UNMEASURED_TAIL_MS, False)), start=1):
                loudest_db = await _loudest_behind(it, turn, gate_ms)
                print(f"a gate of {gate_ms} ms: {loudest_db - report.room_db:.1f} dB above the room")
                assert (loudest_db < report.room_db + NEAR_DB) is quiet


async def _loudest_behind(it: Running, turn: int, gate_ms: int) -> float:
    """What is heard at most after a gate that begins when an answer is broken into; dB, 0 is full scale."""
    it.room.say(turn, pcm_of(speech(2, seed=turn)))
    await it.room.hear(SpeakingStarted(turn))
    await trio.sleep(1.0)
    it.room.speaker.stop(turn)
    utterance = it.microphone.begin(turn, -gate_ms)
    while utterance.duration_ms < 800:
        await trio.sleep(0.02)
    it.microphone.discard(turn)
    windows = samples_of(utterance.since(0))[: RATE_HZ * 8 // 10].reshape(-1, RATE_HZ // 100)
    return float(10 * np.log10(np.mean(windows**2, axis=1).max()))


async def test_a_muted_sink_and_a_muted_source_are_faults_until_a_good_test(noise: PrivatePulse) -> None:
    loopback = noise.add_echo(latency_ms=20)
    async with running() as it:
        noise.mute("sink", "spk")
        assert (await it.check.test(it.told.append)).verdict is Verdict.SPEAKER_DEAD
        noise.mute("sink", "spk", False)
        noise.mute("source", "mic.monitor")
        assert (await it.check.test(it.told.append)).verdict is Verdict.MICROPHONE_DEAF
        noise.mute("source", "mic.monitor", False)
        assert (await it.check.test(it.told.append)).verdict is Verdict.FINE
    noise.unload_module(loopback)
    kinds = [(type(event), event.fault) for event in it.told]
    assert kinds == [
        (FaultRaised, Fault.SPEAKER_DEAD),
        (FaultCleared, Fault.SPEAKER_DEAD),
        (FaultRaised, Fault.MICROPHONE_DEAF),
        (FaultCleared, Fault.MICROPHONE_DEAF),
    ]


async def test_a_press_ends_it_at_once_and_nothing_of_it_is_recorded(noise: PrivatePulse, tmp_path: Path) -> None:
    async with running() as it, recorded(noise, tmp_path) as record:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.check.test, it.told.append)
            await it.room.hear(SpeakingStarted(0))
            it.check.stop()
            utterance = it.microphone.begin(1, 500)
            nursery.cancel_scope.cancel()
        while utterance.size == 0:
            await trio.sleep(0.001)
        assert utterance.duration_ms <= 200, "the pre-roll holds nothing of the test"
        heard = await silence_after(record)
        assert np.count_nonzero(np.abs(heard) > AUDIBLE) < RATE_HZ // 4, "the chirp is cut"
        assert it.told == [] and it.check.last is None


async def test_without_a_sound_server_it_says_so(pulse: PrivatePulse) -> None:
    async with running() as it:
        pulse.kill()
        await it.room.until(lambda: not it.microphone.present)
        with pytest.raises(SoundTestError, match="is not there"):
            await it.check.test(it.told.append)
        pulse.start()


async def test_what_is_taken_off_leaves_the_heard_position_right(pulse: PrivatePulse, tmp_path: Path) -> None:
    """The microphone hears the speaker's monitor itself, and the monitor is the ruler."""
    chance, errors, underruns = random.Random(3), [], 0
    async with running(PrivatePulse.SPEAKER_MONITOR) as it, recorded(pulse, tmp_path) as record:
        report = await it.check.test(it.told.append)
        taken_off = it.room.speaker.latency_ms
        print("round trip, ms:", report.latency_ms, "taken off:", taken_off)
        assert report.verdict is Verdict.FINE, report
        previous_end = len(await silence_after(record))
        for turn in range(1, BARGE_INS + 1):
            answer = speech(1, seed=300 + turn)
            it.room.events.clear()
            it.room.say(turn, pcm_of(answer))
            await it.room.hear(SpeakingStarted(turn))
            await trio.sleep(0.12 + 0.4 * chance.random())
            it.room.speaker.stop(turn)
            stopped = await it.room.hear_any(SpeakingStopped)
            heard = await silence_after(record, previous_end)
            start, match = place(heard[previous_end:], answer[: RATE_HZ // 10])
            assert match > 0.9
            audible = np.nonzero(np.abs(heard[previous_end:]) > AUDIBLE)[0]
            if it.room.speaker.xruns == underruns:  # else a busy machine's gap makes it less exact
                errors.append(stopped.heard_ms - (int(audible[-1]) + 1 - start) * 1000 / RATE_HZ)
            underruns = it.room.speaker.xruns
            previous_end += int(audible[-1]) + 1
    off = sorted(abs(error) for error in errors)
    print("heard off by ms:", [round(error, 1) for error in errors])
    assert len(off) >= BARGE_INS * 0.9
    assert off[-1] <= 25
    assert off[int(len(off) * 0.95) - 1] <= 10
