"""From an endpoint's settings to an open WebSocket: TCP, proxy, TLS, upgrade, each with its own clear failure."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio
from attrs import frozen

from kioskd.config.addresses import is_loopback
from kioskd.config.schema import Endpoint
from kioskd.endpoints import tcp, tls
from kioskd.endpoints.failures import DialError as DialError
from kioskd.endpoints.failures import Headers, excerpt, refused_upgrade
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.upgrade import NoWebSocket, UpgradeCut, UpgradeRefused
from kioskd.endpoints.websocket import WebSocket

MAX_MESSAGE_BYTES = 16 * 2**20  # messages of 3.4 MB were seen
REFUSAL_BYTES = 64 * 1024  # header and body of a refused upgrade
DEFAULT_PORTS = {"wss": 443, "ws": 80}


@asynccontextmanager
async def dial(settings: Endpoint, headers: Headers, url: str) -> AsyncIterator[WebSocket]:
    """An open WebSocket at `url`, closed politely (within `close_timeout_s`) on leaving, also when cancelled.

    Raises DialError where it can't be opened.
    """
    target = _target_of(settings, url)
    deadline = trio.current_time() + settings.open_timeout_s
    stream = await _open_stream(settings, target, deadline)
    try:
        connection = await _upgrade(stream, settings, headers, target, deadline)
        try:
            yield connection
        finally:
            with trio.move_on_after(settings.close_timeout_s, shield=True):
                await connection.aclose()
    finally:
        await trio.aclose_forcefully(stream)


@frozen(eq=False, repr=False)
class _Target:
    host: str
    port: int
    encrypted: bool
    authority: str  # for the Host header
    resource: str


def _target_of(settings: Endpoint, url: str) -> _Target:
    """Where the URL leads. Raises DialError for one that leads nowhere, or sends a voice in plain text."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port = None, 0
    if host is None:
        raise DialError(Failure(Kind.SETTINGS, "the endpoint's url is no address such as wss://host/v1/realtime"))
    if parts.scheme != "wss" and not settings.plain_text_allowed and not is_loopback(host):
        message = f"{host}: voice and key would travel in plain text; use wss:// in the endpoint's url"
        raise DialError(Failure(Kind.SETTINGS, message))
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(host, port, parts.scheme == "wss", parts.netloc.rpartition("@")[2], resource)


async def _open_stream(settings: Endpoint, target: _Target, deadline: float) -> trio.SocketStream | tls.TlsStream:
    with trio.move_on_at(deadline):
        stream = await tcp.connect(target.host, target.port, settings.proxy)
        if not target.encrypted:
            return stream
        try:
            return await tls.encrypt(stream, target.host, settings.extra_ca)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    raise DialError(_too_late(settings, target))


async def _upgrade(
    stream: trio.SocketStream | tls.TlsStream, settings: Endpoint, headers: Headers, target: _Target, deadline: float
) -> WebSocket:
    socket = WebSocket(stream, MAX_MESSAGE_BYTES)
    with trio.move_on_at(deadline):
        await open_socket(socket, target.host, target.authority, target.resource, headers)
        return socket
    status = _status_of(bytes(socket.answer))
    if status is not None:  # it refused, but its body never ends
        raise DialError(refused_upgrade(target.host, status, (), b"", headers))
    raise DialError(_too_late(settings, target))


async def open_socket(
    socket: WebSocket, host: str, authority: str, resource: str, headers: Headers, hidden: Headers = ()
) -> None:
    """Upgrade. `hidden`: what is masked in the server's words besides our headers. Raises DialError."""
    sent = [*headers, *hidden]
    try:
        await socket.open(authority, resource, headers, REFUSAL_BYTES)
    except UpgradeRefused as error:
        raise DialError(refused_upgrade(host, error.status, error.headers, error.body, sent)) from None
    except (UpgradeCut, NoWebSocket, trio.BrokenResourceError) as error:
        raise DialError(_no_upgrade(host, sent, bytes(socket.answer), error)) from None
    except ValueError:
        message = f"{host}: the endpoint's url or headers hold characters that no HTTP request can hold"
        raise DialError(Failure(Kind.SETTINGS, message)) from None


def _too_late(settings: Endpoint, target: _Target) -> Failure:
    waited = f"no connection within {settings.open_timeout_s:g} s (open_timeout_s)"
    return Failure(Kind.SILENCE, f"{target.host}: {waited}; does a firewall on the way block WebSockets?")


def _no_upgrade(host: str, headers: Headers, answer: bytes, error: Exception) -> Failure:
    """What came instead of an answer, or of all of it."""
    status = _status_of(answer)
    head, _, body = answer.partition(b"\r\n\r\n")
    if status is not None:
        return refused_upgrade(host, status, (), body, headers)
    if isinstance(error, NoWebSocket):
        why = excerpt(str(error).encode("utf-8", "replace"), headers) or type(error).__name__
        return Failure(Kind.LOST, f"{host}: does not speak WebSocket ({why})")
    words = excerpt(head.partition(b"\r\n")[0], headers)
    said = f"; it says {words!r}" if words else "; does a firewall on the way block WebSockets?"
    return Failure(Kind.LOST, f"{host}: closed the connection during the upgrade{said}")


def _status_of(answer: bytes) -> int | None:
    """Of a refusal: 101 is none, nor is what announces an answer."""
    match = re.match(rb"HTTP/1\.[01] ([2-9]\d\d)", answer)
    return int(match[1]) if match else None
