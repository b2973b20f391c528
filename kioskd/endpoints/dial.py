"""From an endpoint's settings to an open WebSocket: TCP, proxy, TLS, upgrade, each with its own clear failure."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, unquote, urlsplit

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from kioskd.config.schema import Endpoint
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.tls import client_context

MAX_MESSAGE_BYTES = 16 * 2**20  # messages of 3.4 MB were seen; the library's 1 MiB would cut the link
MESSAGE_QUEUE = 64  # a burst of deltas must not stop the reader, and with it the pongs
RECEIVE_BYTES = 65536  # a quarter less processor time than the library's 4 KiB
PROXY_ANSWER_BYTES = 16 * 1024  # an HTTP header; a proxy that says more is none
EXCERPT_CHARACTERS = 200  # of an error's body: enough for its message
DEFAULT_PORTS = {"wss": 443, "ws": 80}
CLOCK_HINT = "; is this machine's clock right (`timedatectl`)?"

Headers = Sequence[tuple[bytes, bytes]]
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class DialError(Exception):
    """There is no connection; `failure` says why, for `policy.judge`. The text is one line without secrets."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@asynccontextmanager
async def dial(settings: Endpoint, headers: Headers, url: str) -> AsyncIterator[WebSocketConnection]:
    """An open WebSocket at `url`, closed politely (within `close_timeout_s`) on leaving. Raises DialError."""
    parts = urlsplit(url)
    _refuse_plain_text(settings, parts)
    opened = False
    try:
        async with trio.open_nursery() as nursery:
            connection = await _open_in_time(nursery, settings, headers, parts)
            opened = True
            try:
                yield connection
            finally:
                with trio.move_on_after(settings.close_timeout_s, shield=True):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = _only_one(group)
        raise error if opened else _not_opened(parts.hostname or "", error) from None


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses: what is sent there never leaves the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _only_one(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The nursery is our own affair: what was raised inside comes out as it was."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _not_opened(host: str, error: BaseException) -> BaseException:
    """What went wrong before there was a connection; the library raises much of it in its reader's task."""
    if isinstance(error, ConnectionRejected):
        return DialError(_failure_of(host, error))
    if isinstance(error, DialError) or not isinstance(error, Exception):
        return error
    why = _excerpt(str(error).encode()) or "the connection broke off"
    return DialError(Failure(Kind.LOST, f"{host}: no WebSocket there ({why})"))


def _refuse_plain_text(settings: Endpoint, parts: SplitResult) -> None:
    host = parts.hostname or ""
    if parts.scheme != "wss" and not settings.plain_text_allowed and not is_loopback(host):
        raise DialError(
            Failure(
                Kind.SETTINGS, f"{host}: voice and key would travel in plain text; use wss:// in the endpoint's url"
            )
        )


async def _open_in_time(
    nursery: trio.Nursery, settings: Endpoint, headers: Headers, parts: SplitResult
) -> WebSocketConnection:
    with trio.move_on_after(settings.open_timeout_s):
        return await _open(nursery, settings, headers, parts)
    raise DialError(
        Failure(Kind.SILENCE, f"{parts.hostname}: no connection within {settings.open_timeout_s:g} s (open_timeout_s)")
    )


async def _open(nursery: trio.Nursery, settings: Endpoint, headers: Headers, parts: SplitResult) -> WebSocketConnection:
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    if settings.proxy:
        tcp = await _through_proxy(settings.proxy, host, port)
    else:
        tcp = await _tcp(host, port, Kind.CONNECT)
    stream: Stream = tcp
    try:
        if parts.scheme == "wss":
            stream = await _encrypt(tcp, host, settings.extra_ca)
        return await _upgrade(nursery, stream, headers, parts)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def _tcp(host: str, port: int, kind: Kind) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(host, port)
    except socket.gaierror as error:
        message = (
            f"{host}: name not found ({error.strerror}); check the url, or this machine's DNS (`resolvectl query`)"
        )
        raise DialError(Failure(Kind.DNS, message)) from None
    except OSError as error:
        raise DialError(Failure(kind, f"{host}:{port}: no connection ({_reason(error)})")) from None


def _reason(error: OSError) -> str:
    """The system's own word for it: trio wraps it in words of its own, and several of them in a group."""
    cause: BaseException | None = error
    while cause is not None:
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__
    return str(error) or type(error).__name__


async def _through_proxy(proxy: str, host: str, port: int) -> trio.SocketStream:
    parts = urlsplit(proxy)
    name, at = parts.hostname or "", parts.port or 3128
    stream = await _tcp(name, at, Kind.PROXY)
    try:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            request += f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n"
        await stream.send_all(f"{request}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < PROXY_ANSWER_BYTES:
            piece = await stream.receive_some()
            if not piece:
                break
            answer += piece
        status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        if status is None or status[1] != b"200":
            said = _excerpt(answer.partition(b"\r\n")[0]) or "nothing"
            raise DialError(Failure(Kind.PROXY, f"proxy {name}:{at} does not connect to {target}: it says {said!r}"))
    except trio.BrokenResourceError:
        await trio.aclose_forcefully(stream)
        raise DialError(Failure(Kind.PROXY, f"proxy {name}:{at} broke the connection off")) from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _encrypt(stream: trio.SocketStream, host: str, extra_ca: str | None) -> trio.SSLStream[trio.SocketStream]:
    try:
        context = client_context(extra_ca)
    except OSError as error:  # ssl.SSLError is one
        raise DialError(Failure(Kind.SETTINGS, f"extra_ca {extra_ca}: {error.strerror or error}")) from None
    encrypted = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await encrypted.do_handshake()
    except trio.BrokenResourceError as error:
        raise DialError(Failure(Kind.TLS, f"{host}: {_tls_reason(error.__cause__)}")) from None
    return encrypted


def _tls_reason(cause: BaseException | None) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = CLOCK_HINT if cause.verify_code in (9, 10) else "; name the CA's file in extra_ca if it is your own"
        return f"its certificate is not trusted ({cause.verify_message}){hint}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or cause}); is there a TLS server at this port?"
    return "the connection broke off during the TLS handshake"


async def _upgrade(nursery: trio.Nursery, stream: Stream, headers: Headers, parts: SplitResult) -> WebSocketConnection:
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return await wrap_client_stream(
        nursery,
        stream,
        parts.netloc.rpartition("@")[2],
        resource,
        extra_headers=list(headers),
        max_message_size=MAX_MESSAGE_BYTES,
        message_queue_size=MESSAGE_QUEUE,
        receive_buffer_size=RECEIVE_BYTES,
    )


def _failure_of(host: str, rejection: ConnectionRejected) -> Failure:
    headers = {bytes(name).lower(): bytes(value) for name, value in rejection.headers or ()}
    body = _excerpt(rejection.body or b"")
    return Failure(
        Kind.UPGRADE,
        f"{host} refuses with HTTP {rejection.status_code}" + (f": {body}" if body else ""),
        status=rejection.status_code,
        code=_error_code(rejection.body or b""),
        retry_after_s=_retry_after_s(headers.get(b"retry-after")),
    )


def _error_code(body: bytes) -> str | None:
    """The identifier in an error's JSON, wherever it stands: a word, or a number such as 429."""
    match = re.search(rb'"code"\s*:\s*"?([A-Za-z0-9_]+)', body) or re.search(rb'"type"\s*:\s*"([a-z_]+)"', body)
    return match[1].decode() if match and match[1] != b"null" else None


def _retry_after_s(value: bytes | None) -> float | None:
    """The header in seconds or as a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    text = value.decode("ascii", "replace").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _excerpt(text: bytes) -> str:
    """One line of what the other side says, with everything that looks like a key masked."""
    line = " ".join(text.decode("utf-8", "replace").split())[:EXCERPT_CHARACTERS]
    return re.sub(r"(?<![A-Za-z0-9])(sk-|hsa-|ek_|Bearer )[A-Za-z0-9_*.-]+", r"\1***", line)
