"""What the client's sound becomes: the input buffer, its commits, and what is understood of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from kioskd.simulator import usage
from kioskd.simulator.brain import Brain, BrainError, Understanding
from kioskd.simulator.buffer import (
    FRAME_BYTES,
    FRAME_MS,
    ONSET_FRAMES,
    InputBuffer,
    SpeechStarted,
    SpeechStopped,
    VoiceDetector,
)
from kioskd.simulator.events import Outbox, new_id
from kioskd.simulator.items import Content, Hearing, History, Item, Part
from kioskd.simulator.observer import Observer
from kioskd.simulator.session import Session


@define(eq=False)
class Listener:
    """The conversation's ear. Understanding runs in `nursery`, from the commit on."""

    session: Session
    history: History
    outbox: Outbox
    brain: Brain
    observer: Observer
    nursery: trio.Nursery
    _buffer: InputBuffer = field(factory=InputBuffer, init=False)
    _detector: VoiceDetector | None = field(init=False)
    _announced_id: str | None = field(default=None, init=False)  # of the item that speech_started promised

    def __attrs_post_init__(self) -> None:
        self._detector = None
        self.follow_settings()

    def follow_settings(self) -> None:
        """The session was updated: detect voices as it says, or not at all."""
        settings = self.session.turn_detection
        if settings is None:
            self._detector, self._announced_id = None, None
        elif self._detector is None:
            self._detector = VoiceDetector(settings)
        else:
            self._detector.settings = settings

    def append(self, pcm: bytes, interrupt: Callable[[], None]) -> bool:
        """More sound. True if a voice has ended and an answer is due; `interrupt` is called where one begins.

        Raises `ClientError`: more than fits.
        """
        if self._detector is None:
            self._buffer.append(pcm)
            return False
        answer_is_due = False
        for start in range(0, len(pcm), FRAME_BYTES):
            answer_is_due |= self._detect(self._detector, pcm[start : start + FRAME_BYTES], interrupt)
        return answer_is_due

    def commit(self) -> None:
        """The buffer becomes a user's item. Raises `ClientError` under 100 ms."""
        self._take(self._buffer.commit())
        if self._detector is not None:
            self._detector.reset()

    def clear(self) -> None:
        """Forget what was not committed."""
        self._buffer.clear()
        self._announced_id = None
        if self._detector is not None:
            self._detector.reset()
        self.outbox.put("input_audio_buffer.cleared")

    def understand(self, item: Item, part: Part) -> None:
        """Begin to understand a spoken part."""
        part.hearing = Hearing()
        self.nursery.start_soon(self._understand, item, part, part.hearing)

    def _detect(self, detector: VoiceDetector, piece: bytes, interrupt: Callable[[], None]) -> bool:
        self._buffer.append(piece)
        match detector.hear(piece, self._buffer.end_ms):
            case SpeechStarted(at_ms):
                self._announced_id = new_id("item")
                self.outbox.put("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=self._announced_id)
                if detector.interrupts:
                    interrupt()
            case SpeechStopped(at_ms):
                self.outbox.put("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=self._announced_id)
                self._take(self._buffer.commit())
                return detector.answers
        if not detector.speaking:
            self._buffer.keep_last(detector.padding_ms + ONSET_FRAMES * FRAME_MS)
        return False

    def _take(self, pcm: bytes) -> None:
        part = Part(Content.INPUT_AUDIO, pcm=bytearray(pcm))
        item = Item(self._announced_id or new_id("item"), parts=[part])
        self._announced_id = None
        previous = self.history.add(item)
        self.outbox.put("input_audio_buffer.committed", previous_item_id=previous, item_id=item.id)
        shown = item.rendered(self.outbox.dialect)
        self.outbox.put("conversation.item.added", previous_item_id=previous, item=shown)
        self.outbox.put("conversation.item.done", previous_item_id=previous, item=shown)
        self.understand(item, part)

    async def _understand(self, item: Item, part: Part, hearing: Hearing) -> None:
        where = {"item_id": item.id, "content_index": item.parts.index(part)}
        transcribes = self.session.transcribes
        try:
            said = await self.brain.hear(bytes(part.pcm))
        except BrainError as error:
            hearing.failure = str(error)
            if transcribes:
                failure = {"type": "server_error", "code": "audio_unintelligible", "message": str(error)}
                self.outbox.put("conversation.item.input_audio_transcription.failed", **where, error=failure)
        else:
            hearing.said = said
            self.observer.on_heard(item.id, bytes(part.pcm), said)
            if transcribes:
                self._transcribe(part, said, where)
        hearing.done.set()

    def _transcribe(self, part: Part, said: Understanding, where: dict[str, Any]) -> None:
        part.text = said.text
        for number, word in enumerate(said.text.split(" ")):
            delta = f" {word}" if number else word
            self.outbox.put("conversation.item.input_audio_transcription.delta", **where, delta=delta)
        self.outbox.put(
            "conversation.item.input_audio_transcription.completed",
            **where,
            transcript=said.text,
            usage=self._transcription_usage(part, said),
        )

    def _transcription_usage(self, part: Part, said: Understanding) -> dict[str, Any]:
        if self.session.transcription_model == "whisper-1":  # the one that is billed by its duration
            return {"type": "duration", "seconds": -(-part.duration_ms // 1000)}
        heard, written = usage.of_input_audio(part.duration_ms), usage.of_text(said.text)
        return {
            "type": "tokens",
            "input_tokens": heard,
            "output_tokens": written,
            "total_tokens": heard + written,
            "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
        }
