"""Who writes down what the visitor said, for a text model.

Source: `openai/types/audio/transcription_create_params.py`, `transcription_text_*_event.py`, `transcription.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from attrs import frozen

from kioskd.config.schema import Endpoint
from kioskd.endpoints.failures import refuses_field, told_in_answer
from kioskd.endpoints.http_stream import EVENT_STREAM, Answer, open_stream, request_for
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.port import Utterance
from kioskd.endpoints.text.chat_chunks import is_error
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.voice.helper import HelperOverHttp, hearing_endpoint
from kioskd.endpoints.voice.sentences import encodable
from kioskd.endpoints.voice.wav import HEADER_BYTES, wav_of

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 25 * 2**20  # what such an endpoint takes: nine minutes
ANSWER_BYTES_MAX = 4 * 2**20  # with the probabilities of nine minutes' words
TEXT_MAX = 8000  # characters: nine minutes of the fastest speaker are as many


class Ears(Protocol):
    """Hears one utterance at a time."""

    async def run(self) -> None:
        """Keep what connections or children it needs, until cancelled."""

    async def check(self) -> None:
        """Whether it would hear, at no cost. Raises text.model.ModelError."""

    async def transcribe(self, utterance: Utterance, partial: Callable[[str], None]) -> str:
        """What was said; empty where nothing was understood. `partial`: called with all that is written so far.

        Raises text.model.ModelError.
        """


class HearingOverHttp:
    """Ears. `read_key` finds the hearing's own key, which is the endpoint's unless `hearing.key` names another."""

    def __init__(self, settings: Endpoint, read_key: Callable[[], str], language: str | None = None) -> None:
        self._http = HelperOverHttp(hearing_endpoint(settings), read_key)
        self._language = (language or "").partition("-")[0].lower()  # "de-AT" is "de" there
        self._streams = settings.hearing.stream

    async def run(self) -> None:
        """See Ears."""
        await self._http.run()

    async def check(self) -> None:
        """See Ears."""
        await self._http.check()

    async def transcribe(self, utterance: Utterance, partial: Callable[[str], None]) -> str:
        """See Ears. A server that refuses to stream is asked without, from then on."""
        pcm = utterance.since(0)
        if not pcm:
            return ""
        try:
            return await self._ask(pcm, partial)
        except ModelError as error:
            if not (self._streams and refuses_field(error.failure, "stream")):
                raise
            self._streams = False
        return await self._ask(pcm, partial)

    async def _ask(self, pcm: bytes, partial: Callable[[str], None]) -> str:
        settings = self._http.settings
        request = request_for(
            self._http.client,
            settings,
            self._http.key(),
            settings.url,
            accept=f"{EVENT_STREAM}, application/json" if self._streams else "application/json",
            data=self._fields(),
            files={"file": ("question.wav", wav_of(self._bounded(pcm)), "audio/wav")},
        )
        async with open_stream(self._http.client, settings, request) as answer:
            if answer.content_type == EVENT_STREAM:
                return await _streamed(answer, partial)
            if answer.content_type.endswith("json"):
                return _whole(answer, await answer.body(ANSWER_BYTES_MAX))
            kind = answer.content_type or "nothing"
            raise ModelError(Failure(Kind.LOST, f"{answer.host}: answers with {kind} where a transcript was asked for"))

    def _fields(self) -> dict[str, str]:
        fields = {"model": self._http.settings.model, "response_format": "json"}
        if self._language:
            fields["language"] = self._language
        if self._streams:
            fields["stream"] = "true"
        return fields

    def _bounded(self, pcm: bytes) -> bytes:
        if len(pcm) <= FILE_BYTES_MAX - HEADER_BYTES:
            return pcm
        log.warning("endpoint %s: more was said than 25 MiB, the rest is not heard", self._http.settings.name)
        return pcm[: FILE_BYTES_MAX - HEADER_BYTES]


@frozen
class LocalEars:
    """Ears on this machine: `hear` takes s16le mono at 24 kHz and gives the words, or none.

    It may raise RuntimeError, OSError or ValueError, in words for the owner.
    """

    _hear: Callable[[bytes], Awaitable[str | None]]

    async def run(self) -> None:
        """See Ears. Whoever made `hear` keeps what it needs."""
        await trio.sleep_forever()

    async def check(self) -> None:
        """See Ears. Its first question will show."""

    async def transcribe(self, utterance: Utterance, partial: Callable[[str], None]) -> str:
        """See Ears."""
        try:
            return (await self._hear(utterance.since(0)) or "")[:TEXT_MAX]
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelError(Failure(Kind.ERROR, f"hearing on this machine: {error}")) from None


async def _streamed(answer: Answer, partial: Callable[[str], None]) -> str:
    text = ""
    async for data in answer.events():
        event = _object(answer, data)
        kind = event.get("type")
        if kind == "transcript.text.delta" and isinstance(event.get("delta"), str):
            text = (text + event["delta"])[:TEXT_MAX]
            partial(text)
        elif kind == "transcript.text.done":
            done = event.get("text")
            return encodable(done if isinstance(done, str) else text)[:TEXT_MAX].strip()
    raise ModelError(Failure(Kind.LOST, f"{answer.host}: its transcript broke off"))


def _whole(answer: Answer, body: bytes) -> str:
    text = _object(answer, body).get("text")
    if not isinstance(text, str):
        raise ModelError(Failure(Kind.LOST, f"{answer.host}: its answer holds no transcript"))
    return encodable(text)[:TEXT_MAX].strip()


def _object(answer: Answer, data: str | bytes) -> dict[str, Any]:
    """What is no object says nothing; an error is raised."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    if is_error(found):
        raise ModelError(told_in_answer(answer.host, found, answer.sent))
    return found
