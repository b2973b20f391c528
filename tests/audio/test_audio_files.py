"""The stand-ins of the sound card keep real time, on trio's clock alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from kioskd.audio.earcons import earcon
from kioskd.audio.files import WavMicrophone, WavSpeaker
from kioskd.audio.pcm import bytes_of, ms_of
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import SignFinished, SpeakingFinished, SpeakingStarted, SpeakingStopped, UtteranceEnded


def sound(ms: int, start: int = 0) -> bytes:
    return bytes(1 + (start + i) % 250 for i in range(bytes_of(ms)))


class Log:
    """Events with the ms at which they came."""

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.entries: list[tuple[int, object]] = []

    def __call__(self, event: object) -> None:
        self.entries.append((self.ms, event))

    @property
    def ms(self) -> int:
        return round((trio.current_time() - self.began) * 1000)


@asynccontextmanager
async def running(part: WavMicrophone | WavSpeaker) -> AsyncIterator[Log]:
    async with trio.open_nursery() as nursery:
        log = Log()
        nursery.start_soon(part.run, log)
        yield log
        nursery.cancel_scope.cancel()


# -- the microphone


async def test_delivers_the_recording_in_network_chunks_then_silence(autojump_clock: MockClock) -> None:
    microphone, chunks = WavMicrophone(sound(150)), []
    assert microphone.duration_ms == 150
    async with running(microphone) as log:
        utterance = microphone.begin(1, 300)
        utterance.subscribe(lambda: chunks.append((log.ms, ms_of(utterance.size))))
        await trio.sleep(0.33)
        microphone.end(1, 40)
        await trio.sleep(1)
        assert chunks == [(20, 20), (260, 260), (370, 370)]
        assert utterance.since(0) == sound(150) + bytes(bytes_of(220))
        assert log.entries == [(370, UtteranceEnded(1, 370))]
        assert utterance.ended


async def test_tells_when_the_recording_was_spoken_at_each_press(autojump_clock: MockClock) -> None:
    microphone = WavMicrophone(sound(500))
    async with running(microphone) as log:
        for turn in (1, 2):
            began = log.ms
            utterance = microphone.begin(turn, 0)
            await microphone.spoken()
            assert 500 <= log.ms - began <= 600
            assert utterance.since(0)[: bytes_of(500)] == sound(500)
            microphone.end(turn, 0)
            await trio.sleep(0.5)
        assert [event.turn for _, event in log.entries if isinstance(event, UtteranceEnded)] == [1, 2]


async def test_nothing_follows_a_discarded_utterance(autojump_clock: MockClock) -> None:
    microphone = WavMicrophone(sound(500))
    async with running(microphone) as log:
        first = microphone.begin(1, 0)
        await trio.sleep(0.15)
        microphone.discard(1)
        microphone.end(1, 100)
        second = microphone.begin(2, 0)
        await trio.sleep(0.05)
        microphone.end(1, 0)
        third = microphone.begin(3, 0)
        await trio.sleep(0.05)
        microphone.end(3, 0)
        await trio.sleep(1)
        assert first.ended
        assert second.ended
        assert ms_of(third.size) == 50
        assert [event for _, event in log.entries] == [UtteranceEnded(3, 50)]


# -- the speaker


async def test_plays_an_answer_in_real_time(autojump_clock: MockClock) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        for start in range(0, 1000, 100):
            speaker.play(1, sound(100, start))
        speaker.finish(1)
        await trio.sleep(3)
        assert log.entries == [(0, SpeakingStarted(1)), (1000, SpeakingFinished(1, 1000))]
        assert bytes(speaker.pcm) == b"".join(sound(100, start) for start in range(0, 1000, 100))


async def test_a_busy_loop_does_not_slow_the_answer_down(autojump_clock: MockClock) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        speaker.play(1, sound(1000))
        speaker.finish(1)
        for _ in range(15):
            await trio.sleep(0.04)
            autojump_clock.jump(0.013)
        await trio.sleep(1)
        assert 1000 <= log.entries[-1][0] <= 1013


async def test_an_answer_that_comes_slowly_is_played_whole(autojump_clock: MockClock) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        for start in range(5):
            speaker.play(1, sound(33, start))
            await trio.sleep(0.2)
        speaker.finish(1)
        await trio.sleep(1)
        assert log.entries[-1][1] == SpeakingFinished(1, 165)
        assert bytes(speaker.pcm) == b"".join(sound(33, start) for start in range(5))


@pytest.mark.parametrize("heard_ms", [0, 7, 20, 333, 999])
async def test_a_stop_tells_what_was_heard_and_nothing_of_it_follows(autojump_clock: MockClock, heard_ms: int) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        speaker.play(1, sound(1000))
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(heard_ms / 1000)
        speaker.stop(1)
        await trio.sleep(0.1)
        speaker.play(2, sound(40, 5))
        speaker.finish(2)
        await trio.sleep(1)
        assert [event for _, event in log.entries] == [
            SpeakingStarted(1),
            SpeakingStopped(1, heard_ms),
            SpeakingStarted(2),
            SpeakingFinished(2, 40),
        ]
        assert bytes(speaker.pcm) == sound(1000)[: bytes_of(heard_ms)] + sound(40, 5)


async def test_a_stop_of_nothing_is_answered(autojump_clock: MockClock) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        speaker.stop(7)
        await trio.sleep(0.1)
        assert [event for _, event in log.entries] == [SpeakingStopped(7, 0)]


async def test_a_sign_is_played_after_the_answer_and_can_be_cut(autojump_clock: MockClock) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        speaker.play(1, sound(100))
        speaker.finish(1)
        speaker.give_sign(Sign.SORRY)
        await trio.sleep(0.25)
        speaker.cut_sign()
        await trio.sleep(1)
        assert log.entries[1:] == [(100, SpeakingFinished(1, 100)), (250, SignFinished())]
        assert bytes(speaker.pcm) == sound(100) + earcon(Sign.SORRY)[: bytes_of(150)]


async def test_a_sign_that_is_stopped_ends_too(autojump_clock: MockClock) -> None:
    speaker = WavSpeaker()
    async with running(speaker) as log:
        speaker.give_sign(Sign.SORRY)
        await trio.sleep(0.1)
        speaker.stop(3)
        await trio.sleep(1)
        assert {type(event) for _, event in log.entries} == {SignFinished, SpeakingStopped}
        assert len(speaker.pcm) == bytes_of(100)
