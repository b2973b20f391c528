"""Chat chunks over a WebSocket, the key in a header or in the address."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import trio

from kioskd.config.schema import Endpoint
from kioskd.endpoints.failures import told_in_answer
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.text import chat_messages
from kioskd.endpoints.text.chat_chunks import MORE_S, AnswerError, ChatAnswer
from kioskd.endpoints.text.kept_socket import KeptSocket, Wire
from kioskd.endpoints.text.model import Finish, ModelError, Request, Take
from kioskd.endpoints.text.patience import Patience
from kioskd.endpoints.text.shops import with_hint

_NAMES_ITS_MODEL = "/ws/stream"  # the one path that wants the model in the address, too
_LOST = (Kind.LOST, Kind.SILENCE)


def address(settings: Endpoint) -> str:
    """The socket's address, without the key."""
    parts = urlsplit(settings.url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    wanted = dict(settings.query)
    if parts.path.rstrip("/").endswith(_NAMES_ITS_MODEL):
        wanted = {settings.model_parameter: settings.model, "stream": "true"} | wanted
    given = {name for name, _ in query}
    query += [(name, value) for name, value in wanted.items() if name not in given]
    return urlunsplit(parts._replace(query=urlencode(query), fragment=""))


class ChatOverSocket:
    """A `TextModel` (see `model`)."""

    def __init__(
        self, settings: Endpoint, read_key: Callable[[], str], *, jitter: Callable[[], float] = random.random
    ) -> None:
        self._settings = settings
        self._socket = KeptSocket(settings, read_key, address(settings))
        self._last_id = ""

    async def run(self) -> None:
        """Keep the connection."""
        await self._socket.run()

    async def check(self) -> None:
        """See TextModel: it opens the connection, which asks for the key, and keeps it for the next question."""
        await self._socket.check()

    async def answer(self, request: Request, take: Take) -> Finish:
        """See TextModel."""
        wire = await self._socket.wire()
        found = ChatAnswer(request.turn, self._last_id if wire.used else "")
        try:
            try:
                return await self._answer_on(wire, found, request, take)
            except ModelError as error:
                if not wire.used or found.began or error.failure.kind is not Kind.LOST:
                    raise
            wire = await self._socket.wire(new=True)  # it had been closed meanwhile
            found = ChatAnswer(request.turn)
            return await self._answer_on(wire, found, request, take)
        except ModelError as error:
            raise ModelError(with_hint(error.failure, wire.host, wire.key)) from None

    def forget(self) -> None:
        """Nothing is kept there."""

    async def _answer_on(self, wire: Wire, found: ChatAnswer, request: Request, take: Take) -> Finish:
        patience = Patience(self._settings)
        whole = False
        try:
            await wire.ask(json.dumps(chat_messages.body(self._settings, request, stream=True), ensure_ascii=False))
            try:
                await self._read(wire, found, patience, take)
            except ModelError as error:
                if error.failure.kind not in _LOST or not (found.spoke or found.finished):
                    raise
            whole = found.finished or found.done
        finally:
            if whole:
                wire.answered()
                self._last_id = found.answer_id
            else:  # there is no word for "stop"; the next question finds an open one
                wire.drop()
                self._socket.want()
        events, finish = found.end()
        for event in events:
            take(event)
        return finish

    async def _read(self, wire: Wire, found: ChatAnswer, patience: Patience, take: Take) -> None:
        while not found.over:
            until, waited = patience.next(began=found.began)
            if found.finished:
                with trio.move_on_after(MORE_S):
                    self._feed(wire, found, await wire.receive(until, waited), take)
                    continue
                return
            self._feed(wire, found, await wire.receive(until, waited), take)

    def _feed(self, wire: Wire, found: ChatAnswer, message: str, take: Take) -> None:
        try:
            events = found.feed(message)
        except AnswerError as error:
            raise ModelError(told_in_answer(wire.host, error.told, wire.sent)) from None
        for event in events:
            take(event)
