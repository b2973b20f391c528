"""The input audio buffer, and the voice detection that a push-to-talk client must have switched off."""

from __future__ import annotations

import array
import math
import sys
from typing import Any

from attrs import define, field, frozen

from kioskd.simulator.errors import audio_too_long, commit_too_short
from kioskd.simulator.sound import BYTES_PER_MS

MIN_COMMIT_MS = 100
MAX_BUFFER_BYTES = 64 * 2**20  # 23 minutes: longer than any utterance that kioskd's settings allow
FRAME_MS = 20
FRAME_BYTES = FRAME_MS * BYTES_PER_MS
LOUD_RMS_AT_HALF = 600.0  # of 32768, at the default threshold of 0.5: above a quiet room, below any speech
ONSET_FRAMES = 3  # so much in a row counts as speech: a click doesn't


@frozen
class SpeechStarted:
    """Somebody began to speak, `at_ms` after the session's first sample (padding included)."""

    at_ms: int


@frozen
class SpeechStopped:
    """They fell silent; what the buffer holds is the turn."""

    at_ms: int


Activity = SpeechStarted | SpeechStopped


@define
class InputBuffer:
    """What was appended and not committed yet."""

    _pcm: bytearray = field(factory=bytearray, init=False)
    _dropped_ms: int = field(default=0, init=False)  # of the session, before the buffer's first sample

    @property
    def end_ms(self) -> int:
        """How much audio the session has had."""
        return self._dropped_ms + len(self._pcm) // BYTES_PER_MS

    def append(self, pcm: bytes) -> None:
        """Add to it. Raises `ClientError` and adds nothing if it would be too long."""
        if len(self._pcm) + len(pcm) > MAX_BUFFER_BYTES:
            raise audio_too_long("audio", MAX_BUFFER_BYTES)
        self._pcm += pcm

    def clear(self) -> None:
        """Forget it."""
        self._dropped_ms = self.end_ms
        self._pcm.clear()

    def commit(self) -> bytes:
        """Take it all. Raises `ClientError` under 100 ms, and keeps it."""
        if len(self._pcm) < MIN_COMMIT_MS * BYTES_PER_MS:
            raise commit_too_short(len(self._pcm) / BYTES_PER_MS)
        taken = bytes(self._pcm)
        self.clear()
        return taken

    def keep_last(self, length_ms: int) -> None:
        """Forget all but so much: silence before speech belongs to no turn."""
        surplus = len(self._pcm) - length_ms * BYTES_PER_MS
        if surplus > 0:
            self._dropped_ms += surplus // BYTES_PER_MS
            del self._pcm[:surplus]


@define
class VoiceDetector:
    """Tells speech from silence by loudness, in frames of 20 ms. Semantic detection is served by the same."""

    settings: dict[str, Any]
    speaking: bool = field(default=False, init=False)
    _rest: bytes = field(default=b"", init=False)
    _loud: int = field(default=0, init=False)
    _quiet: int = field(default=0, init=False)

    @property
    def padding_ms(self) -> int:
        """How much before the first loud frame belongs to the turn."""
        return int(self.settings.get("prefix_padding_ms", 300))

    @property
    def interrupts(self) -> bool:
        """Whether speech cancels the answer that is being given."""
        return bool(self.settings["interrupt_response"])

    @property
    def answers(self) -> bool:
        """Whether the end of speech asks for an answer."""
        return bool(self.settings["create_response"])

    def hear(self, piece: bytes, end_ms: int) -> Activity | None:
        """The change, if any, that this piece of at most one frame brings; it ends at `end_ms` of the session."""
        self._rest += piece
        if len(self._rest) < FRAME_BYTES:
            return None
        frame, self._rest = self._rest[:FRAME_BYTES], self._rest[FRAME_BYTES:]
        return self._judge(frame, end_ms)

    def reset(self) -> None:
        """The buffer was emptied: whoever spoke begins anew."""
        self.speaking = False
        self._rest, self._loud, self._quiet = b"", 0, 0

    def _judge(self, frame: bytes, end_ms: int) -> Activity | None:
        threshold = LOUD_RMS_AT_HALF * 2 * float(self.settings.get("threshold", 0.5))
        if _rms(frame) >= threshold:
            self._loud, self._quiet = self._loud + 1, 0
        else:
            self._loud, self._quiet = 0, self._quiet + 1
        if not self.speaking and self._loud >= ONSET_FRAMES:
            self.speaking = True
            return SpeechStarted(max(0, end_ms - ONSET_FRAMES * FRAME_MS - self.padding_ms))
        if self.speaking and self._quiet * FRAME_MS >= int(self.settings.get("silence_duration_ms", 500)):
            self.speaking = False
            return SpeechStopped(end_ms)
        return None


def _rms(frame: bytes) -> float:
    samples = array.array("h", frame)
    if sys.byteorder == "big":
        samples.byteswap()
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))
