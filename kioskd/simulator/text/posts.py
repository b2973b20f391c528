"""What can be posted: chat completions with words or sound, transcriptions, speech."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from kioskd.simulator import schema, usage
from kioskd.simulator.brain import Brain, BrainError
from kioskd.simulator.errors import ClientError, missing_parameter, unknown_parameter
from kioskd.simulator.events import new_id
from kioskd.simulator.observer import Observer
from kioskd.simulator.schema import decimal, either, mapping, one_of
from kioskd.simulator.settings import Pace
from kioskd.simulator.sound import BYTES_PER_MS, BYTES_PER_S
from kioskd.simulator.text.answer import End, ServerFault, answer
from kioskd.simulator.text.chat_chunks import DELTA_BYTES, ChatAnswer
from kioskd.simulator.text.chat_request import ChatRequest, chat_request
from kioskd.simulator.text.exchange import Exchange
from kioskd.simulator.text.frames import Delivery
from kioskd.simulator.text.multipart import fields_in
from kioskd.simulator.text.wav import pcm_of, wav_of

MAX_JSON_BYTES = 50 * 2**20
MAX_SOUND_BYTES = 25 * 2**20
MAX_SPEECH_CHARS = 4096
MAX_KEPT = 256  # spoken answers that can be named
BY_DURATION = "whisper-1"  # the one that is billed so, and streams nothing
_TRANSCRIPTION = {"file", "model", "language", "prompt", "response_format", "temperature", "stream", "include[]"}
_FORMATS = ("json", "text")  # this server writes no subtitles
_SPEECH = mapping(
    {
        "model": schema.text(),
        "voice": either(mapping({"id": schema.text()}, ("id",)), schema.text()),
        "input": schema.text(MAX_SPEECH_CHARS),
        "instructions": schema.text(),
        "response_format": one_of("pcm", "wav"),  # it encodes nothing else
        "speed": decimal(0.25, 4),
        "stream_format": one_of("audio"),
    },
    required=("model", "voice", "input"),
)


@define
class Spoken:
    """The transcripts of spoken answers, by their audio's id, until they expire. `clock` is Unix time."""

    clock: Callable[[], float] = time.time
    _texts: OrderedDict[str, tuple[str, float]] = field(factory=OrderedDict)

    def keep(self, audio_id: str, text: str, expires_at: float) -> None:
        """Remember one."""
        self._texts[audio_id] = text, expires_at
        if len(self._texts) > MAX_KEPT:
            self._texts.popitem(last=False)

    def text(self, audio_id: str) -> str:
        """What was said. Raises `ClientError`: not known, or not any more (code and text not recorded)."""
        text, until = self._texts.get(audio_id, ("", 0.0))
        if until <= self.clock():
            raise ClientError(f"Audio with id '{audio_id}' not found or expired.", "audio_not_found", "messages")
        return text


@define(eq=False)
class Posts:
    """Answers what is posted; one for the whole server."""

    brain: Brain
    pace: Pace
    observer: Observer
    spoken: Spoken = field(factory=Spoken)
    _heard: str | None = field(default=None, init=False)  # the item of what was heard last, for the observer

    async def chat(self, exchange: Exchange) -> None:
        """POST /v1/chat/completions. Raises `ClientError`."""
        body = await exchange.json_body(MAX_JSON_BYTES)
        request = chat_request(body, self.spoken.text)
        self.observer.on_event("client", "chat.completions", len(str(body)))
        told = await answer(self.brain, request.prompt, request.limit, bool(request.sound))
        chat = ChatAnswer(request.model, told, request.wants_usage, request.sound)
        if told.question_pcm:
            self._heard = new_id("item")
            self.observer.on_heard(self._heard, told.question_pcm, told.question)
        if request.sound:
            self.spoken.keep(chat.audio_id, told.text, chat.expires_at)
        if request.stream:
            await exchange.stream()
            delivery = Delivery(exchange, exchange.faults, self.pace, lambda end: chat.last_frames(End(end)))
            await delivery.run(chat.frames())
        else:
            await self._plain(exchange, chat, request)
        self.observer.on_sent(new_id("item"), self._heard, told.text, told.pcm, told.end.value)

    async def transcribe(self, exchange: Exchange) -> None:
        """POST /v1/audio/transcriptions. Raises `ClientError`."""
        fields = fields_in(exchange.request.headers.get("content-type", ""), await exchange.body(MAX_SOUND_BYTES))
        given = {each.name: each for each in fields}
        for name in given:
            if name not in _TRANSCRIPTION:
                raise unknown_parameter(name)
        for name in ("file", "model"):
            if name not in given:
                raise missing_parameter(name)
        texts = {name: each.text for name, each in given.items() if name != "file"}
        form = texts.get("response_format", "json")
        one_of(*_FORMATS)(form, "response_format")
        one_of("true", "false", "True", "False")(texts.get("stream", "false"), "stream")
        pcm = pcm_of(given["file"].value, "file")
        try:
            said = await self.brain.hear(pcm)
        except BrainError as error:
            raise ServerFault(str(error), "server_error", type="server_error") from None
        self._heard = new_id("item")
        self.observer.on_heard(self._heard, pcm, said)
        cost = _transcription_cost(texts["model"], pcm, said.text)
        if form == "text":
            await exchange.respond(200, {"content-type": "text/plain; charset=utf-8"}, f"{said.text}\n".encode())
        elif texts.get("stream", "").lower() == "true" and texts["model"] != BY_DURATION:
            await exchange.stream()
            for number, word in enumerate(said.text.split(" ")):
                delta = f" {word}" if number else word
                await exchange.send({"type": "transcript.text.delta", "delta": delta})
            await exchange.send({"type": "transcript.text.done", "text": said.text, "usage": cost})
            await exchange.end(done=False)
        else:
            await exchange.reply(200, {"text": said.text, "usage": cost})

    async def speak(self, exchange: Exchange) -> None:
        """POST /v1/audio/speech. Raises `ClientError`."""
        body = await exchange.json_body(MAX_JSON_BYTES)
        _SPEECH(body, "")
        try:
            pcm = await self.brain.speak(body["input"])
        except BrainError as error:
            raise ServerFault(str(error), "server_error", type="server_error") from None
        if body.get("response_format", "pcm") == "wav":
            await exchange.respond(200, {"content-type": "audio/wav"}, wav_of(pcm))
        else:
            await exchange.start(200, {"content-type": "audio/pcm"})
            await self._pour(exchange, pcm)
        self.observer.on_sent(new_id("item"), self._heard, body["input"], pcm, "completed")

    async def _pour(self, exchange: Exchange, pcm: bytes) -> None:
        """The sound in chunks, faster than it is spoken; chunks may end inside a sample."""
        sizes, start, began = itertools.cycle(DELTA_BYTES), 0, trio.current_time()
        while start < len(pcm):
            match exchange.faults.chance(answering=start > 0):
                case "answer-stall":
                    await trio.sleep_forever()
                case "answer-disconnect":
                    return
                case "cut-with-done" | "cut-without-done":
                    break
            if exchange.faults.is_slow:
                await trio.sleep(1.0)
            end = start + next(sizes)
            await exchange.write(pcm[start:end])
            start = end
            await trio.sleep_until(began + start / BYTES_PER_S / self.pace.speed)
        await exchange.write(b"", more=False)

    async def _plain(self, exchange: Exchange, chat: ChatAnswer, request: ChatRequest) -> None:
        await trio.sleep(self.pace.created_after_s)
        body: dict[str, Any] = chat.whole()
        kind = exchange.faults.chance(answering=False)
        match kind:
            case "answer-stall":
                await trio.sleep_forever()
            case "answer-slow":
                await trio.sleep(len(chat.answer.words))
            case "answer-disconnect":
                await exchange.start(200, {"content-type": "application/json"})
                return
            case "finish-length" | "finish-filter":
                body["choices"][0]["finish_reason"] = "length" if kind == "finish-length" else "content_filter"
            case "garbage-frame":
                await exchange.respond(200, {"content-type": "application/json"}, b'{"choices": [{"mess')
                return
            case str() if failure := exchange.failure(kind):
                await exchange.reply(500 if kind == "answer-error" else 429, failure[0])
                return
        await exchange.reply(200, body)


def _transcription_cost(model: str, pcm: bytes, text: str) -> dict[str, Any]:
    ms = len(pcm) // BYTES_PER_MS
    if model == BY_DURATION:
        return {"type": "duration", "seconds": -(-ms // 1000)}
    heard, written = usage.of_input_audio(ms), usage.of_text(text)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "output_tokens": written,
        "total_tokens": heard + written,
        "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
    }
