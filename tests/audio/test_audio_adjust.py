"""Sound by other settings while it runs: a louder or softer answer, and another device between two visitors."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing
from attrs import evolve
from test_audio_microphone import Bench, ramp, running
from test_audio_speaker import Card, listening, sound

from kioskd.audio.errors import DeviceMissingError, Direction
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.sign_sounds import SignSounds, recordings
from kioskd.audio.sound_check import SoundCheck
from kioskd.config.schema import Audio, Conversation, Endpoint, SelfTest, Settings, Sounds
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import FaultCleared, FaultRaised, SpeakingFinished, UtteranceEnded


def settings(audio: Audio, **conversation: float) -> Settings:
    return Settings((Endpoint("lobby", "wss://a/", "m"),), conversation=Conversation(**conversation), audio=audio)


class OpenedCard(Card):
    """Plays by the clock, and remembers what it was opened with."""

    def __init__(self) -> None:
        super().__init__()
        self.began = 0.0
        self.openings: list[tuple[str, int, int]] = []
        self.in_the_middle: Callable[[], None] | None = None

    def avail(self) -> int:
        self._check()
        due = int((self.clock() - self.began) * RATE_HZ) * FRAME_BYTES - len(self.played)
        if self.held and due > 0:
            self.played += self.held[:due]
            del self.held[:due]
            if not self.held:
                return -errno.EPIPE
        return self.buffer_frames - len(self.held) // FRAME_BYTES

    def write(self, data: bytes) -> int | None:
        if not self.held:
            self.began = self.clock() - len(self.played) / FRAME_BYTES / RATE_HZ
        taken = super().write(data)
        if self.in_the_middle is not None and self.taken >= bytes_of(200):
            then, self.in_the_middle = self.in_the_middle, None
            then()
        return taken

    def open(self, name: str, period_frames: int, buffer_frames: int) -> Card:
        self.openings.append((name, period_frames, buffer_frames))
        return super().open(name, period_frames, buffer_frames)


def constant(ms: int, value: int = 8000) -> bytes:
    return struct.pack("<h", value) * (ms * 24)


async def test_an_answer_becomes_softer_in_the_middle_and_loses_nothing() -> None:
    card = OpenedCard()
    async with listening(card, mixer="none") as ears:
        softer = settings(Audio(speaker="spk", mixer="none", volume=40))
        card.in_the_middle = lambda: ears.speaker.adjust(softer)
        ears.speaker.play(1, constant(800))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 800))
        played = struct.unpack(f"<{len(card.played) // 2}h", bytes(card.played))[: 800 * 24]
        assert set(played[: 200 * 24]) == {8000} and set(played[-200 * 24 :]) == {1000}
        glide = [value for value in played if value not in (8000, 1000)]
        assert 400 < len(glide) < 200 * 24 and glide == sorted(glide, reverse=True), "it glides, within a block"
        assert len(card.openings) == 1 and card.drops == 0 and ears.speaker.xruns == 0


async def test_another_speaker_is_opened_as_it_is_to_be() -> None:
    card = OpenedCard()
    async with listening(card, buffer_ms=160) as ears:
        await ears.until(lambda: ears.speaker.present)
        ears.speaker.adjust(settings(Audio(speaker="usb", period_frames=240, buffer_ms=100)))
        await ears.until(lambda: len(card.openings) == 2 and ears.speaker.present)
        assert card.openings == [("spk", 480, 3840), ("usb", 240, 2400)] and card.closed == 1
        assert ears.speaker.device == "usb"
        ears.speaker.adjust(settings(Audio(speaker="usb", period_frames=240, buffer_ms=100, volume=10)))
        ears.speaker.play(1, sound(100))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 100))
        assert len(card.openings) == 2 and not [e for e in ears.events if isinstance(e, (FaultRaised, FaultCleared))]


async def test_another_speaker_that_is_missing_is_told_by_its_name_and_the_old_one_ends_that() -> None:
    card = OpenedCard()
    async with listening(card) as ears:
        await ears.until(lambda: ears.speaker.present)
        card.absent = True
        ears.speaker.adjust(settings(Audio(speaker="usb")))
        await ears.until(lambda: bool(ears.events))
        (raised,) = ears.events
        assert isinstance(raised, FaultRaised) and "'usb'" in raised.cause
        ears.speaker.adjust(settings(Audio(speaker="hdmi")))
        await ears.until(lambda: len(ears.events) == 2)
        assert isinstance(ears.events[1], FaultRaised) and "'hdmi'" in ears.events[1].cause
        card.absent = False
        ears.speaker.adjust(settings(Audio(speaker="spk")))
        await ears.until(lambda: len(ears.events) == 3)
        assert isinstance(ears.events[2], FaultCleared)


async def test_another_microphone_is_opened_and_heard() -> None:
    bench = Bench()
    names: list[tuple[str, int]] = []

    def open_device(device: str, period_frames: int, buffer_frames: int) -> object:
        names.append((device, period_frames))
        return bench._open(device, period_frames, buffer_frames)

    bench.microphone._open_device = open_device  # type: ignore[assignment]
    async with running(bench):
        bench.microphone.adjust(settings(Audio(microphone="fed", volume=3), pre_roll_ms=300))
        await bench.settled()
        assert bench.opened == 1, "nothing of it is the microphone's"
        bench.microphone.adjust(settings(Audio(microphone="usb", period_frames=240)))
        while bench.opened < 2:
            await trio.sleep(0.005)
        await bench.settled()
        assert names == [("fed", 480), ("usb", 240)] and bench.device.closed == 1
        utterance = bench.microphone.begin(1, 0)
        await bench.settled()
        bench.device.feed(ramp(400))
        await bench.settled()
        bench.microphone.end(1, 0)
        assert await bench.events.receive() == UtteranceEnded(1, 400)
        assert utterance.size == bytes_of(400)


async def test_another_microphone_that_is_missing_is_told_by_its_name() -> None:
    bench = Bench()
    async with running(bench):
        bench.failures.append(DeviceMissingError("usb", Direction.CAPTURE, "isn't there"))
        bench.microphone.adjust(settings(Audio(microphone="usb")))
        raised = await bench.events.receive()
        assert isinstance(raised, FaultRaised) and "'usb'" in raised.cause
        bench.failures.clear()
        bench.microphone.adjust(settings(Audio(microphone="fed")))
        await bench.settled()
        bench.device.feed(ramp(100))
        assert isinstance(await bench.events.receive(), FaultCleared), "at once, not after the other's back-off"


async def test_a_longer_pre_roll_reaches_back_as_far_as_it_says() -> None:
    bench = Bench()
    async with running(bench):
        bench.microphone.adjust(settings(Audio(microphone="fed"), pre_roll_ms=2000))
        bench.device.feed(ramp(1500))
        await bench.settled()
        utterance = bench.microphone.begin(1, 2000)
        await bench.settled()
        assert bench.opened == 1 and utterance.size == bytes_of(1500)


@pytest.fixture
def fresh_recordings() -> Iterator[None]:
    recordings.cache_clear()
    yield
    recordings.cache_clear()


def test_signs_sound_as_the_new_settings_say(fresh_recordings: None) -> None:
    sounds = SignSounds(Sounds())
    assert sounds.of(Sign.SORRY)
    sounds.adjust(settings(Audio(sounds=Sounds(sorry="none"))))
    assert sounds.of(Sign.SORRY) == b"" and sounds.of(Sign.TOO_SHORT)
    sounds.adjust(settings(Audio()))
    assert sounds.of(Sign.SORRY)


async def test_the_daily_test_is_made_when_the_new_settings_say(autojump_clock: trio.testing.MockClock) -> None:
    audio = Audio(self_test=SelfTest(daily_at="none"))
    asked: list[float] = []

    async def request() -> object:
        asked.append(trio.current_time())
        return None

    check = SoundCheck(audio, None, None, None, minute=lambda: int(trio.current_time() / 60) % 1440)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(check.run, request)
        await trio.sleep(2 * 86_400)
        assert not asked
        check.adjust(evolve(audio, self_test=SelfTest(daily_at="04:00")))
        await trio.sleep(3 * 86_400)
        assert len(asked) == 3
        check.adjust(audio)
        await trio.sleep(3 * 86_400)
        assert len(asked) == 3
        nursery.cancel_scope.cancel()
