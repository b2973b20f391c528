"""Responses over a WebSocket: many questions a connection, and only what is new of a conversation on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from attrs import evolve

from kioskd.config.schema import Endpoint, Envelope
from kioskd.endpoints.failures import told_in_answer
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.text import responses
from kioskd.endpoints.text.chat_chunks import AnswerError
from kioskd.endpoints.text.kept_socket import KeptSocket, Wire
from kioskd.endpoints.text.model import Finish, ModelError, Request, Take
from kioskd.endpoints.text.patience import Patience
from kioskd.endpoints.text.responses import Known, ResponseAnswer
from kioskd.endpoints.text.shops import with_hint

ATTEMPTS = 3  # the connection was too old, and then the server knew nothing: each of the two comes once
_LOST = (Kind.LOST, Kind.SILENCE)


def address(settings: Endpoint) -> str:
    """The socket's address, without the key. The model is in each request."""
    parts = urlsplit(settings.url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = {name for name, _ in query}
    query += [(name, value) for name, value in settings.query.items() if name not in given]
    return urlunsplit(parts._replace(query=urlencode(query), fragment=""))


class ResponsesOverSocket:
    """A `TextModel` (see `model`)."""

    def __init__(
        self, settings: Endpoint, read_key: Callable[[], str], *, jitter: Callable[[], float] = random.random
    ) -> None:
        if settings.envelope is Envelope.NESTED and settings.beta_header is None:
            settings = evolve(settings, beta_header=True)  # its door is the Realtime one
        self._settings = settings
        self._socket = KeptSocket(settings, read_key, address(settings))
        self._known: Known | None = None
        self._known_on: Wire | None = None  # what it knows lives and dies with its connection
        self._last_id = ""

    async def run(self) -> None:
        """Keep the connection."""
        await self._socket.run()

    async def check(self) -> None:
        """See TextModel: it opens the connection, which asks for the key, and keeps it for the next question."""
        await self._socket.check(settles=self._settings.envelope is Envelope.NESTED)  # as the Realtime door does

    def forget(self) -> None:
        """See TextModel."""
        self._known = self._known_on = None

    async def answer(self, request: Request, take: Take) -> Finish:
        """See TextModel."""
        wire = await self._socket.wire()
        for attempt in range(1, ATTEMPTS + 1):
            found = ResponseAnswer(request.turn, self._last_id if wire.used else "")
            try:
                return await self._answer_on(wire, found, request, take)
            except ModelError as error:
                code = error.failure.code
                stale = wire.used and not found.began and error.failure.kind is Kind.LOST
                if found.spoke or attempt == ATTEMPTS:
                    again = False
                elif code == responses.NOT_FOUND:
                    again = self._known is not None  # it has forgotten: everything, on the same connection
                    self.forget()
                else:
                    again = stale or code in responses.LIMIT_REACHED
                    if again:
                        self.forget()
                if not again:
                    raise ModelError(with_hint(error.failure, wire.host, wire.key)) from None
            wire = await self._socket.wire(new=code != responses.NOT_FOUND)
        raise AssertionError("the last attempt returns or raises")

    async def _answer_on(self, wire: Wire, found: ResponseAnswer, request: Request, take: Take) -> Finish:
        known = self._known if self._settings.server_keeps and self._known_on is wire else None
        over = False
        patience = Patience(self._settings)
        try:
            await wire.ask(responses.create(self._settings, request, known))
            while not found.status:
                until, waited = patience.next(began=found.began)
                message = await wire.receive(until, waited)
                try:
                    events = found.feed(message)
                except AnswerError as error:
                    failure = told_in_answer(wire.host, error.told, wire.sent)
                    over = failure.code not in responses.LIMIT_REACHED
                    raise ModelError(failure) from None
                for event in events:
                    take(event)
            over = True
        except ModelError as error:
            if error.failure.kind not in _LOST or not found.spoke:
                raise
        finally:
            self._after(wire, found, request, over=over)
        ends, finish = found.end()
        for event in ends:
            take(event)
        return finish

    def _after(self, wire: Wire, found: ResponseAnswer, request: Request, *, over: bool) -> None:
        if over:
            wire.answered()
            self._last_id = found.response_id or self._last_id
            if (known := found.known(request)) is not None:
                self._known, self._known_on = known, wire
            return
        # The wire has no word for "stop", and takes one question at a time: the next one finds another connection.
        self.forget()
        wire.drop()
        self._socket.want()
