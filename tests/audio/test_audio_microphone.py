"""The microphone with a device that the test feeds: real threads, but no sound card and no passing of time."""

from __future__ import annotations

import os
import select
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from kioskd.audio.arrays import np
from kioskd.audio.errors import DeviceLostError, DeviceMissingError, Direction
from kioskd.audio.hands_free import SilenceWatch
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.ports import MicrophoneEvent
from kioskd.audio.utterance import Utterance
from kioskd.audio.wakeup import Wakeup
from kioskd.config.schema import Audio, Conversation
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, UtteranceEnded

PERIOD = bytes_of(20)
LOST = DeviceLostError("fed", Direction.CAPTURE, "was lost (unplugged)")
MISSING = DeviceMissingError("fed", Direction.CAPTURE, "isn't there")


def ramp(ms: int, start: int = 0) -> bytes:
    """Sound in which no two frames within 2.7 s are alike, of a mean of 0: 1, -1, 2, -2 and so on."""
    half = ms * 12
    levels = [1 + (start * 997 + n) % 32_000 for n in range(half)]
    return struct.pack(f"<{2 * half}h", *(value for level in levels for value in (level, -level)))


class FedDevice:
    """A PCM that gives what the test feeds, and counts how often it was found empty."""

    period_frames = 48  # how long the thread waits when there is nothing: the tests needn't
    buffer_frames = 480

    def __init__(self) -> None:
        self.fed: deque[bytes | Exception | None] = deque()
        self.closed = 0
        self._token = trio.lowlevel.current_trio_token()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._poller = select.poll()
        self._poller.register(self._fd, select.POLLIN)
        self._emptied = trio.Event()

    def feed(self, *items: bytes | Exception | None) -> None:
        for item in items:
            if isinstance(item, bytes):
                self.fed.extend(item[at : at + PERIOD] for at in range(0, len(item), PERIOD))
            else:
                self.fed.append(item)
        os.eventfd_write(self._fd, 1)

    async def drained(self, turns: int = 3) -> None:
        """Wait until the thread found nothing left, so often that whatever it was told before is done."""
        for _ in range(turns):
            self._emptied = trio.Event()
            await self._emptied.wait()

    def watch(self, descriptor: int) -> None:
        self._poller.register(descriptor, select.POLLIN)

    def wait(self, timeout_ms: float) -> bool:
        ready = self._poller.poll(timeout_ms)
        if any(descriptor == self._fd for descriptor, _ in ready):
            os.eventfd_read(self._fd)
        return bool(ready)

    def read(self) -> bytes | None:
        if not self.fed:
            self._token.run_sync_soon(lambda: self._emptied.set())
            return b""
        item = self.fed.popleft()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A microphone with its fed device, its events and a clock that stands until told to go on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.device = FedDevice()
        self.failures: list[Exception] = []
        self.opened = 0
        self.attempts = 0
        self._send, self.events = trio.open_memory_channel[MicrophoneEvent](100)
        self.microphone = AlsaMicrophone(
            Audio(microphone="fed"), 500, 5000, clock=lambda: self.now, open_device=self._open
        )

    def report(self, event: MicrophoneEvent) -> None:
        self._send.send_nowait(event)

    def _open(self, _device: str, _period_frames: int, _buffer_frames: int) -> FedDevice:
        self.attempts += 1
        if self.failures:
            raise self.failures[0]
        self.opened += 1
        self.device.fed.clear()
        return self.device

    async def settled(self) -> None:
        """Everything fed and asked so far has been dealt with."""
        await self.device.drained()

    def nothing_reported(self) -> bool:
        return self.events.statistics().current_buffer_used == 0


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.microphone.run, bench.report)
            if not bench.failures:
                await bench.settled()
            yield bench
            nursery.cancel_scope.cancel()


async def grown(utterance: Utterance, size: int) -> None:
    """Wait until the utterance has reached a size."""
    growth = trio.Event()

    def look() -> None:
        if utterance.size >= size:
            growth.set()

    utterance.subscribe(look)
    look()
    await growth.wait()


async def test_an_utterance_begins_before_the_press_and_ends_after_the_release() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(900))
        await bench.settled()
        utterance = bench.microphone.begin(1, 300)
        await grown(utterance, bytes_of(300))
        assert utterance.since(0) == ramp(900)[-bytes_of(300) :]
        bench.device.feed(ramp(240, start=5))
        await bench.settled()
        bench.microphone.end(1, 110)
        await bench.settled()
        assert not utterance.ended
        bench.device.feed(ramp(400, start=9))
        assert await bench.events.receive() == UtteranceEnded(1, 300 + 240 + 110)
        assert utterance.ended
        assert utterance.since(bytes_of(300)) == ramp(240, start=5) + ramp(110, start=9)


class CountedToken:
    """A trio token that counts what it is handed."""

    def __init__(self) -> None:
        self.calls = 0
        self._token = trio.lowlevel.current_trio_token()

    def run_sync_soon(self, *call: object) -> None:
        self.calls += 1
        self._token.run_sync_soon(*call)  # type: ignore[arg-type]


async def test_the_last_piece_and_the_end_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, token = Bench(), CountedToken()
    monkeypatch.setattr(trio.lowlevel, "current_trio_token", lambda: token)
    async with running(bench):
        utterance = bench.microphone.begin(1, 0)
        await bench.settled()  # else the sound may come before the press
        bench.device.feed(ramp(20))
        await grown(utterance, bytes_of(20))
        bench.microphone.end(1, 60)
        await bench.settled()
        before = token.calls
        bench.device.feed(ramp(90))
        assert await bench.events.receive() == UtteranceEnded(1, 80)
        assert token.calls == before + 1


async def test_the_ring_reaches_no_further_back_than_it_may() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(900))
        utterance = bench.microphone.begin(1, 2000)
        await grown(utterance, 1)
        assert utterance.since(0) == ramp(900)[-bytes_of(500) :]


@pytest.mark.parametrize(("followed", "sizes_ms"), [(False, [20, 260, 500]), (True, [20, 120, 220, 320, 420, 520])])
async def test_chunks_are_one_of_20_ms_and_then_long_ones_or_shorter_where_somebody_listens_along(
    followed: bool, sizes_ms: list[int]
) -> None:
    async with running(Bench()) as bench:
        utterance = bench.microphone.begin(1, 0)
        if followed:
            SilenceWatch(Conversation()).watch(utterance)
        await bench.settled()
        sizes: list[int] = []
        utterance.subscribe(lambda: sizes.append(utterance.size))
        for period in range(27):
            bench.device.feed(ramp(20, start=period))
            await bench.settled()
        assert sizes == [bytes_of(ms) for ms in sizes_ms]
        bench.microphone.end(1, 0)
        assert await bench.events.receive() == UtteranceEnded(1, 540)


async def test_the_post_roll_is_slept_through_but_for_its_last_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    naps, bench = watched_naps(monkeypatch), Bench()
    bench.device.buffer_frames = 48_000
    async with running(bench):
        bench.device.feed(ramp(20))
        await bench.settled()
        bench.microphone.begin(1, 20)
        await bench.settled()
        naps.clear()
        bench.microphone.end(1, 200)
        await bench.settled()
        period_s = bench.device.period_frames / RATE_HZ
        assert max(naps) == pytest.approx(0.2 - 2 * period_s)
        bench.device.feed(ramp(196, start=2))
        await bench.settled()
        naps.clear()
        await bench.settled()
        assert max(naps) <= period_s, "from here on the device itself wakes the thread"
        bench.device.feed(ramp(4, start=3))
        assert await bench.events.receive() == UtteranceEnded(1, 220)


def watched_naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the capture thread meant to sleep each time; it sleeps a moment."""
    naps: list[float] = []
    wait = Wakeup.wait

    def nap(wakeup: Wakeup, timeout_s: float) -> None:
        naps.append(timeout_s)
        wait(wakeup, min(timeout_s, 0.005))

    monkeypatch.setattr(Wakeup, "wait", nap)
    return naps


async def test_without_pre_roll_nothing_from_before_the_press_is_recorded() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(200))
        utterance = bench.microphone.begin(1, 0)
        await bench.settled()
        bench.device.feed(ramp(20, start=77))
        await grown(utterance, 1)
        assert utterance.since(0) == ramp(20, start=77)


async def test_a_negative_pre_roll_leaves_out_the_kiosks_own_last_sound() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(200))
        utterance = bench.microphone.begin(1, -30)
        await bench.settled()
        bench.device.feed(ramp(60, start=77))
        await grown(utterance, 1)
        bench.microphone.end(1, 0)
        assert await bench.events.receive() == UtteranceEnded(1, 30)
        assert utterance.since(0) == ramp(60, start=77)[bytes_of(30) :]


async def test_no_sound_belongs_to_two_utterances() -> None:
    async with running(Bench()) as bench:
        bench.microphone.begin(1, 300)
        await bench.settled()
        bench.device.feed(ramp(400))
        await bench.settled()
        bench.microphone.end(1, 0)
        assert await bench.events.receive() == UtteranceEnded(1, 400)
        bench.device.feed(ramp(60, start=5))
        await bench.settled()
        second = bench.microphone.begin(2, 300)
        await grown(second, 1)
        assert second.since(0) == ramp(60, start=5)


async def test_after_discard_nothing_follows_and_nothing_is_kept() -> None:
    async with running(Bench()) as bench:
        utterance = bench.microphone.begin(1, 300)
        bench.device.feed(ramp(100))
        await bench.settled()
        size = utterance.size
        bench.microphone.discard(1)
        bench.device.feed(ramp(100))
        bench.microphone.end(1, 0)
        await bench.settled()
        assert (utterance.size, utterance.ended) == (size, True)
        assert bench.nothing_reported()


async def test_after_discard_the_pre_roll_begins_anew() -> None:
    async with running(Bench()) as bench:
        bench.microphone.begin(1, 300)
        bench.device.feed(ramp(100))
        await bench.settled()
        bench.microphone.discard(1)
        await bench.settled()
        bench.device.feed(ramp(40, start=5))
        await bench.settled()
        utterance = bench.microphone.begin(2, 300)
        await grown(utterance, 1)
        assert utterance.since(0) == ramp(40, start=5)


async def test_a_new_utterance_drops_the_one_before() -> None:
    async with running(Bench()) as bench:
        first = bench.microphone.begin(1, 0)
        second = bench.microphone.begin(2, 0)
        bench.microphone.end(1, 0)
        await bench.settled()
        bench.device.feed(ramp(100))
        await grown(second, bytes_of(20))
        bench.microphone.end(2, 0)
        assert await bench.events.receive() == UtteranceEnded(2, 100)
        assert (first.size, first.ended) == (0, True)


async def test_a_missing_device_is_a_fault_told_once_until_it_is_back() -> None:
    bench = Bench()
    bench.failures = [MISSING]
    async with running(bench):
        assert await bench.events.receive() == FaultRaised(Fault.MICROPHONE, str(MISSING))
        utterance = bench.microphone.begin(1, 300)
        bench.microphone.end(1, 200)
        assert await bench.events.receive() == UtteranceEnded(1, 0)
        assert utterance.ended
        bench.now += 60
        utterance = bench.microphone.begin(2, 300)
        bench.microphone.end(2, 200)
        assert await bench.events.receive() == UtteranceEnded(2, 0)
        bench.failures.clear()
        bench.now += 60
        await bench.settled()
        assert bench.nothing_reported()  # open is not yet alive
        bench.device.feed(ramp(20))
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)


async def test_a_device_lost_in_mid_utterance_ends_it_with_what_was_said() -> None:
    async with running(Bench()) as bench:
        utterance = bench.microphone.begin(1, 0)
        await bench.settled()
        bench.device.feed(ramp(70))
        await bench.settled()
        bench.device.feed(LOST)
        assert await bench.events.receive() == FaultRaised(Fault.MICROPHONE, str(LOST))
        assert (utterance.since(0), utterance.ended) == (ramp(70), True)
        bench.microphone.end(1, 200)
        assert await bench.events.receive() == UtteranceEnded(1, 70)
        assert bench.device.closed == 1


async def test_a_device_lost_in_the_post_roll_keeps_nobody_waiting() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(20))
        await bench.settled()
        bench.microphone.begin(1, 20)
        await bench.settled()
        bench.microphone.end(1, 200)
        await bench.settled()
        bench.device.feed(LOST)
        assert await bench.events.receive() == UtteranceEnded(1, 20)
        assert isinstance(await bench.events.receive(), FaultRaised)


async def test_a_device_that_stalls_in_the_post_roll_keeps_nobody_waiting() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(20))
        await bench.settled()
        bench.microphone.begin(1, 20)
        bench.microphone.end(1, 200)
        await bench.settled()
        bench.now += 1.0
        assert await bench.events.receive() == UtteranceEnded(1, 20)


async def test_long_naps_make_no_stall_noticed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    naps = watched_naps(monkeypatch)
    bench = Bench()
    bench.device.buffer_frames = 48_000
    async with running(bench):
        bench.device.feed(ramp(20))
        await bench.settled()
        assert naps[-1] == 0.8
        bench.now += 2.9
        await bench.settled()
        assert naps[-1] == pytest.approx(0.1, abs=0.002)
        bench.device.buffer_frames = 4800
        bench.device.feed(ramp(20))
        await bench.settled()
        assert naps[-1] == 0.1  # half of what the device granted


async def test_a_silent_stall_is_a_lost_device() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(20))
        await bench.settled()
        assert bench.microphone.present
        bench.now += 3.5
        raised = await bench.events.receive()
        assert isinstance(raised, FaultRaised)
        assert "no sound" in raised.cause
        assert not bench.microphone.present


async def test_sound_faster_than_real_time_is_refused_unheard() -> None:
    async with running(Bench()) as bench:
        utterance = bench.microphone.begin(1, 0)
        await bench.settled()
        bench.device.feed(ramp(5000))
        raised = await bench.events.receive()
        assert isinstance(raised, FaultRaised)
        assert "faster than real time" in raised.cause
        assert utterance.size == 0


async def test_an_overrun_is_counted_and_no_pre_roll_spans_it() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(100), None, ramp(40, start=5))
        await bench.settled()
        assert bench.microphone.xruns == 1
        utterance = bench.microphone.begin(1, 300)
        await grown(utterance, 1)
        assert utterance.since(0)[-bytes_of(40) :] == ramp(40, start=5)
        assert utterance.size <= bytes_of(40)


async def test_a_standstill_that_ends_in_an_overrun_is_no_lost_device() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(100))
        await bench.settled()
        bench.now += 60.0
        bench.device.feed(None)
        await bench.settled()
        assert bench.microphone.present and bench.microphone.xruns == 1
        assert bench.nothing_reported()


async def test_frames_level_and_heartbeat_tell_how_it_is() -> None:
    async with running(Bench()) as bench:
        assert bench.microphone.level == 0.0
        bench.device.feed(b"\x00\x40\x00\xc0" * 2400)
        bench.now += 1.0
        await bench.settled()
        assert bench.microphone.frames == 4800
        assert bench.microphone.level == pytest.approx(0.5, abs=0.01)
        assert bench.microphone.heartbeat == bench.now


async def test_cancelled_it_closes_its_device_and_starts_again() -> None:
    bench = Bench()
    async with running(bench):
        utterance = bench.microphone.begin(1, 0)
        await bench.settled()
        bench.device.feed(ramp(20))
        await grown(utterance, 1)
    assert bench.device.closed == 1
    async with running(bench):
        bench.microphone.end(1, 0)
        assert await bench.events.receive() == UtteranceEnded(1, 20)
    assert (bench.opened, bench.device.closed) == (2, 2)


async def test_a_mistake_in_the_thread_ends_the_part_with_its_cause() -> None:
    bench = Bench()
    bench.failures = [ValueError("a mistake")]
    with pytest.raises(ValueError, match="a mistake"), trio.fail_after(20):
        await bench.microphone.run(bench.report)


@pytest.mark.parametrize("ask", [lambda m: m.end(9, 100), lambda m: m.discard(9)])
async def test_commands_for_a_turn_it_does_not_know_do_nothing(ask: Callable[[AlsaMicrophone], None]) -> None:
    async with running(Bench()) as bench:
        utterance = bench.microphone.begin(1, 0)
        ask(bench.microphone)
        await bench.settled()
        bench.device.feed(ramp(20))
        await grown(utterance, bytes_of(20))
        assert bench.nothing_reported()


async def test_a_device_that_comes_back_during_the_press_still_hears_the_rest() -> None:
    bench = Bench()
    bench.failures = [MISSING]
    async with running(bench):
        assert isinstance(await bench.events.receive(), FaultRaised)
        utterance = bench.microphone.begin(1, 300)
        for _ in range(2):
            seen = bench.attempts
            bench.now += 60
            while bench.attempts == seen:
                await trio.sleep(0.005)
        bench.failures.clear()
        bench.now += 60
        await bench.settled()
        bench.device.feed(ramp(60))
        await grown(utterance, bytes_of(20))
        bench.microphone.end(1, 0)
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)
        assert await bench.events.receive() == UtteranceEnded(1, 60)


async def test_a_constant_part_is_removed_and_no_frame_moves() -> None:
    async with running(Bench()) as bench:
        biased = np.frombuffer(ramp(60), "<i2") // 4 + 3000
        bench.device.feed(biased.astype("<i2").tobytes())
        utterance = bench.microphone.begin(1, 500)
        await grown(utterance, bytes_of(60))
        heard = np.frombuffer(utterance.since(0), "<i2")
        assert len(heard) == len(biased)
        assert np.abs(heard - (biased - 3000)).max() <= 1


async def press_in(bench: Bench, sound: bytes, turn: int) -> None:
    bench.now += 1.0
    bench.microphone.begin(turn, 0)
    await bench.settled()
    bench.device.feed(sound)
    await bench.settled()
    bench.microphone.end(turn, 0)
    assert await bench.events.receive() == UtteranceEnded(turn, len(sound) // bytes_of(1))


async def test_a_microphone_that_hears_nothing_for_three_presses_is_a_fault_until_it_hears() -> None:
    async with running(Bench()) as bench:
        bench.device.feed(ramp(20, start=30))
        await bench.settled()
        for turn in (1, 2, 3):
            assert bench.nothing_reported()
            await press_in(bench, bytes(bytes_of(400)), turn)
        raised = await bench.events.receive()
        assert isinstance(raised, FaultRaised)
        assert raised.fault is Fault.MICROPHONE
        assert "hears nothing for 3 presses" in raised.cause
        await press_in(bench, bytes(bytes_of(400)), 4)
        await bench.settled()
        assert bench.nothing_reported()
        bench.device.feed(ramp(20, start=30))
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)


async def test_silence_that_is_discarded_or_broken_by_sound_is_no_fault() -> None:
    async with running(Bench()) as bench:
        for turn in range(1, 9):
            bench.now += 1.0
            bench.microphone.begin(turn, 0)
            bench.device.feed(bytes(bytes_of(400)))
            await bench.settled()
            bench.microphone.discard(turn)
            await bench.settled()
        for turn in range(9, 15):
            await press_in(bench, bytes(bytes_of(400)), turn)
            if turn % 2:
                bench.device.feed(ramp(20, start=30))
                await bench.settled()
        assert bench.nothing_reported()


async def test_the_fault_of_a_crash_ends_with_the_first_sound_of_the_next_life() -> None:
    bench = Bench()
    bench.failures = [ValueError("a mistake")]
    with pytest.raises(ValueError, match="a mistake"), trio.fail_after(20):
        await bench.microphone.run(bench.report)
    bench.failures.clear()
    async with running(bench):
        bench.device.feed(ramp(20))
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)


async def test_another_device_is_judged_and_cleaned_anew() -> None:
    async with running(Bench()) as bench:
        for turn in (1, 2):
            await press_in(bench, b"\xe8\x03" * bytes_of(200), turn)  # a constant 1000 is silence too
        bench.device.feed(LOST)
        assert await bench.events.receive() == FaultRaised(Fault.MICROPHONE, str(LOST))
        bench.now += 60
        await bench.settled()
        bench.device.feed(b"\xd0\x07" * 480)
        assert await bench.events.receive() == FaultCleared(Fault.MICROPHONE)
        await press_in(bench, b"\xd0\x07" * bytes_of(200), 3)
        utterance = bench.microphone.begin(4, 0)
        await bench.settled()
        bench.device.feed(b"\xd0\x07" * 480)
        await grown(utterance, 1)
        assert utterance.since(0) == bytes(960)
        bench.microphone.end(4, 0)
        assert await bench.events.receive() == UtteranceEnded(4, 20)
        assert bench.nothing_reported()
