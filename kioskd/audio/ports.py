"""What the daemon knows of a microphone and a speaker, be they ALSA devices or WAV files.

All methods but `run` return at once, never raise, and are called in the trio thread; `report` is called there too.
Sound is s16le mono at 24 kHz everywhere on this side of ALSA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kioskd.audio.utterance import Utterance
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import (
    FaultCleared,
    FaultRaised,
    SignFinished,
    SpeakingFinished,
    SpeakingStarted,
    SpeakingStopped,
    UtteranceEnded,
)

MicrophoneEvent = UtteranceEnded | FaultRaised | FaultCleared
SpeakerEvent = SpeakingStarted | SpeakingFinished | SpeakingStopped | SignFinished | FaultRaised | FaultCleared


class Microphone(Protocol):
    """Records utterances. One at a time: `begin` drops whatever was being recorded."""

    @property
    def level(self) -> float:
        """The loudness of the newest block, 0.0 (silence) to 1.0 (full scale), RMS."""

    async def run(self, report: Callable[[MicrophoneEvent], None]) -> None:
        """Hold the device open, reopen it whenever it is lost, until cancelled."""

    def begin(self, turn: int, pre_roll_ms: int) -> Utterance:
        """Record a new utterance that begins `pre_roll_ms` in the past; negative: only so long from now."""

    def end(self, turn: int, post_roll_ms: int) -> None:
        """Record `post_roll_ms` more, then end it -> `UtteranceEnded` (at once where the device is lost)."""

    def discard(self, turn: int) -> None:
        """Stop recording; nothing follows."""


class Speaker(Protocol):
    """Plays answers and signs, in the order in which they were given."""

    @property
    def level(self) -> float:
        """The loudness of what is being played, 0.0 to 1.0, RMS."""

    async def run(self, report: Callable[[SpeakerEvent], None]) -> None:
        """Hold the device open, reopen it whenever it is lost, until cancelled."""

    def play(self, turn: int, pcm: bytes) -> None:
        """Queue a piece of an answer; never waits, never drops -> `SpeakingStarted` at a turn's first frame."""

    def finish(self, turn: int) -> None:
        """Nothing more of this turn comes -> `SpeakingFinished` when the last frame has left the device."""

    def stop(self, turn: int) -> None:
        """Silence at once -> `SpeakingStopped` with what was heard, even if nothing was playing."""

    def give_sign(self, sign: Sign) -> None:
        """Queue a sign's earcon -> `SignFinished` when it was played, cut, or can't be played."""

    def cut_sign(self) -> None:
        """End the earcon that is playing."""
