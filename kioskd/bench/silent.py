"""A speaker without a device that costs nothing: one timer an answer."""

from __future__ import annotations

from collections.abc import Callable

import trio

from kioskd.audio.pcm import ms_of
from kioskd.audio.ports import SpeakerEvent
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import SignFinished, SpeakingFinished, SpeakingStarted, SpeakingStopped


class SilentSpeaker:
    """`ports.Speaker`: an answer takes as long as it is."""

    level = 0.0

    def __init__(self) -> None:
        self._turn: int | None = None
        self._began = 0.0
        self._bytes = 0
        self._finished = False
        self._untold: list[SpeakerEvent] = []
        self._changed = trio.Event()

    async def run(self, report: Callable[[SpeakerEvent], None]) -> None:
        """Report, until cancelled."""
        while True:
            self._changed = trio.Event()
            while self._untold:
                report(self._untold.pop(0))
            ends_at = self._began + ms_of(self._bytes) / 1000 if self._finished else float("inf")
            with trio.move_on_at(ends_at):
                await self._changed.wait()
                continue
            turn, heard_ms = self._turn, ms_of(self._bytes)
            self._forget()
            if turn is not None:
                report(SpeakingFinished(turn, heard_ms))

    def play(self, turn: int, pcm: bytes) -> None:
        """More of an answer."""
        if turn != self._turn:
            self._forget()
            self._turn, self._began = turn, trio.current_time()
            self._tell(SpeakingStarted(turn))
        self._bytes += len(pcm)

    def finish(self, turn: int) -> None:
        """The answer is whole."""
        if turn == self._turn:
            self._finished = True
            self._changed.set()
        else:
            self._tell(SpeakingFinished(turn, 0))

    def stop(self, turn: int) -> None:
        """Silence."""
        heard_ms = min(ms_of(self._bytes), int((trio.current_time() - self._began) * 1000)) if self._turn == turn else 0
        self._forget()
        self._tell(SpeakingStopped(turn, heard_ms))

    def give_sign(self, sign: Sign) -> None:
        """Over at once."""
        self._tell(SignFinished())

    def cut_sign(self) -> None:
        """There is none."""

    def _forget(self) -> None:
        self._turn, self._bytes, self._finished = None, 0, False

    def _tell(self, event: SpeakerEvent) -> None:
        self._untold.append(event)
        self._changed.set()
