"""The pulse of the two sound threads: it stops when they do, and for nothing less; and what reopening does."""

from __future__ import annotations

import threading

import pytest
import trio
from test_audio_microphone import LOST, Bench, ramp, running
from test_audio_speaker import Card, Ears, listening, sound

from kioskd.audio.pcm import bytes_of
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config.schema import Audio
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, SpeakingFinished

PATIENCE_S = 20


async def until_closed(device: Bench | Card, times: int = 1) -> None:
    closing = device.device if isinstance(device, Bench) else device
    with trio.fail_after(PATIENCE_S):
        while closing.closed < times:
            await trio.sleep(0.005)


async def test_a_microphone_moves_by_its_sound() -> None:
    async with running(Bench()) as bench:
        bench.now += 2.0
        bench.device.feed(ramp(20))
        await bench.settled()
        assert bench.microphone.pulse.age_s == 0.0
        bench.now += 2.0
        await bench.settled()
        pulse = bench.microphone.pulse
        assert (pulse.age_s, pulse.thread_age_s, pulse.excuse) == (2.0, 0.0, ""), "the thread turns, nothing is heard"


async def test_a_microphone_that_is_absent_moves_by_its_attempts() -> None:
    bench = Bench()
    bench.failures = [LOST]
    async with running(bench):
        assert isinstance(await bench.events.receive(), FaultRaised)
        for _ in range(5):
            attempts = bench.attempts
            bench.now += 1.5
            with trio.fail_after(PATIENCE_S):
                while bench.attempts == attempts:
                    await trio.sleep(0.005)
                while bench.microphone.pulse.age_s > 0:
                    await trio.sleep(0.005)
        bench.now += 20.0  # beyond its back-off


async def test_a_microphone_whose_thread_hangs_shows_it() -> None:
    let_go, entered = threading.Event(), threading.Event()
    async with running(Bench()) as bench:
        bench.device.feed(ramp(20))
        await bench.settled()
        read = bench.device.read

        def hang() -> bytes | None:
            entered.set()
            let_go.wait()
            return read()

        bench.device.read = hang  # type: ignore[method-assign]
        with trio.fail_after(PATIENCE_S):
            await trio.to_thread.run_sync(entered.wait, abandon_on_cancel=True)
        bench.now += 60.0
        assert (bench.microphone.pulse.age_s, bench.microphone.pulse.thread_age_s) == (60.0, 60.0)
        bench.device.read = read  # type: ignore[method-assign]
        let_go.set()
        with trio.fail_after(PATIENCE_S):
            while bench.microphone.pulse.thread_age_s:
                await trio.sleep(0.005)


async def test_a_microphone_that_is_reopened_ends_the_fault_that_was_raised_for_it() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(20))
        await bench.settled()
        bench.microphone.reopen()
        await until_closed(bench)
        with trio.fail_after(PATIENCE_S):
            while bench.opened < 2:
                await trio.sleep(0.005)
        await bench.settled()
        assert bench.nothing_reported()
        bench.device.feed(ramp(20))
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)


async def test_a_deaf_microphone_that_is_reopened_is_found_deaf_anew() -> None:
    async with running(Bench()) as bench:
        for turn in range(1, 7):
            bench.microphone.begin(turn, 0)
            await bench.settled()
            bench.device.feed(bytes(bytes_of(500)))
            await bench.settled()
            bench.microphone.end(turn, 0)
            await bench.settled()
            if turn == 3:
                assert isinstance(await next_fault(bench), FaultRaised)
                bench.microphone.reopen()
                await until_closed(bench)
                with trio.fail_after(PATIENCE_S):
                    while bench.opened < 2:
                        await trio.sleep(0.005)
        assert isinstance(await next_fault(bench), FaultCleared)  # it gives sound, if only zeros
        assert isinstance(await next_fault(bench), FaultRaised)


async def next_fault(bench: Bench) -> FaultRaised | FaultCleared:
    with trio.fail_after(PATIENCE_S):
        while True:
            event = await bench.events.receive()
            if isinstance(event, FaultRaised | FaultCleared):
                return event


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_microphone_whose_thread_ends_without_an_error_is_mended_too() -> None:
    bench = Bench()
    bench.failures = [SystemExit()]  # type: ignore[list-item]  # no Exception, and it ends a thread without a word
    with trio.fail_after(PATIENCE_S):
        await bench.microphone.run(bench.report)
    bench.failures.clear()
    async with running(bench):
        bench.device.feed(ramp(20))
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)


@pytest.mark.parametrize("absent", [False, True])
async def test_a_speaker_moves_while_idle_and_while_its_device_is_missing(absent: bool) -> None:
    card = Card()
    card.absent = absent
    async with listening(card) as ears:
        for _ in range(2):
            before = ears.speaker.heartbeat
            await ears.until(lambda before=before: ears.speaker.heartbeat > before)
            pulse = ears.speaker.pulse
            assert pulse.age_s == pulse.thread_age_s and 0 <= pulse.age_s < PATIENCE_S


async def test_a_speaker_whose_thread_hangs_shows_it_and_is_reopened_once_it_can() -> None:
    card, let_go, entered = Card(), threading.Event(), threading.Event()

    def hang(data: bytes) -> int:
        entered.set()
        let_go.wait()
        return len(data) // 2

    card.write = hang  # type: ignore[method-assign]
    async with listening(card) as ears:
        ears.speaker.play(1, sound(100))
        await ears.until(entered.is_set)
        card.stepped_s += 60
        assert ears.speaker.pulse.thread_age_s is not None and ears.speaker.pulse.thread_age_s >= 60
        ears.speaker.reopen()
        del card.write
        let_go.set()
        await ears.hear(FaultCleared(Fault.SPEAKER))
        assert card.opened == 2
        ears.speaker.play(2, sound(100))
        ears.speaker.finish(2)
        await ears.hear(SpeakingFinished(2, 100))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_speaker_whose_thread_ends_without_an_error_is_mended_too() -> None:
    card = Card()

    def leave(data: bytes) -> int:
        raise SystemExit

    card.write = leave  # type: ignore[method-assign]
    speaker = AlsaSpeaker(Audio(speaker="spk"), clock=card.clock, open_device=card.open)
    speaker.play(1, sound(100))
    with trio.fail_after(PATIENCE_S):
        await speaker.run(lambda event: None)
    del card.write
    ears = Ears(card, speaker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.run, ears.report)
        await ears.hear(FaultCleared(Fault.SPEAKER))
        nursery.cancel_scope.cancel()
