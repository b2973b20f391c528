"""Plain HTTP to an endpoint: requests whose answer is read as it comes, each failure as a `ModelError`.

TCP, proxy and TLS are those of the WebSockets, with their failures. Only with an endpoint that speaks HTTP is this
module, and with it httpx, loaded.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import httpcore
import httpx
import httpx_sse
import trio
from attrs import define, evolve

from kioskd import __version__
from kioskd.config.addresses import is_loopback
from kioskd.config.schema import Endpoint
from kioskd.config.secrets import SHOWN_PARAMETERS
from kioskd.endpoints.failures import DialError, Headers, excerpt, refused_upgrade
from kioskd.endpoints.http_wire import Wire
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import ModelError
from kioskd.realtime import dialects

log = logging.getLogger(__name__)
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)  # below it they tell every address, which may hold a key

EVENT_STREAM = "text/event-stream"
LINE_BYTES_MAX = 4 * 2**20  # seconds of sound in base64 come in one line; more than that is no answer to a visitor
BODY_BYTES_MAX = 32 * 2**20  # an answer of minutes, as sound in base64
ERROR_BYTES_MAX = 64 * 1024  # of an answer that refuses: its message is at the beginning
REFUSAL_S = 5.0  # for the body of an answer that refuses: its status has said the most
DRAIN_S = 0.25  # what follows the last event is an empty chunk: waiting longer is no cheaper than another connection
DEFAULT_PORTS = {"https": 443, "http": 80}
_HARMLESS = frozenset(  # headers whose values a refusal may repeat
    b"host accept accept-encoding cache-control connection content-length content-type user-agent openai-beta".split()
)


class _Client(httpx.AsyncClient):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        super().__init__(
            transport=wire,
            timeout=None,  # ours are in `open_stream`: httpx has none for the whole
            trust_env=False,  # the settings name the proxy
            follow_redirects=False,  # it would hand the key to another
        )


class HeldBackError(ModelError):
    """It agreed, or seems to, but nothing of its answer came: as behind a proxy that collects a stream."""


def client_for(settings: Endpoint) -> httpx.AsyncClient:
    """A client that goes the endpoint's way. To be closed; also by a cancelled task, since closing waits for nobody."""
    return _Client(Wire(settings))


def address(settings: Endpoint, url: str, key: str) -> str:
    """The address of a request: with the endpoint's own query, and the key where `auth` wants it there."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = {name for name, _ in query}
    query += [(name, value) for name, value in settings.query.items() if name not in given]
    return dialects.with_key(settings, urlunsplit(parts._replace(query=urlencode(query), fragment="")), key)


def request_for(
    client: httpx.AsyncClient,
    settings: Endpoint,
    key: str,
    url: str,
    *,
    method: str = "POST",
    accept: str = "application/json",
    json: object | None = None,
    data: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> httpx.Request:
    """A request to `url` with the key as `settings.auth` says. Raises ModelError for a key that nothing can carry."""
    try:
        headers = dialects.headers(settings, key)
    except ValueError as error:
        raise ModelError(Failure(Kind.KEY, str(error))) from None
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise ModelError(Failure(Kind.SETTINGS, "the url is no address such as https://host/v1/chat/completions"))
    if parts.scheme == "http" and not settings.plain_text_allowed and not is_loopback(host):
        message = f"{host}: words and key would travel in plain text; use https:// in the url"
        raise ModelError(Failure(Kind.SETTINGS, message))
    own = [
        (b"Accept", accept.encode()),
        (b"Accept-Encoding", b"identity"),  # a stream that is compressed is a stream that is held back
        (b"Cache-Control", b"no-cache"),
        (b"User-Agent", f"kioskd/{__version__}".encode()),
    ]
    return client.build_request(
        method, address(settings, url, key), headers=[*own, *headers], json=json, data=data, files=files
    )


@asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, settings: Endpoint, request: httpx.Request, *, first_s: float | None = None
) -> AsyncIterator[Answer]:
    """Send the request; the answer of a server that agrees, to be read inside. Its deadlines are `settings.http`.

    `first_s`: how long the first byte of its body may take from now on, before HeldBackError. Raises ModelError.
    """
    host = request.url.host
    began = trio.current_time()
    total_at = began + settings.http.total_timeout_s
    sent = _secrets(request)
    patience = min(settings.http.answer_timeout_s, settings.http.total_timeout_s)
    with _explained(host, sent):
        response = None
        with trio.move_on_after(patience if first_s is None else min(first_s, patience)):
            response = await _send(client, request)
        if response is None and first_s is not None and first_s < patience:
            raise HeldBackError(Failure(Kind.SILENCE, f"{host}: no answer to a streaming request within {first_s:g} s"))
        if response is None:
            waited = f"no answer within {patience:g} s (http.answer_timeout_s)"
            raise ModelError(Failure(Kind.SILENCE, f"{host}: {waited}"))
    answer = Answer(response, settings, sent, total_at, None if first_s is None else began + first_s)
    try:
        if response.status_code != 200:
            raise ModelError(await answer.refusal())
        yield answer
    finally:
        await answer.leave()


class Answer:
    """An answer of status 200. Read by one of `events`, `pieces` and `body`, once."""

    def __init__(
        self, response: httpx.Response, settings: Endpoint, sent: Headers, total_at: float, first_at: float | None
    ) -> None:
        self.host = response.request.url.host
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.size = 0  # bytes of its body that came
        self.sent = sent  # what its words may repeat, and no text may show
        self._response = response
        self._raw = response.aiter_raw()
        self._events: AsyncIterator[httpx_sse.ServerSentEvent] | None = None
        self._pause_s = settings.http.stream_timeout_s
        self._total_s = settings.http.total_timeout_s
        self._total_at = total_at
        self._first_at = first_at
        self._over = False

    def pieces(self, limit: int = BODY_BYTES_MAX) -> AsyncIterator[bytes]:
        """The body as it comes, however it was cut into pieces. Raises ModelError, also where it outgrows `limit`."""
        return _Pieces(self, limit)

    async def body(self, limit: int = BODY_BYTES_MAX) -> bytes:
        """All of the body. Raises ModelError, also where it is larger than `limit`."""
        whole = bytearray()
        while (piece := await self._next()) is not None:
            whole += piece
            self._bound(limit)
        return bytes(whole)

    def events(self) -> AsyncIterator[str]:
        """The data of each server-sent event, until the body ends (not at `[DONE]`). Raises ModelError."""
        if self.content_type != EVENT_STREAM:
            kind = self.content_type or "nothing"
            failure = Failure(Kind.LOST, f"{self.host}: answers with {kind} where a stream of events was asked for")
            raise ModelError(failure)
        source = httpx.Response(
            200,
            headers={"content-type": EVENT_STREAM},
            stream=_Lines(self),
            default_encoding="utf-8-sig",  # whatever it calls itself; a mark at the beginning doesn't count
        )
        events = httpx_sse.EventSource(source).aiter_sse()
        self._events = events
        return _Data(events)

    async def refusal(self) -> Failure:
        """Why it refuses, from its status, headers and as much of its body as comes soon."""
        body = bytearray()
        with trio.move_on_after(REFUSAL_S):
            try:
                while len(body) < ERROR_BYTES_MAX and (piece := await self._next()) is not None:
                    body += piece
            except ModelError:
                pass  # its status says enough
        response = self._response
        found = refused_upgrade(self.host, response.status_code, response.headers.raw, bytes(body), self.sent)
        return evolve(found, kind=Kind.ERROR)

    async def leave(self) -> None:
        """Nothing more of it is wanted. What is whole leaves its connection to the next request."""
        hurried = self._events is None or trio.current_effective_deadline() < trio.current_time()
        with trio.CancelScope(shield=True):
            # The libraries' generators end by themselves, or by an exception within: to drop them is no end.
            with trio.move_on_after(0 if hurried else DRAIN_S), suppress(ModelError):
                while await self._next() is not None:
                    pass
            self._over = True
            if self._events is not None:
                async for _ in self._events:
                    pass
            await self._response.aclose()

    async def _next(self) -> bytes | None:
        """The next piece; None at the end."""
        if self._over:
            return None
        now = trio.current_time()
        held_back = self._first_at is not None and not self.size
        until = self._first_at if held_back and self._first_at is not None else now + self._pause_s
        with _explained(self.host, self.sent), trio.move_on_at(min(until, self._total_at)):
            try:
                piece = await anext(self._raw)
            except StopAsyncIteration:
                self._over = True
                return None
            except Exception:
                self._over = True
                raise
            self.size += len(piece)
            return piece
        self._over = True
        if self._total_at <= until:
            said = f"its answer is not whole within {self._total_s:g} s (http.total_timeout_s)"
        elif held_back:
            failure = Failure(Kind.SILENCE, f"{self.host}: holds its stream back; does a proxy on the way collect it?")
            raise HeldBackError(failure)
        else:
            said = f"nothing for {self._pause_s:g} s in the middle of its answer (http.stream_timeout_s)"
        raise ModelError(Failure(Kind.SILENCE, f"{self.host}: {said}"))

    def _bound(self, limit: int) -> None:
        if self.size > limit:
            raise ModelError(Failure(Kind.LOST, f"{self.host}: its answer is larger than {limit / 2**20:g} MiB"))


@define(eq=False)
class _Pieces:
    _answer: Answer
    _limit: int

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._answer._next()
        if piece is None:
            raise StopAsyncIteration
        self._answer._bound(self._limit)
        return piece


@define(eq=False)
class _Lines(httpx.AsyncByteStream):
    """The body for the reader of events: bounded in its lines, and its last event ended."""

    _answer: Answer
    _line: int = 0
    _ended: bool = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        piece = await self._answer._next()
        if piece is None:
            self._ended = True
            return b"\n\n"  # some leave the last empty line out
        self._answer._bound(BODY_BYTES_MAX)
        newest = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        self._line = self._line + len(piece) if newest < 0 else len(piece) - newest - 1
        if self._line > LINE_BYTES_MAX:
            message = f"{self._answer.host}: a line of its stream is longer than {LINE_BYTES_MAX // 2**20} MiB"
            raise ModelError(Failure(Kind.LOST, message))
        return piece


@define(eq=False)
class _Data:
    """What is in the events; those without data say nothing."""

    _events: AsyncIterator[httpx_sse.ServerSentEvent]

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not (data := (await anext(self._events)).data):
            pass
        return data


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    opened = client.wire.opened if isinstance(client, _Client) else 0
    try:
        return await client.send(request, stream=True)
    except (httpcore.NetworkError, httpcore.RemoteProtocolError):
        if not isinstance(client, _Client) or client.wire.opened != opened:
            raise
    return await client.send(request, stream=True)  # the connection was an old one, closed as we began to write


def _secrets(request: httpx.Request) -> Headers:
    """What of a request an answer may repeat in its words, and no text may show."""
    sent = [(name, value) for name, value in request.headers.raw if name.lower() not in _HARMLESS]
    for name, value in parse_qsl(urlsplit(str(request.url)).query):
        if name not in SHOWN_PARAMETERS:
            sent += [(b"", value.encode()), (b"", quote(value, safe="").encode())]
    return sent


@contextmanager
def _explained(host: str, sent: Headers) -> Iterator[None]:
    """Whatever goes wrong on the way, as a ModelError."""
    try:
        yield
    except DialError as error:
        raise ModelError(error.failure) from None
    except (httpcore.RemoteProtocolError, httpcore.NetworkError, httpx.TransportError, httpx.StreamError) as error:
        why = excerpt(str(error).encode("utf-8", "replace"), sent) or "the connection broke off"
        raise ModelError(Failure(Kind.LOST, f"{host}: {why[:1].lower()}{why[1:]}")) from None
    except (httpcore.LocalProtocolError, httpx.InvalidURL):
        message = f"{host}: the request holds what HTTP can't carry; look at the endpoint's headers and query"
        raise ModelError(Failure(Kind.SETTINGS, message)) from None
