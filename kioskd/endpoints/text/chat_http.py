"""Chat over plain HTTP: streamed as server-sent events, or in one piece where no stream gets through."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import trio

from kioskd.config.schema import Endpoint, Transport
from kioskd.endpoints.failures import refuses_field, told_in_answer
from kioskd.endpoints.http_stream import EVENT_STREAM, Answer, HeldBackError, client_for, open_stream, request_for
from kioskd.endpoints.loud import LoudOnce
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text import chat_messages
from kioskd.endpoints.text.chat_chunks import AnswerError, ChatAnswer
from kioskd.endpoints.text.chat_stream import read_chunks
from kioskd.endpoints.text.checking import KeyCheck
from kioskd.endpoints.text.model import Finish, ModelError, Request, Take, TextEvent
from kioskd.endpoints.text.shops import with_hint

log = logging.getLogger(__name__)

FIRST_WORD_S = 6.0  # no byte of a stream until then: a proxy collects it; half of the time that a visitor waits
PLAIN_FOR_S = 900.0  # a proxy that collects streams is not mended within minutes
_LOST = (Kind.LOST, Kind.SILENCE)


class ChatOverHttp:
    """A `TextModel` (see `model`)."""

    def __init__(
        self, settings: Endpoint, read_key: Callable[[], str], *, jitter: Callable[[], float] = random.random
    ) -> None:
        self._settings = settings
        self._read_key = read_key
        self._jitter = jitter
        self._client = client_for(settings)
        self._check = KeyCheck(settings)
        self._plain_until = 0.0
        self._patience_s = FIRST_WORD_S
        self._counts = True  # the stream may be asked for its tokens
        self._loud = LoudOnce(log)

    @property
    def credits(self) -> float | None:
        """See `checking`."""
        return self._check.credits

    @property
    def streams(self) -> bool:
        """Whether the next answer is asked for as a stream."""
        return self._settings.transport is not Transport.PLAIN and trio.current_time() >= self._plain_until

    async def run(self) -> None:
        """Its connections live as long as this."""
        try:
            await trio.sleep_forever()
        finally:
            await self._client.aclose()
            self._client = client_for(self._settings)

    async def check(self) -> None:
        """See TextModel."""
        await self._check.run(self._client, self._key())

    async def answer(self, request: Request, take: Take) -> Finish:
        """See TextModel."""
        key = self._key()
        try:
            if self._settings.transport is Transport.PLAIN or trio.current_time() < self._plain_until:
                return await self._plain(request, key, take)
            return await self._streamed_or_plain(request, key, take)
        except ModelError as error:
            host = urlsplit(self._settings.url).hostname or ""
            raise ModelError(with_hint(error.failure, host, key)) from None

    def forget(self) -> None:
        """Nothing is kept there."""

    def _key(self) -> str:
        try:
            return self._read_key()
        except (OSError, ValueError) as error:
            raise ModelError(Failure(Kind.KEY, str(error))) from None

    async def _streamed_or_plain(self, request: Request, key: str, take: Take) -> Finish:
        spoke = False

        def taking(event: TextEvent) -> None:
            nonlocal spoke
            spoke = True
            take(event)

        try:
            try:
                return await self._streamed(request, key, taking)
            except ModelError as error:
                if spoke or not (self._counts and refuses_field(error.failure, "stream_options")):
                    raise
                self._counts = False
                return await self._streamed(request, key, taking)
        except HeldBackError as error:
            return await self._instead(error.failure, request, key, take)
        except _WrongTypeError as error:
            self._be_plain(error.failure)
        except ModelError as error:
            if spoke or not refuses_field(error.failure, "stream"):  # what is asked again would be said again
                raise
            self._be_plain(error.failure)
        return await self._plain(request, key, take)

    async def _instead(self, failure: Failure, request: Request, key: str, take: Take) -> Finish:
        """In one piece, after a stream that didn't come. What takes as long in one piece is slow, and not held back."""
        began = trio.current_time()
        finish = await self._plain(request, key, take)
        if trio.current_time() - began < self._patience_s:
            self._be_plain(failure)
        else:
            self._patience_s = min(2 * self._patience_s, self._settings.http.answer_timeout_s)
        return finish

    def _be_plain(self, failure: Failure) -> None:
        self._plain_until = trio.current_time() + PLAIN_FOR_S * (1 + 0.1 * self._jitter())
        minutes = round(PLAIN_FOR_S / 60)
        what = f"{failure.message}; asked in one piece for {minutes} min (transport: plain would be at once)"
        self._loud.tell("plain", f"endpoint {self._settings.name}: {what}")

    async def _streamed(self, request: Request, key: str, take: Take) -> Finish:
        body = chat_messages.body(self._settings, request, stream=True, count=self._counts)
        asked = request_for(self._client, self._settings, key, self._settings.url, accept=EVENT_STREAM, json=body)
        found = ChatAnswer(request.turn)
        async with open_stream(self._client, self._settings, asked, first_s=self._patience_s) as answer:
            if answer.content_type.endswith("json"):  # it has never heard of streams, but this is the answer
                return await self._read_whole(answer, found, take)
            if answer.content_type != EVENT_STREAM:
                kind = answer.content_type or "nothing"
                message = f"{answer.host}: answers with {kind} where a stream of events was asked for"
                raise _WrongTypeError(Failure(Kind.LOST, message))
            try:
                await read_chunks(answer, found, lambda data: _hand_on(_told(answer, found, data), take))
            except ModelError as error:
                if error.failure.kind not in _LOST or not (found.spoke or found.finished):
                    raise
            if not found.began:
                raise ModelError(Failure(Kind.LOST, f"{answer.host}: its stream ended before it began"))
        return _end(found, take)

    async def _plain(self, request: Request, key: str, take: Take) -> Finish:
        body = chat_messages.body(self._settings, request, stream=False)
        asked = request_for(self._client, self._settings, key, self._settings.url, json=body)
        async with open_stream(self._client, self._settings, asked) as answer:
            return await self._read_whole(answer, ChatAnswer(request.turn), take)

    async def _read_whole(self, answer: Answer, found: ChatAnswer, take: Take) -> Finish:
        body = (await answer.body()).decode("utf-8", "replace")
        try:
            events = found.whole(body)
        except AnswerError as error:
            raise ModelError(told_in_answer(answer.host, error.told, answer.sent)) from None
        _hand_on(events, take)
        return _end(found, take)


class _WrongTypeError(ModelError):
    """Neither a stream nor an answer."""


def _told(answer: Answer, found: ChatAnswer, data: str) -> list[TextEvent]:
    try:
        return found.feed(data)
    except AnswerError as error:
        raise ModelError(told_in_answer(answer.host, error.told, answer.sent)) from None


def _end(found: ChatAnswer, take: Take) -> Finish:
    events, finish = found.end()
    _hand_on(events, take)
    return finish


def _hand_on(events: Iterable[TextEvent], take: Take) -> None:
    for event in events:
        take(event)
