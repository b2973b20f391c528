"""Minting a session: one POST that brings a short-lived key, the address of a session, or both.

Sources: `openai/types/realtime/client_secret_create_params.py` (GA),
`openai/types/beta/realtime/session_create_params.py` (beta).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import h11
import trio
from attrs import Factory, define, field, frozen

from kioskd.config.addresses import is_loopback, split
from kioskd.config.schema import Endpoint, Mint, MintKind
from kioskd.endpoints import tcp, tls
from kioskd.endpoints.failures import DialError, Headers, refused_upgrade
from kioskd.endpoints.policy import Failure, Kind
from kioskd.realtime import dialects

MAX_BODY_BYTES = 64 * 1024  # a session's object with long instructions and tools takes a few KiB
RECEIVE_BYTES = 16 * 1024
DEFAULT_PORTS = {"https": 443, "http": 80}


@frozen
class Minted:
    """What opens the session; at least one of the two. It lives in memory only, and in no text."""

    key: str | None = field(repr=False)
    url: str | None = field(repr=False)


async def mint(settings: Endpoint, plan: Mint, key: str) -> Minted:
    """Ask for a session as `plan` says, with the long-lived `key` (empty: without, a broker may allow that).

    Raises DialError, and ValueError for a key that no header can hold.
    """
    broker = plan.kind is MintKind.BROKER
    url = plan.url or dialects.mint_url(settings, plan.kind)
    if broker:
        headers = _bearer(settings, key) if key else []
    else:
        headers = dialects.headers(settings, key)
        url = dialects.with_key(settings, url, key)
    request = _Request(url, headers, json.dumps(dialects.mint_body(settings, plan.kind)).encode())
    # What the other side may repeat in its words; the key is not in a header where `auth` is query.
    sent = [*headers, (b"", key.encode()), (b"", quote(key, safe="").encode())]
    name = f"{request.host} (mint)"
    if not request.encrypted and not settings.plain_text_allowed and not is_loopback(request.host):
        raise DialError(Failure(Kind.SETTINGS, f"{name}: keys would travel in plain text; use https:// in mint.url"))
    answer = await _post(settings, plan, request, name, sent)
    minted = _read(answer, name, sent)
    if minted.url is not None and (fault := _fault_of_url(settings, broker, minted.url)):
        raise DialError(Failure(Kind.SETTINGS, f"{name}: the session's address {fault}"))
    return minted


def _bearer(settings: Endpoint, key: str) -> Headers:
    if not dialects.fits_header(key):
        raise ValueError(f"the key of endpoint {settings.name} has a character in it that no header can hold")
    return [(b"Authorization", b"Bearer " + key.encode())]


class _Request:
    """A POST of JSON to a URL that the settings have been checked for."""

    def __init__(self, url: str, headers: Headers, body: bytes) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.encrypted = parts.scheme == "https"
        self.port = parts.port or DEFAULT_PORTS[parts.scheme]
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own = [
            (b"Host", parts.netloc.encode()),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Accept", b"application/json"),
            (b"Connection", b"close"),
        ]
        self.head = h11.Request(method="POST", target=resource, headers=[*own, *headers])
        self.body = body


@define
class _Answer:
    """As much of it as came."""

    status: int | None = None
    headers: list[tuple[bytes, bytes]] = Factory(list)
    body: bytes = b""
    whole: bool = False

    @property
    def refuses(self) -> bool:
        return self.status is not None and not 200 <= self.status < 300


async def _post(settings: Endpoint, plan: Mint, request: _Request, name: str, sent: Headers) -> _Answer:
    """The whole answer of a server that agrees. Raises DialError."""
    answer = _Answer()
    fault = ""
    with trio.move_on_after(plan.timeout_s) as deadline:
        stream: trio.SocketStream | tls.TlsStream
        stream = raw = await tcp.connect(request.host, request.port, settings.proxy)
        try:
            if request.encrypted:
                stream = await tls.encrypt(raw, request.host, settings.extra_ca)
            fault = await _exchange(stream, request, answer)
        finally:
            await trio.aclose_forcefully(raw)
    if answer.refuses and answer.status is not None:  # whatever became of its body
        raise DialError(refused_upgrade(name, answer.status, answer.headers, answer.body, sent))
    if deadline.cancelled_caught:
        waited = f"no answer within {plan.timeout_s:g} s (mint.timeout_s)"
        raise DialError(Failure(Kind.SILENCE, f"{name}: {waited}"))
    if fault:
        raise DialError(Failure(Kind.LOST, f"{name}: {fault}"))
    return answer


async def _exchange(stream: trio.abc.Stream, request: _Request, answer: _Answer) -> str:
    """Send the request, and read into `answer`; returns what is wrong with it, or nothing."""
    connection = h11.Connection(h11.CLIENT)
    data = b"".join(
        connection.send(event) or b"" for event in (request.head, h11.Data(data=request.body), h11.EndOfMessage())
    )
    with suppress(trio.BrokenResourceError):  # it may have refused before it read everything
        await stream.send_all(data)
    try:
        while not answer.whole:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await _receive(stream))
                case h11.Response() as response:
                    answer.status, answer.headers = response.status_code, list(response.headers)
                case h11.Data() as piece:
                    answer.body += piece.data
                    if len(answer.body) > MAX_BODY_BYTES:
                        answer.body = answer.body[:MAX_BODY_BYTES]
                        return f"its answer is larger than {MAX_BODY_BYTES // 1024} KiB"
                case h11.EndOfMessage():
                    answer.whole = True
                case h11.InformationalResponse():
                    continue
                case _:
                    return "closed the connection without an answer"
    except h11.RemoteProtocolError:
        return "does not speak HTTP" if answer.status is None else "broke its answer off"
    return ""


async def _receive(stream: trio.abc.Stream) -> bytes:
    try:
        return bytes(await stream.receive_some(RECEIVE_BYTES))
    except trio.BrokenResourceError:
        return b""


def _read(answer: _Answer, name: str, sent: Headers) -> Minted:
    """The key and the address of an answer. Its words are never shown: in a shape unknown to us they may hold a key."""
    try:
        found: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DialError(Failure(Kind.LOST, f"{name}: its answer is no JSON object"))
    if found.get("error"):
        raise DialError(refused_upgrade(name, answer.status or 200, answer.headers, answer.body, sent))
    nested = found.get("client_secret")
    key = found.get("value") or (nested.get("value") if isinstance(nested, dict) else nested)
    url = found.get("url")
    minted = Minted(key if isinstance(key, str) and key else None, url if isinstance(url, str) and url else None)
    if minted == Minted(None, None):
        raise DialError(Failure(Kind.LOST, f"{name}: its answer has no value, client_secret.value or url"))
    if minted.key is not None and not dialects.fits_header(minted.key):
        raise DialError(Failure(Kind.LOST, f"{name}: its answer has a key that no header can hold"))
    return minted


def _fault_of_url(settings: Endpoint, broker: bool, url: str) -> str:
    """Why the socket is not opened at a minted address. Its text shows no more than the host."""
    parts = split(url)
    if parts is None or not parts.hostname or parts.username is not None or parts.fragment:
        return "is no URL of a server"
    host = parts.hostname
    plain = parts.scheme == "ws" and (settings.plain_text_allowed or is_loopback(host))
    if parts.scheme != "wss" and not plain:
        return f"does not begin with wss:// (host {host})"
    if not broker and not _belong_together(urlsplit(settings.url).hostname or "", host):
        return f"leads to {host}, which has nothing to do with the endpoint's url"
    return ""


def _belong_together(ours: str, theirs: str) -> bool:
    """The same host, one below it, or one below its parent domain (which is more than a mere `.com`)."""
    if theirs == ours or theirs.endswith(f".{ours}"):
        return True
    parent = ours.partition(".")[2]
    is_name = not ours.replace(".", "").isdigit() and ":" not in ours
    return is_name and "." in parent and (theirs == parent or theirs.endswith(f".{parent}"))
