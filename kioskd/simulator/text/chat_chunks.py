"""A chat answer as it is sent: whole, or in chunks of the three shapes that sellers use, told by the model's name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field

from kioskd.simulator.events import new_id
from kioskd.simulator.sound import encoded
from kioskd.simulator.text.answer import Answer, End
from kioskd.simulator.text.frames import Frame, Place
from kioskd.simulator.text.wav import wav_of

FINGERPRINT = "fp_44709d6fcb"
AUDIO_S = 3600  # a spoken answer can be named for so long
DELTA_BYTES = (4801, 6143, 8192, 5120)  # of sound; some end inside a sample


@define
class ChatAnswer:
    """Renders one answer. `audio_id` is what its sound can be named by later; `clock` is Unix time."""

    model: str
    answer: Answer
    wants_usage: bool = False
    sound: str = ""
    clock: Callable[[], float] = time.time
    id: str = field(factory=lambda: new_id("chatcmpl").replace("_", "-"), init=False)
    audio_id: str = field(factory=lambda: new_id("audio"), init=False)
    call_id: str = field(factory=lambda: new_id("call"), init=False)
    created: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.created = int(self.clock())

    @property
    def expires_at(self) -> int:
        """Until when the sound can be named: Unix seconds."""
        return self.created + AUDIO_S

    def whole(self) -> dict[str, Any]:
        """The body of the plain answer."""
        answer = self.answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
        if answer.call is not None:
            function = {"name": answer.call.name, "arguments": answer.call.arguments}
            message |= {"content": None, "tool_calls": [{"id": self.call_id, "type": "function", "function": function}]}
        elif self.sound:
            data = encoded(answer.pcm if self.sound == "pcm16" else wav_of(answer.pcm))
            audio = {"id": self.audio_id, "data": data, "expires_at": self.expires_at, "transcript": answer.text}
            message |= {"content": None, "audio": audio}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.end.value}
        return {**self._common("chat.completion"), "choices": [choice], "usage": self._usage()}

    def frames(self) -> Iterator[Frame]:
        """The chunks, without what ends the stream."""
        answer = self.answer
        if answer.call is not None:
            yield from self._call_frames()
        elif self.sound:
            yield from self._sound_frames()
        else:
            yield Frame(self._chunk({"role": "assistant", "content": "", "refusal": None}), Place.OPENING)
            if self._is("deepseek-reasoner"):
                yield Frame(self._chunk({"content": None, "reasoning_content": "Let me see."}), Place.OPENING)
            for word in answer.words:
                yield Frame(self._word(word), Place.PIECE)
        yield from self.last_frames(answer.end)

    def last_frames(self, end: End) -> Iterator[Frame]:
        """How the answer ends, and what it cost."""
        last = self._chunk({}, end)
        if self._is("deepseek"):
            yield Frame({**last, "usage": self._usage()}, Place.FINISH)
            return
        yield Frame(last, Place.FINISH)
        if self.wants_usage:
            yield Frame({**self._common("chat.completion.chunk"), "choices": [], "usage": self._usage()}, Place.AFTER)

    def _call_frames(self) -> Iterator[Frame]:
        assert self.answer.call is not None
        function = {"name": self.answer.call.name, "arguments": ""}
        call = {"index": 0, "id": self.call_id, "type": "function", "function": function}
        opening = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
        yield Frame(self._chunk(opening), Place.OPENING)
        for piece in self.answer.arguments:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            yield Frame(self._chunk(delta), Place.PIECE)

    def _sound_frames(self) -> Iterator[Frame]:
        answer = self.answer
        opening = {"role": "assistant", "refusal": None, "audio": {"id": self.audio_id, "transcript": ""}}
        yield Frame(self._chunk(opening), Place.OPENING)
        words, sizes = iter(answer.words), itertools.cycle(DELTA_BYTES)
        share = max(1, len(answer.words) * DELTA_BYTES[0] * 2 // max(1, len(answer.pcm)))  # the words run ahead
        start = 0
        while start < len(answer.pcm):
            for word in itertools.islice(words, share):
                yield Frame(self._chunk({"audio": {"transcript": word}}), Place.PIECE)
            end = start + next(sizes)
            yield Frame(self._chunk({"audio": {"data": encoded(answer.pcm[start:end])}}), Place.PIECE)
            start = end
        for word in words:
            yield Frame(self._chunk({"audio": {"transcript": word}}), Place.PIECE)
        yield Frame(self._chunk({"audio": {"expires_at": self.expires_at}}), Place.PIECE)

    def _word(self, word: str) -> dict[str, Any]:
        if self._is("claude-flat"):
            return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        return self._chunk({"text": word} if self._is("claude") else {"content": word})

    def _chunk(self, delta: dict[str, Any], end: End | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end.value if end else None}
        chunk = {**self._common("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self.wants_usage else chunk

    def _common(self, kind: str) -> dict[str, Any]:
        common = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**common, "service_tier": "default", "system_fingerprint": FINGERPRINT}

    def _usage(self) -> dict[str, Any]:
        read, said, cached = self.answer.read, self.answer.said, self.answer.cached
        usage = {
            "prompt_tokens": read.total,
            "completion_tokens": said.total,
            "total_tokens": read.total + said.total,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": read.audio, "text_tokens": read.text},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": said.audio,
                "text_tokens": said.text,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        if self._is("deepseek"):
            usage |= {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": read.total - cached}
        return usage

    def _is(self, maker: str) -> bool:
        return self.model.startswith(maker)
