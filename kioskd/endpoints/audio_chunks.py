"""The chunks of a chat answer that is spoken, and the messages of a conversation that is. PURE.

Sources: `openai/types/chat/chat_completion_audio*.py`, `chat_completion_content_part_input_audio_param.py`. The chunks'
`delta.audio` is in no type of that package: `{id?, transcript?, data?, expires_at?}`, each in any chunk.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field, frozen

from kioskd.config.schema import Endpoint
from kioskd.dialogue.events import Speaker
from kioskd.endpoints.text import chat_messages
from kioskd.endpoints.text.chat_chunks import ChatAnswer
from kioskd.endpoints.text.model import Message, Request, TextEvent
from kioskd.endpoints.toolbox import ToolOffer
from kioskd.endpoints.voice.sentences import encodable
from kioskd.endpoints.voice.wav import SAMPLE_BYTES, wav_of
from kioskd.realtime.replay import CONTINUE, Said

VOICE = "marin"  # where the settings name none: the wire wants one
REMEMBERED = 50  # answers: as many as the settings let a conversation have
MARGIN_S = 30.0  # before an answer's sound is gone there
_TIME_MAX = 1e12  # seconds
_QUANTUM = 4  # characters of base64 that are whole bytes


@frozen
class Transcribed:
    """The next words of what is being spoken."""

    text: str


@frozen(repr=False)
class Spoken:
    """The next piece of sound: s16le mono at 24 kHz, whole samples."""

    pcm: bytes


@define(eq=False)
class SpokenAnswer(ChatAnswer):
    """One answer, chunk by chunk: what `feed` gives, and after it, `heard`."""

    transcript: str = field(default="", init=False)
    audio_id: str = field(default="", init=False)
    lasts_s: float | None = field(default=None, init=False)
    """How long the other side keeps the sound, from its own time of the answer on."""
    sounded: bool = field(default=False, init=False)
    _heard: list[Transcribed | Spoken] = field(factory=list, init=False)
    _characters_left: str = field(default="", init=False)
    _bytes_left: bytes = field(default=b"", init=False)
    _created: float | None = field(default=None, init=False)

    def heard(self) -> list[Transcribed | Spoken]:
        """What has come since the last call."""
        heard, self._heard = self._heard, []
        return heard

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[TextEvent]:
        self._created = _seconds(chunk.get("created")) or self._created
        yield from super()._chunk(chunk)

    def _choice(self, choice: dict[str, Any]) -> Iterator[TextEvent]:
        yield from super()._choice(choice)
        for name in ("delta", "message"):
            part = choice.get(name)
            audio = part.get("audio") if isinstance(part, dict) else None
            if isinstance(audio, dict):
                self._take_audio(audio)

    def _take_audio(self, audio: dict[str, Any]) -> None:
        audio_id, transcript, data = audio.get("id"), audio.get("transcript"), audio.get("data")
        if isinstance(audio_id, str):
            self.audio_id = self.audio_id or audio_id
        until = _seconds(audio.get("expires_at"))
        if until is not None and self._created is not None:
            self.lasts_s = until - self._created
        if isinstance(transcript, str) and transcript:
            transcript = encodable(transcript)
            self.transcript += transcript
            self._heard.append(Transcribed(transcript))
        if isinstance(data, str) and data:
            self._take_sound(data)

    def _take_sound(self, data: str) -> None:
        """Each piece is base64 by itself, or the next part of one long text of it. What is none is left out."""
        data = self._characters_left + data
        whole = len(data) // _QUANTUM * _QUANTUM
        data, self._characters_left = data[:whole], data[whole:]
        try:
            pcm = self._bytes_left + base64.b64decode(data, validate=True)
        except ValueError:
            return
        size = len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES
        self._bytes_left = pcm[size:]
        if size:
            self.sounded = True
            self._heard.append(Spoken(pcm[:size]))


@define(eq=False)
class Remembered:
    """The answers whose sound the other side still keeps. Times are seconds of any one clock."""

    _answers: deque[tuple[str, str, float]] = field(factory=lambda: deque(maxlen=REMEMBERED), init=False)

    def note(self, answer: SpokenAnswer, began: float) -> None:
        """An answer that came whole."""
        if answer.audio_id and answer.lasts_s is not None and answer.transcript.strip():
            self._answers.append((answer.transcript.strip(), answer.audio_id, began + answer.lasts_s - MARGIN_S))

    def id_of(self, text: str, now: float) -> str | None:
        """The sound of what was said in these words, all of them; None where it isn't kept (any more)."""
        found = [audio_id for words, audio_id, until in self._answers if words == text.strip() and now < until]
        return found[-1] if found else None

    def forget(self) -> None:
        """None of them counts any more."""
        self._answers.clear()


def messages(said: Sequence[Said], pcm: bytes | None, kept: Remembered, now: float) -> list[dict[str, Any]]:
    """The conversation; at its end the question, or (None) the wish for the rest of the answer before."""
    told = [_message(piece, kept, now) for piece in said]
    return [*told, {"role": "user", "content": CONTINUE} if pcm is None else _sound(pcm)]


def tool_messages(told: Sequence[Message]) -> list[dict[str, Any]]:
    """Calls, and their results."""
    return chat_messages.messages(Request(0, "", told))


def body(
    settings: Endpoint,
    instructions: str,
    conversation: Sequence[dict[str, Any]],
    tools: Sequence[ToolOffer],
    *,
    count: bool,
) -> dict[str, Any]:
    """The request. `count`: its tokens are wanted, which not every relay knows how to stream."""
    asked = chat_messages.body(settings, Request(0, instructions, (), tools), stream=True, count=count)
    asked["messages"] = [*asked["messages"], *conversation]
    asked["modalities"] = ["text", "audio"]
    asked["audio"] = {"voice": settings.voice or VOICE, "format": "pcm16"}
    return asked


def names_sound(conversation: Sequence[dict[str, Any]]) -> bool:
    """Whether an earlier answer is named by its sound, and not told in words."""
    return any("audio" in message for message in conversation)


def _message(said: Said, kept: Remembered, now: float) -> dict[str, Any]:
    if said.speaker is Speaker.KIOSK:
        audio_id = kept.id_of(said.text, now)
        if audio_id is not None:
            return {"role": "assistant", "audio": {"id": audio_id}}
        return {"role": "assistant", "content": said.text}
    return _sound(said.pcm) if said.pcm and not said.text else {"role": "user", "content": said.text}


def _sound(pcm: bytes) -> dict[str, Any]:
    data = base64.b64encode(wav_of(pcm)).decode("ascii")
    return {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]}


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _TIME_MAX:
        return None
    return float(value)
