"""TCP to an endpoint, by itself or through an HTTP proxy's CONNECT (RFC 9110, 9.3.6)."""

from __future__ import annotations

import base64
import os
import re
import socket
from urllib.parse import unquote, urlsplit

import trio

from kioskd.endpoints.failures import DialError, excerpt
from kioskd.endpoints.policy import Failure, Kind

PROXY_ANSWER_BYTES = 16 * 1024  # an HTTP header; a proxy that says more is none
PROXY_PORT = 3128  # squid's, where the setting names none


async def connect(host: str, port: int, proxy: str | None) -> trio.SocketStream:
    """A TCP connection to `host`, which the proxy opens where there is one. Raises DialError."""
    if proxy:
        return await _through_proxy(proxy, host, port)
    return await _direct(host, port, Kind.CONNECT, "check the endpoint's url")


def without_codec(host: str) -> str | bytes:
    """The name as bytes, where it is ASCII: as text it goes through the codec `idna`, whose import takes 2 ms."""
    return host.encode() if host.isascii() else host


async def _direct(host: str, port: int, kind: Kind, remedy: str) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream(without_codec(host), port)
    except socket.gaierror as error:
        message = f"{host}: name not found ({error.strerror}); {remedy}, or this machine's DNS (`getent hosts {host}`)"
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
    name, at = parts.hostname or "", parts.port or PROXY_PORT
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request += f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n"
    stream = await _direct(name, at, Kind.PROXY, "check the endpoint's proxy")
    try:
        await stream.send_all(f"{request}\r\n".encode())
        answer = await _read_header(stream)
    except trio.BrokenResourceError:
        await trio.aclose_forcefully(stream)
        raise DialError(Failure(Kind.PROXY, f"proxy {name}:{at} broke the connection off")) from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    if status is None or not status[1].startswith(b"2"):
        await trio.aclose_forcefully(stream)
        said = excerpt(answer.partition(b"\r\n")[0]) or "nothing"
        message = f"proxy {name}:{at} does not connect to {target}: it says {said!r}"
        raise DialError(Failure(Kind.PROXY, message, status=int(status[1]) if status else None))
    return stream


async def _read_header(stream: trio.SocketStream) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < PROXY_ANSWER_BYTES:
        piece = await stream.receive_some(PROXY_ANSWER_BYTES)
        if not piece:
            break
        answer += piece
    return answer
