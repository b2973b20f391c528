"""Who speaks what a text model wrote.

Source: `openai/types/audio/speech_create_params.py`; the answer is raw s16le mono at 24 kHz, in pieces of any length.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import trio
from attrs import define, field, frozen

from kioskd.config.schema import Endpoint
from kioskd.endpoints.failures import refuses_field, told_in_answer
from kioskd.endpoints.http_stream import Answer, open_stream, request_for
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.chat_chunks import is_error
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.voice.helper import HelperOverHttp, speech_endpoint
from kioskd.endpoints.voice.wav import RATE_HZ, SAMPLE_BYTES

CHARACTERS_MAX = 4096  # of one request: the endpoint's own bound
LOCAL_CHARACTERS_MAX = 2000  # of one child's work: two minutes, so that the first comes soon
SOUND_BYTES_MAX = 600 * RATE_HZ * SAMPLE_BYTES  # of one request: 4096 characters take five minutes
ERROR_BYTES_MAX = 64 * 1024
_ENDS = (". ", "! ", "? ", "。", "\uff01", "\uff1f", "\n")
_RAW = frozenset({"audio/pcm", "audio/x-pcm", "audio/raw", "application/octet-stream", "binary/octet-stream", ""})
_FILES = (b"RIFF", b"ID3", b"OggS", b"fLaC")  # what some send whatever was asked for: played raw, it is loud noise


class Voice(Protocol):
    """Speaks; several texts at a time may be asked of it."""

    async def run(self) -> None:
        """Keep what connections or children it needs, until cancelled."""

    async def check(self) -> None:
        """Whether it would speak, at no cost. Raises text.model.ModelError."""

    async def speak(self, text: str, take: Callable[[bytes], None]) -> None:
        """Hand the sound to `take` as it comes (in the trio thread): s16le mono at 24 kHz, whole samples.

        Raises text.model.ModelError, perhaps after some of it. Cancelled, it stops at once.
        """


class SpeechOverHttp:
    """A Voice. `read_key` finds the speech's own key, which is the endpoint's unless `speech.key` names another."""

    def __init__(self, settings: Endpoint, read_key: Callable[[], str]) -> None:
        self._http = HelperOverHttp(speech_endpoint(settings), read_key)
        self._names_stream = True

    async def run(self) -> None:
        """See Voice."""
        await self._http.run()

    async def check(self) -> None:
        """See Voice."""
        await self._http.check()

    async def speak(self, text: str, take: Callable[[bytes], None]) -> None:
        """See Voice. A server that doesn't know `stream_format` is asked without, from then on."""
        for part in parts_of(text, CHARACTERS_MAX):
            try:
                await self._ask(part, take)
            except ModelError as error:
                if not (self._names_stream and refuses_field(error.failure, "stream_format")):
                    raise
                self._names_stream = False
                await self._ask(part, take)

    async def _ask(self, text: str, take: Callable[[bytes], None]) -> None:
        settings = self._http.settings
        body = {"model": settings.model, "voice": settings.speech.voice, "input": text, "response_format": "pcm"}
        if self._names_stream:
            body["stream_format"] = "audio"
        request = request_for(self._http.client, settings, self._http.key(), settings.url, accept="audio/*", json=body)
        async with open_stream(self._http.client, settings, request) as answer:
            if answer.content_type not in _RAW:
                raise ModelError(await _instead_of_sound(answer))
            samples = WholeSamples(take)
            async for piece in answer.pieces(SOUND_BYTES_MAX):
                samples.add(piece)
                if samples.first.startswith(_FILES):
                    message = f"{answer.host}: answers with a sound file where raw sound was asked for (pcm)"
                    raise ModelError(Failure(Kind.SETTINGS, message))
            samples.end()
            if not samples.size:
                raise ModelError(Failure(Kind.LOST, f"{answer.host}: its answer holds no sound"))


@frozen
class LocalVoice:
    """A Voice on this machine: `synthesise` gives s16le mono at 24 kHz for a text.

    It may raise RuntimeError, OSError or ValueError, in words for the owner.
    """

    _synthesise: Callable[[str], Awaitable[bytes]]

    async def run(self) -> None:
        """See Voice. Its children live as long as their text."""
        await trio.sleep_forever()

    async def check(self) -> None:
        """See Voice. Its first text will show."""

    async def speak(self, text: str, take: Callable[[bytes], None]) -> None:
        """See Voice."""
        for part in parts_of(text, LOCAL_CHARACTERS_MAX):
            try:
                pcm = await self._synthesise(part)
            except (RuntimeError, OSError, ValueError) as error:
                raise ModelError(Failure(Kind.ERROR, f"speech on this machine: {error}")) from None
            if pcm := pcm[: len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES]:
                take(pcm)


@define(eq=False)
class WholeSamples:
    """Puts the halves of a sample together that came in two pieces, and looks at the first bytes before they go."""

    _take: Callable[[bytes], None]
    first: bytes = field(default=b"", init=False)
    """The first bytes, up to the longest mark of a sound file."""
    size: int = field(default=0, init=False)
    _left: bytes = field(default=b"", init=False)

    def add(self, piece: bytes) -> None:
        """The next piece. It goes on once it is known to be no file."""
        self._left += piece
        if len(self.first) < len(_FILES[0]):
            self.first = self._left[: len(_FILES[0])]
        if len(self.first) == len(_FILES[0]) and not self.first.startswith(_FILES):
            self._hand_on()

    def end(self) -> None:
        """No more comes; half a sample is none."""
        self._hand_on()

    def _hand_on(self) -> None:
        whole = len(self._left) // SAMPLE_BYTES * SAMPLE_BYTES
        if whole:
            sound, self._left = self._left[:whole], self._left[whole:]
            self.size += whole
            self._take(sound)


def parts_of(text: str, limit: int) -> Iterator[str]:
    """The text in parts of at most `limit` characters, cut behind a sentence or else at a blank, if there is one."""
    text = text.strip()
    while len(text) > limit:
        view = text[:limit]
        at = max(view.rfind(mark, limit // 2) for mark in _ENDS) + 1 or view.rfind(" ") + 1 or limit
        yield text[:at].rstrip()
        text = text[at:].lstrip()
    if text:
        yield text


async def _instead_of_sound(answer: Answer) -> Failure:
    """What else it answers with."""
    kind = answer.content_type
    if kind.endswith("json"):
        try:
            told = json.loads(await answer.body(ERROR_BYTES_MAX))
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict) and is_error(told):
            return told_in_answer(answer.host, told, answer.sent)
    if kind.startswith("audio/"):
        return Failure(Kind.SETTINGS, f"{answer.host}: answers with {kind} where raw sound was asked for (pcm)")
    return Failure(Kind.LOST, f"{answer.host}: answers with {kind} where sound was asked for")
