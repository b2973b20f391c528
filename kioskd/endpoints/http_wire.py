"""TCP, proxy and TLS of plain HTTP requests: those of the WebSockets, under httpx, with their failures."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpcore
import httpx
import trio
from attrs import define

from kioskd.config.schema import Endpoint
from kioskd.endpoints import tcp, tls
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.policy import Failure, Kind

KEPT_ALIVE_S = 30.0  # servers and firewalls close an idle connection after 30 to 60 s
CONNECTIONS = 4  # the words, two sentences of speech, a check


class Wire(httpx.AsyncBaseTransport):
    """httpx over connections of our own making. What it raises is DialError, or of httpcore."""

    def __init__(self, settings: Endpoint) -> None:
        self._backend = _Backend(settings)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # not used: see _Stream.start_tls
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=KEPT_ALIVE_S,
            network_backend=self._backend,
        )

    @property
    def opened(self) -> int:
        """How many connections were opened so far."""
        return self._backend.opened

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = await self._pool.handle_async_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        """See httpx."""
        with trio.CancelScope(shield=True):
            await self._pool.aclose()


@define(eq=False)
class _Body(httpx.AsyncByteStream):
    _answer: httpcore.Response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.aiter_stream()

    async def aclose(self) -> None:
        await self._answer.aclose()


@define(eq=False)
class _Backend(httpcore.AsyncNetworkBackend):
    _settings: Endpoint
    opened: int = 0

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """TCP, through the proxy where there is one. Raises DialError."""
        settings = self._settings
        deadline = trio.current_time() + settings.open_timeout_s
        with trio.move_on_at(deadline):
            stream = await tcp.connect(host, port, settings.proxy)
            self.opened += 1
            return _Stream(stream, settings, deadline, host)
        raise DialError(_too_late(settings, host))

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await trio.sleep(seconds)


@define(eq=False)
class _Stream(httpcore.AsyncNetworkStream):
    _stream: trio.SocketStream | tls.TlsStream
    _settings: Endpoint
    _deadline: float  # of the handshake, on trio's clock
    _host: str

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise httpcore.ReadError("the connection broke off") from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            if buffer:
                await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise httpcore.WriteError("the connection broke off") from None

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """With the process's own context, whatever httpcore hands over. Raises DialError."""
        assert isinstance(self._stream, trio.SocketStream)
        try:
            with trio.move_on_at(self._deadline):
                encrypted = await tls.encrypt(self._stream, self._host, self._settings.extra_ca)
                return _Stream(encrypted, self._settings, self._deadline, self._host)
            raise DialError(_too_late(self._settings, self._host))
        except BaseException:
            await trio.aclose_forcefully(self._stream)
            raise

    def get_extra_info(self, info: str) -> Any:
        """Only what decides whether a kept connection is still one."""
        return self._stream.socket.is_readable() if info == "is_readable" else None


def _too_late(settings: Endpoint, host: str) -> Failure:
    return Failure(Kind.SILENCE, f"{host}: no connection within {settings.open_timeout_s:g} s (open_timeout_s)")
