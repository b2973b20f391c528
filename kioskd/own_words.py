"""What the kiosk says and tests by itself: turns that no visitor opened, and that a visitor's press ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from attrs import define, field

from kioskd.audio.pcm import BYTES_PER_MS
from kioskd.audio.sound_check import Outcome, SoundCheck
from kioskd.audio.sound_test import SoundTestError
from kioskd.audio.verdict import Report
from kioskd.config.schema import Settings
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, CheckDue, Ending, Event, SoundChecked
from kioskd.supervision import describe

log = logging.getLogger(__name__)

Words = Callable[[], Awaitable[bytes]]  # something to be said, s16le mono at 24 kHz; it may raise
SpokenVerdict = Callable[[Report], Awaitable[bytes]]


@define(eq=False, repr=False)
class _Check:
    """A test that somebody waits for."""

    done: trio.Event = field(factory=trio.Event)
    report: Report | None = None
    trouble: str = "a visitor pressed the button; try again later"


class OwnWords:
    """Whatever cannot be done ends its turn at once. To be called in the trio thread."""

    def __init__(
        self,
        post: Callable[[Event], None],
        announce: Words | None = None,
        sound: SoundCheck | None = None,
        verdict: SpokenVerdict | None = None,
    ) -> None:
        self._post = post
        self._announce = announce
        self._sound = sound
        self._verdict = verdict
        self._nursery: trio.Nursery | None = None
        self._turn = 0
        self._scope = trio.CancelScope()  # of what is done for that turn
        self._check: _Check | None = None  # the newest

    @property
    def last_test(self) -> Outcome | None:
        """The newest self-test; None before the first."""
        return self._sound.last if self._sound else None

    @property
    def tail_ms(self) -> float | None:
        """How long the room goes on after the kiosk's last sound; None where it wasn't measured."""
        return self._sound.tail_ms if self._sound else None

    def adjust(self, settings: Settings) -> None:
        """See `kioskd.pulse.Adjustable`."""
        if self._sound is not None:
            self._sound.adjust(settings.audio)

    def start(self, nursery: trio.Nursery) -> None:
        """From now on it works, in this nursery."""
        self._nursery = nursery

    async def run(self) -> None:
        """Have the sound tested when it is due, until cancelled."""
        if self._sound is None:
            await trio.sleep_forever()
        else:
            await self._sound.run(partial(self.test_sound, alone=True))

    async def test_sound(self, alone: bool = False) -> Report:
        """Test speaker and microphone while nobody talks (`alone`: and no visitor is about); what came of it.

        Raises SoundTestError, in words.
        """
        if self._sound is None:
            raise SoundTestError("this kiosk has no sound card that could be tested")
        before = self._check
        self._post(CheckDue(alone))
        check = self._check
        if check is None or check is before:
            raise SoundTestError("somebody is using the kiosk; try again later")
        await check.done.wait()
        if check.report is None:
            raise SoundTestError(check.trouble)
        return check.report

    def say(self, turn: int, *pieces: bytes) -> None:
        """The kiosk's own words are an answer like any other."""
        for pcm in pieces:
            self._post(AnswerAudio(turn, pcm, len(pcm) / BYTES_PER_MS))
        self._post(AnswerEnded(turn, Ending.COMPLETE))

    def announce(self, turn: int) -> None:
        """Say what the kiosk is, and how it is."""
        self._begin(turn, self._find_words, self._announce)

    def test(self, turn: int) -> None:
        """Test the sound, and say what came of it."""
        self._begin(turn, self._find_words, self._spoken_test if self._sound and self._verdict else None)

    def check(self, turn: int) -> None:
        """Test the sound, and say nothing."""
        self._check = _Check()
        self._begin(turn, self._make_check, self._check)

    def give_up(self, turn: int) -> None:
        """Nobody waits for it any more; silence at once."""
        if turn == self._turn:
            if self._sound is not None:
                self._sound.stop()
            self._scope.cancel()

    def _begin(self, turn: int, do: Callable[..., Awaitable[None]], what: object) -> None:
        if what is None or self._nursery is None:
            self._post(AnswerEnded(turn, Ending.FAILED, "this kiosk can't do that"))
            return
        self._turn, self._scope = turn, trio.CancelScope()
        self._nursery.start_soon(self._within, self._scope, partial(do, turn, what))

    async def _within(self, scope: trio.CancelScope, do: Callable[[], Awaitable[None]]) -> None:
        with scope:
            await do()

    async def _find_words(self, turn: int, words: Words) -> None:
        try:
            pcm = await words()
        except Exception as error:  # whatever the owner asked for must not end the kiosk
            log.warning("the owner's button: %s", describe(error))
            self._post(AnswerEnded(turn, Ending.FAILED, describe(error)))
        else:
            self.say(turn, pcm)

    async def _spoken_test(self) -> bytes:
        assert self._sound is not None and self._verdict is not None
        return await self._verdict(await self._sound.test(self._post))

    async def _make_check(self, turn: int, check: _Check) -> None:
        assert self._sound is not None
        try:
            check.report = await self._sound.test(self._post)
        except SoundTestError as error:
            check.trouble = str(error)
        except Exception as error:  # as above
            check.trouble = f"the self-test failed: {describe(error)}"
            log.warning("%s", check.trouble)
        finally:
            check.done.set()
        self._post(SoundChecked(turn))
