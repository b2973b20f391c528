"""What a connection costs before a word is said: name, TCP, TLS and, for a WebSocket, the upgrade."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import trio

from kioskd.config.schema import Endpoint, EndpointKind, Envelope
from kioskd.endpoints import tcp, tls
from kioskd.endpoints.dial import MAX_MESSAGE_BYTES, open_socket
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import ModelError
from kioskd.endpoints.way_in import Door, open_door
from kioskd.endpoints.websocket import WebSocket
from kioskd.probe.results import Steps
from kioskd.realtime import dialects

_PORTS = {"wss": 443, "https": 443, "ws": 80, "http": 80}
_ENCRYPTED = frozenset({"wss", "https"})
_SOCKETS = frozenset({"wss", "ws"})
PARTING_S = 1.0


async def door_of(endpoint: Endpoint, key: str) -> Door:
    """What a connection to this endpoint is opened with. Raises ModelError, in words without secrets."""
    try:
        if endpoint.kind is EndpointKind.REALTIME:
            return await open_door(endpoint, key)
        url = endpoint.url
        if endpoint.kind is EndpointKind.RESPONSES:
            from kioskd.endpoints.text import responses_socket

            nested = endpoint.envelope is Envelope.NESTED
            beta = nested if endpoint.beta_header is None else endpoint.beta_header
            url = responses_socket.address(endpoint)
            return Door(
                dialects.with_key(endpoint, url, key), _headers(endpoint, key, beta=beta), (key,) if key else ()
            )
        if urlsplit(url).scheme in _SOCKETS:
            from kioskd.endpoints.text import chat_socket

            url = chat_socket.address(endpoint)
        return Door(dialects.with_key(endpoint, url, key), dialects.headers(endpoint, key), (key,) if key else ())
    except DialError as error:
        raise ModelError(error.failure) from None
    except ValueError as error:
        raise ModelError(Failure(Kind.KEY, str(error))) from None


def _headers(endpoint: Endpoint, key: str, *, beta: bool) -> list[tuple[bytes, bytes]]:
    found = dialects.headers(endpoint, key)
    if beta and b"openai-beta" not in {name.lower() for name, _ in found}:
        found.append((b"OpenAI-Beta", b"realtime=v1"))
    return found


async def shake(endpoint: Endpoint, key: str, now: Callable[[], float] = trio.current_time) -> Steps:
    """Connect once, and leave. Raises ModelError: where it can't, or the upgrade is refused."""
    door = await door_of(endpoint, key)
    parts = urlsplit(door.url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    try:
        with trio.fail_after(endpoint.open_timeout_s):
            return await _shake(endpoint, door, host, port, now)
    except trio.TooSlowError:
        message = f"{host}: no connection within {endpoint.open_timeout_s:g} s (open_timeout_s)"
        raise ModelError(Failure(Kind.SILENCE, message)) from None
    except DialError as error:
        raise ModelError(error.failure) from None
    except (OSError, trio.BrokenResourceError):
        raise ModelError(Failure(Kind.LOST, f"{host}: closed the connection during the upgrade")) from None


async def _shake(endpoint: Endpoint, door: Door, host: str, port: int, now: Callable[[], float]) -> Steps:
    parts = urlsplit(door.url)
    marks = [now()]
    to, name_ms = host, None
    if endpoint.proxy is None:  # else it is the proxy that looks the name up
        to = await _address_of(host, port)
        marks.append(now())
        name_ms = (marks[-1] - marks[-2]) * 1000
    stream: trio.abc.Stream = await tcp.connect(to, port, endpoint.proxy)
    try:
        marks.append(now())
        tcp_ms, tls_ms, upgrade_ms = (marks[-1] - marks[-2]) * 1000, None, None
        if parts.scheme in _ENCRYPTED:
            assert isinstance(stream, trio.SocketStream)
            stream = await tls.encrypt(stream, host, endpoint.extra_ca)
            marks.append(now())
            tls_ms = (marks[-1] - marks[-2]) * 1000
        if parts.scheme in _SOCKETS:
            socket = await _upgrade(stream, door, host)
            marks.append(now())
            upgrade_ms = (marks[-1] - marks[-2]) * 1000
            with trio.move_on_after(PARTING_S):  # some accounts allow one connection, and count one that is merely gone
                await socket.aclose()
        return Steps(name_ms, tcp_ms, tls_ms, upgrade_ms)
    finally:
        await trio.aclose_forcefully(stream)


async def _address_of(host: str, port: int) -> str:
    """The first of its addresses that this machine has a way to. Raises DialError as `tcp.connect` does."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except OSError as error:
        message = f"{host}: name not found ({error.strerror})"
        raise DialError(Failure(Kind.DNS, message)) from None
    for family, _, _, _, address in found:
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as try_out:
            try:
                await try_out.connect(address)  # of a datagram socket: chooses a route, and sends nothing
            except OSError:
                continue
            return str(address[0])
    return str(found[0][4][0]) if found else host


async def _upgrade(stream: trio.abc.Stream, door: Door, host: str) -> WebSocket:
    """Raises DialError."""
    parts = urlsplit(door.url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    socket = WebSocket(stream, MAX_MESSAGE_BYTES)
    hidden = [(b"", _secret(door))]
    await open_socket(socket, host, parts.netloc.rpartition("@")[2], resource, door.headers, hidden)
    return socket


def _secret(door: Door) -> bytes:
    return " ".join(door.secrets).encode("latin-1", "replace")
