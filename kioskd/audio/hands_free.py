"""Listens for the end of an utterance that no finger ends: reads it as it grows, and asks the endpointer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from kioskd.audio.endpointer import Endpointer, Verdict
from kioskd.audio.level import rms_level
from kioskd.audio.pcm import bytes_of
from kioskd.config.schema import Conversation
from kioskd.dialogue.events import FellSilent

LOOK_EVERY_S = 0.05  # sound comes in pieces of 100 ms then; a silence of 900 ms is told 50 ms late at most
BLOCK_MS = 20


class Growing(Protocol):
    """What it needs to know of an utterance."""

    followed: bool
    """It is to grow in short pieces."""

    @property
    def turn(self) -> int:
        """The number of the turn it belongs to."""

    @property
    def ended(self) -> bool:
        """True when nothing will be appended any more."""

    def since(self, cursor: int) -> bytes:
        """Everything recorded after the first `cursor` bytes."""


class SilenceWatch:
    """One utterance at a time: the newest that is watched. `watch` and `forget` return at once."""

    def __init__(self, settings: Conversation) -> None:
        self._settings = settings
        self._utterance: Growing | None = None
        self._cursor = 0
        self._endpointer = Endpointer(settings.endpoint_silence_ms, settings.no_speech_ms)
        self._changed = trio.Event()

    def adjust(self, settings: Conversation) -> None:
        """These silences count from the next utterance on."""
        self._settings = settings

    def watch(self, utterance: Growing) -> None:
        """Listen to this utterance, from its beginning -> `FellSilent`, once, unless it ends before."""
        self._utterance = utterance
        utterance.followed = True
        self._cursor = 0
        self._endpointer = Endpointer(self._settings.endpoint_silence_ms, self._settings.no_speech_ms)
        self._changed.set()

    def forget(self) -> None:
        """Nobody waits for the end any more."""
        self._utterance = None

    async def run(self, report: Callable[[FellSilent], None]) -> None:
        """Listen until cancelled; without an utterance it sleeps."""
        while True:
            self._changed = trio.Event()
            if self._utterance is None:
                await self._changed.wait()
            else:
                self._listen(self._utterance, report)
                await trio.sleep(LOOK_EVERY_S)

    def _listen(self, utterance: Growing, report: Callable[[FellSilent], None]) -> None:
        pcm = utterance.since(self._cursor)
        size = bytes_of(BLOCK_MS)
        for start in range(0, len(pcm) - size + 1, size):
            self._cursor += size
            verdict = self._endpointer.feed(rms_level(pcm[start : start + size]), BLOCK_MS)
            if verdict is not None:
                self._utterance = None
                report(FellSilent(utterance.turn, verdict is Verdict.SPOKEN))
                return
        if utterance.ended:
            self._utterance = None
