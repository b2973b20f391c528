"""The speaker's thread in front of a sound card of which every frame is known."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
import trio

from kioskd.audio import speaker as speaker_module
from kioskd.audio.earcons import earcon
from kioskd.audio.errors import DeviceLostError, DeviceMissingError, Direction
from kioskd.audio.fade import fade_in, fade_out
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of, ms_of
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.audio.volume import scaled
from kioskd.config.schema import Audio
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import (
    Fault,
    FaultCleared,
    FaultRaised,
    SignFinished,
    SpeakingFinished,
    SpeakingStarted,
    SpeakingStopped,
)

STEP_FRAMES = RATE_HZ // 100
PATIENCE_S = 10


def sound(ms: int, start: int = 0) -> bytes:
    return bytes(1 + (start + i) % 250 for i in range(bytes_of(ms)))


def faded(pcm: bytes, rises: Iterable[int] = (), falls: Iterable[int] = ()) -> bytes:
    """`pcm` as it is heard if gaps end at the bytes `rises`, and begin at the bytes `falls`."""
    shaped = bytearray(pcm)
    for begin in rises:
        fade_in(shaped, begin)
    for end in falls:
        fade_out(shaped, end)
    return bytes(shaped)


class Card:
    """Plays 10 ms each time it is asked for its room, so that time is what the test makes of it."""

    period_frames = 480
    buffer_frames = 3840
    card = None

    def __init__(self) -> None:
        self.held = bytearray()
        self.played = bytearray()
        self.stepped_s = 0.0
        self.frozen = False
        self.broken = False
        self.absent = False
        self.underruns_to_come = 0
        self.underruns: list[int] = []
        self.left_at_writes: list[int] = []
        self.opened = 0
        self.closed = 0
        self.drops = 0
        self.taken = 0

    def clock(self) -> float:
        return time.monotonic() + self.stepped_s

    def open(self, name: str, period_frames: int, buffer_frames: int) -> Card:
        if self.absent:
            raise DeviceMissingError(name, Direction.PLAYBACK, "isn't there")
        self.opened += 1
        self.broken = False
        self.held.clear()
        return self

    def avail(self) -> int:
        self._check()
        if self.frozen:
            self.stepped_s += 1
        elif self.held:
            self.stepped_s += STEP_FRAMES / RATE_HZ
            self.played += self.held[: STEP_FRAMES * FRAME_BYTES]
            del self.held[: STEP_FRAMES * FRAME_BYTES]
            if not self.held:
                return -errno.EPIPE
        return self.buffer_frames - len(self.held) // FRAME_BYTES

    def write(self, data: bytes) -> int | None:
        self._check()
        if self.underruns_to_come and self.held:
            self.underruns_to_come -= 1
            self.played += self.held
            self.held.clear()
            self.underruns.append(len(self.played))
            return None
        assert len(data) % (self.period_frames * FRAME_BYTES) == 0
        self.left_at_writes.append(len(self.held))
        self.held += data
        self.taken += len(data)
        return len(data) // FRAME_BYTES

    def drop(self) -> None:
        self._check()
        self.drops += 1
        self.held.clear()

    def close(self) -> None:
        self.closed += 1

    def _check(self) -> None:
        if self.broken:
            raise DeviceLostError("spk", Direction.PLAYBACK, "was lost (No such device)")


class Ears:
    """A speaker under test, and what it reported."""

    def __init__(self, card: Card, speaker: AlsaSpeaker) -> None:
        self.card = card
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
                with trio.move_on_after(0.01):
                    await self._news.wait()

    async def hear(self, *expected: SpeakerEvent) -> None:
        await self.until(lambda: all(event in self.events for event in expected))


@asynccontextmanager
async def listening(card: Card | None = None, **settings: object) -> AsyncIterator[Ears]:
    card = card or Card()
    speaker = AlsaSpeaker(Audio(speaker="spk", **settings), clock=card.clock, open_device=card.open)
    ears = Ears(card, speaker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.run, ears.report)
        yield ears
        nursery.cancel_scope.cancel()
    assert card.closed >= card.opened
    assert all(thread.name != "speaker" for thread in threading.enumerate())


async def test_an_answer_is_played_whole_and_then_finished() -> None:
    async with listening() as ears:
        for start in range(0, 300, 30):
            ears.speaker.play(1, sound(30, start))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 300))
        assert ears.events == [SpeakingStarted(1), SpeakingFinished(1, 300)]
        expected = b"".join(sound(30, start) for start in range(0, 300, 30))
        assert bytes(ears.card.played[: len(expected)]) == expected
        assert not any(ears.card.played[len(expected) :])
        assert ears.card.taken >= len(expected) + bytes_of(20)  # silence, lest the card repeat what is stale
        assert ears.speaker.xruns == 0


class PunctualCard(Card):
    """Plays by the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.began = 0.0
        self.asked = 0

    def avail(self) -> int:
        self._check()
        self.asked += 1
        due = int((self.clock() - self.began) * RATE_HZ) * FRAME_BYTES - len(self.played)
        if self.held:
            self.played += self.held[:due]
            del self.held[:due]
            if not self.held:
                return -errno.EPIPE
        return self.buffer_frames - len(self.held) // FRAME_BYTES

    def write(self, data: bytes) -> int | None:
        if not self.held:
            self.began = self.clock() - len(self.played) / FRAME_BYTES / RATE_HZ
        return super().write(data)


class ReluctantCard(Card):
    """Takes less than it is given."""

    def write(self, data: bytes) -> int | None:
        return super().write(data[: self.period_frames * FRAME_BYTES])


async def test_what_a_card_does_not_take_is_handed_over_again() -> None:
    async with listening(ReluctantCard()) as ears:
        ears.speaker.play(1, sound(500))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 500))
        assert bytes(ears.card.played[: bytes_of(500)]) == sound(500)


async def test_an_answer_begins_when_the_pre_buffer_is_full() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(20))
        ears.speaker.give_sign(Sign.SORRY)
        ears.speaker.stop(0)  # by its answer, the thread has seen what came before
        await ears.hear(SpeakingStopped(0, 0))
        assert ears.card.played == b""
        ears.speaker.play(2, sound(150))
        ears.speaker.play(2, sound(150))
        await ears.hear(SpeakingStarted(2))


async def test_an_answer_begins_without_more_of_it_when_it_has_waited_long_enough() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(70))
        await ears.hear(SpeakingStarted(1))


@pytest.mark.parametrize("cut", [False, True])
async def test_what_comes_late_is_learned_from_be_it_heard_to_its_end_or_not(cut: bool) -> None:
    async with listening() as ears:
        for turn in (1, 2):
            ears.speaker.play(turn, sound(100))
            ears.card.stepped_s += 0.2
            ears.speaker.play(turn, sound(100))
            if cut:
                ears.speaker.stop(turn)
                await ears.until(lambda: any(isinstance(event, SpeakingStopped) for event in ears.events))
            else:
                ears.speaker.finish(turn)
                await ears.hear(SpeakingFinished(turn, 200))
        assert ears.speaker.pre_buffer_ms > 100


async def test_a_tail_shorter_than_a_period_is_heard_even_if_its_end_comes_late() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(107))
        await ears.until(lambda: len(ears.card.played) >= bytes_of(107) and not ears.card.held)
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 107))
        assert bytes(ears.card.played[: bytes_of(107)]) == faded(sound(107), falls=[bytes_of(107)])
        assert not any(ears.card.played[bytes_of(107) :])


async def test_the_end_may_come_long_after_the_last_frame_was_heard() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(100))
        await ears.until(lambda: len(ears.card.played) > bytes_of(100) and ears.card.drops > 0)
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 100))
        assert ears.speaker.xruns == 0


async def test_a_late_piece_makes_a_gap_that_is_faded_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kioskd.audio.ledger")
    async with listening() as ears:
        for gap in (1, 2, 3):
            ears.speaker.play(1, sound(100, gap))
            await ears.until(lambda gap=gap: len(ears.card.played) == bytes_of(120 * gap) and not ears.card.held)
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 300))
        assert ears.speaker.xruns == 2
        first, *others = (sound(100, gap) for gap in (1, 2, 3))
        expected = [faded(first, falls=[len(first)]), *(faded(pcm, [0], [len(pcm)]) for pcm in others)]
        silence = bytes(bytes_of(20))
        assert bytes(ears.card.played) == b"".join(pcm + silence for pcm in expected)
        ears.speaker.play(2, sound(100))
        ears.speaker.finish(2)
        await ears.hear(SpeakingFinished(2, 100))
    told = [record.levelname for record in caplog.records if record.name == "kioskd.audio.ledger"]
    assert told == ["WARNING", "DEBUG", "INFO"]


async def test_what_comes_while_the_tail_still_plays_fades_in_behind_it() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(110))
        await ears.until(lambda: ears.card.taken >= bytes_of(120))  # the tail, and the silence up to the period's end
        assert all(ears.card.left_at_writes[1:]), "the card ran dry before the tail came"
        ears.speaker.play(1, rest := sound(100, 5))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 210))
        played = bytes(ears.card.played.rstrip(b"\0"))
        assert played.endswith(faded(rest, rises=[0]))
        assert played.startswith(faded(sound(110), falls=[bytes_of(110)]))


async def test_what_an_underrun_refused_is_written_again() -> None:
    card = Card()
    async with listening(card) as ears:
        card.underruns_to_come = 2
        ears.speaker.play(1, sound(400))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 400))
        assert bytes(card.played[: bytes_of(400)]) == faded(sound(400), rises=card.underruns)
        assert ears.speaker.xruns == len(card.underruns)


async def test_a_stop_is_silence_at_once_and_tells_what_was_heard() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(5000))
        await ears.until(lambda: len(ears.card.played) >= bytes_of(200))
        drops = ears.card.drops
        ears.speaker.stop(1)
        played = len(ears.card.played)
        assert not ears.card.held
        await ears.until(lambda: any(isinstance(event, SpeakingStopped) for event in ears.events))
        (stopped,) = (event for event in ears.events if isinstance(event, SpeakingStopped))
        assert ms_of(played) <= stopped.heard_ms <= ms_of(played) + 20
        await ears.until(lambda: ears.card.drops == drops + 2)
        ears.speaker.play(2, sound(100, 9))
        ears.speaker.finish(2)
        await ears.hear(SpeakingFinished(2, 100))
        assert bytes(ears.card.played[played:].rstrip(b"\0")) == sound(100, 9)


async def test_heard_is_never_more_than_the_answer_was_long() -> None:
    async with listening() as ears:
        ears.speaker.give_sign(Sign.LIMIT_REACHED)
        ears.speaker.play(1, sound(90))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 90))
        ears.speaker.stop(1)
        await ears.hear(SpeakingStopped(1, 90))


async def test_a_stop_says_nothing_more_of_answers_that_are_over() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(100))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 100))
        ears.speaker.stop(2)
        await ears.hear(SpeakingStopped(2, 0))
        assert ears.events == [SpeakingStarted(1), SpeakingFinished(1, 100), SpeakingStopped(2, 0)]


async def test_a_sign_comes_in_its_turn_and_counts_for_no_answer() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(100))
        ears.speaker.finish(1)
        ears.speaker.give_sign(Sign.TOO_SHORT)
        await ears.hear(SignFinished())
        assert ears.events == [SpeakingStarted(1), SpeakingFinished(1, 100), SignFinished()]
        assert bytes(ears.card.played.rstrip(b"\0")) == (sound(100) + earcon(Sign.TOO_SHORT)).rstrip(b"\0")


async def test_a_cut_sign_ends_at_once_and_the_answer_behind_it_is_whole() -> None:
    async with listening() as ears:
        ears.speaker.give_sign(Sign.TOO_SHORT)
        ears.speaker.play(1, sound(300))
        ears.speaker.finish(1)
        length = len(earcon(Sign.TOO_SHORT))
        await ears.until(lambda: len(ears.card.played) >= length - bytes_of(100))
        ears.speaker.cut_sign()
        await ears.hear(SpeakingFinished(1, 300), SignFinished())
        assert bytes(ears.card.played.rstrip(b"\0")).endswith(sound(300))
        assert ears.events.count(SignFinished()) == 1


async def test_signs_and_answers_are_heard_at_the_same_volume() -> None:
    async with listening(volume=40) as ears:
        ears.speaker.give_sign(Sign.TOO_SHORT)
        ears.speaker.play(1, sound(100))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 100))
        expected = scaled(earcon(Sign.TOO_SHORT), 1 / 8, 1 / 8) + scaled(sound(100), 1 / 8, 1 / 8)
        assert bytes(ears.card.played[: len(expected)]) == expected


async def test_a_sign_without_a_sound_of_its_own_ends_at_once_and_in_its_turn() -> None:
    card = Card()
    speaker = AlsaSpeaker(Audio(speaker="spk"), card.clock, card.open, sound_of=lambda sign: b"")
    ears = Ears(card, speaker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.run, ears.report)
        speaker.play(1, sound(100))
        speaker.finish(1)
        speaker.give_sign(Sign.SORRY)
        await ears.hear(SignFinished())
        speaker.give_sign(Sign.SORRY)
        await ears.until(lambda: ears.events.count(SignFinished()) == 2)
        nursery.cancel_scope.cancel()
    assert ears.events == [SpeakingStarted(1), SpeakingFinished(1, 100), SignFinished(), SignFinished()]


async def test_without_sounds_a_sign_ends_at_once() -> None:
    async with listening(signs=False) as ears:
        ears.speaker.give_sign(Sign.SORRY)
        await ears.hear(SignFinished())
        assert ears.card.played == b""


async def test_a_stop_ends_every_sound_that_waits() -> None:
    async with listening() as ears:
        ears.speaker.play(1, sound(1000))
        ears.speaker.give_sign(Sign.SORRY)
        ears.speaker.stop(1)
        ears.speaker.cut_sign()
        await ears.hear(SpeakingStopped(1, 0), SignFinished())
        assert ears.events.count(SignFinished()) == 1


async def test_a_device_that_is_lost_in_mid_answer_is_told_and_comes_back() -> None:
    card = Card()
    async with listening(card) as ears:
        ears.speaker.play(1, sound(5000))
        ears.speaker.give_sign(Sign.SORRY)
        await ears.until(lambda: len(card.played) >= bytes_of(100))
        card.absent = card.broken = True
        await ears.until(lambda: {SpeakingStopped, SignFinished} <= {type(event) for event in ears.events})
        started, raised, *rest = ears.events
        assert started == SpeakingStarted(1)
        assert isinstance(raised, FaultRaised)
        assert raised.fault is Fault.SPEAKER
        assert "spk" in raised.cause
        heard_ms = next(event.heard_ms for event in rest if isinstance(event, SpeakingStopped))
        assert 0 < heard_ms <= ms_of(len(card.played)) + 20
        ears.speaker.play(1, sound(100))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, heard_ms))
        before = len(card.played)
        card.absent = False
        await ears.hear(FaultCleared(Fault.SPEAKER))
        ears.speaker.play(2, sound(100, 7))
        ears.speaker.finish(2)
        await ears.hear(SpeakingFinished(2, 100))
        assert bytes(card.played[before:].rstrip(b"\0")) == sound(100, 7)
        assert sum(isinstance(event, FaultRaised) for event in ears.events) == 1


async def test_while_the_device_is_missing_everything_still_ends() -> None:
    card = Card()
    card.absent = True
    async with listening(card) as ears:
        await ears.until(lambda: any(isinstance(event, FaultRaised) for event in ears.events))
        ears.speaker.play(1, sound(1000))
        ears.speaker.finish(1)
        ears.speaker.give_sign(Sign.SORRY)
        ears.speaker.play(2, sound(1000))
        ears.speaker.stop(2)
        await ears.hear(SpeakingFinished(1, 0), SignFinished(), SpeakingStopped(2, 0))


async def test_an_idle_device_that_goes_is_noticed() -> None:
    card = Card()
    async with listening(card) as ears:
        await ears.until(lambda: card.opened == 1)
        card.absent = card.broken = True
        await ears.until(lambda: any(isinstance(event, FaultRaised) for event in ears.events))
        assert not ears.speaker.present


async def test_a_device_that_takes_no_sound_is_reopened() -> None:
    card = Card()
    async with listening(card) as ears:
        ears.speaker.play(1, sound(1000))
        await ears.hear(SpeakingStarted(1))
        card.frozen = True
        await ears.until(lambda: card.opened == 2)
        assert any(isinstance(event, SpeakingStopped) for event in ears.events)


async def test_a_device_that_never_takes_the_first_frame_is_reopened(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card()
    card.frozen = True
    monkeypatch.setattr(card, "write", lambda data: 0)
    async with listening(card) as ears:
        ears.speaker.play(1, sound(1000))
        await ears.until(lambda: card.opened == 2)
        assert any(isinstance(event, FaultRaised) for event in ears.events)


async def test_the_heart_beats_while_idle_and_while_the_device_is_missing() -> None:
    for absent in (False, True):
        card = Card()
        card.absent = absent
        async with listening(card) as ears:
            for _ in range(2):
                before = ears.speaker.heartbeat
                await ears.until(lambda before=before: ears.speaker.heartbeat > before)


async def test_an_endless_answer_is_bounded_and_loses_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_module, "MAX_ANSWER_MS", 200)
    async with listening() as ears:
        for start in range(0, 400, 50):
            ears.speaker.play(1, sound(50, start))
        ears.speaker.finish(1)
        await ears.hear(SpeakingFinished(1, 200))
        assert bytes(ears.card.played.rstrip(b"\0")) == b"".join(sound(50, start) for start in range(0, 200, 50))


async def test_what_is_given_before_it_runs_is_played_and_told() -> None:
    card = Card()
    speaker = AlsaSpeaker(Audio(speaker="spk"), clock=card.clock, open_device=card.open)
    speaker.stop(1)
    speaker.play(2, sound(100))
    speaker.finish(2)
    ears = Ears(card, speaker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.run, ears.report)
        await ears.hear(SpeakingStopped(1, 0), SpeakingFinished(2, 100))
        nursery.cancel_scope.cancel()


async def test_a_thread_that_dies_is_not_silent() -> None:
    card = Card()
    card.write = lambda data: 1 // 0  # type: ignore[method-assign]
    speaker = AlsaSpeaker(Audio(speaker="spk"), clock=card.clock, open_device=card.open)
    speaker.play(1, sound(100))
    with trio.fail_after(PATIENCE_S), pytest.raises(ZeroDivisionError):
        await speaker.run(lambda event: None)
    assert card.closed == 1


async def test_the_fault_of_a_crash_ends_when_the_device_is_open_again() -> None:
    card = Card()
    card.write = lambda data: 1 // 0  # type: ignore[method-assign]
    speaker = AlsaSpeaker(Audio(speaker="spk"), clock=card.clock, open_device=card.open)
    speaker.play(1, sound(100))
    with trio.fail_after(PATIENCE_S), pytest.raises(ZeroDivisionError):
        await speaker.run(lambda event: None)
    del card.write
    ears = Ears(card, speaker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.run, ears.report)
        await ears.hear(FaultCleared(Fault.SPEAKER))
        nursery.cancel_scope.cancel()


async def test_a_thread_that_hangs_in_the_driver_holds_nobody_up() -> None:
    card, let_go, entered = Card(), threading.Event(), threading.Event()

    def hang(data: bytes) -> int:
        entered.set()
        let_go.wait()
        return len(data) // FRAME_BYTES

    card.write = hang  # type: ignore[method-assign]
    async with listening(card) as ears:
        ears.speaker.play(1, sound(100))
        await ears.until(entered.is_set)
        before = ears.speaker.heartbeat
        ears.speaker.stop(1)
        ears.speaker.play(2, sound(100))
        await ears.hear(SpeakingStopped(1, 0))
        assert ears.speaker.heartbeat == before
        let_go.set()
        await ears.until(lambda: card.drops >= 2)
