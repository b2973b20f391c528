"""From HTTP to a WebSocket (RFC 6455, 4): the request, and what may come in answer to it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import defaultdict
from typing import NoReturn

import trio

from kioskd.endpoints.failures import Headers

RECEIVE_BYTES = 65536  # a quarter less processor time than 4 KiB
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_NONCE_BYTES = 16
_TARGET = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\0\r\n\v\f]*")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.\d ([1-9]\d\d)(?: |\r?\n)")
_HTTP = b"HTTP/"  # what any answer begins with
_FOLDED = re.compile(rb"\r?\n[ \t]+")


class UpgradeRefused(Exception):  # noqa: N818 - it is the server that errs, or the owner
    """The server answered the upgrade with something else than 101."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.headers, self.body = status, headers, body


class UpgradeCut(Exception):  # noqa: N818 - as above
    """The stream ended, or said too much, before the upgrade was answered."""


class NoWebSocket(Exception):  # noqa: N818 - as above
    """What is answered is no HTTP, or an acceptance that breaks the rules. The text says why."""


async def upgrade(
    stream: trio.abc.Stream,
    authority: str,
    resource: str,
    headers: Headers,
    answer: bytearray,
    answer_bytes_max: int,
) -> bytes:
    """Ask, and wait to be accepted; what came behind that. `answer`: gathers what comes, until it is accepted.

    Raises UpgradeRefused, UpgradeCut, NoWebSocket, trio.BrokenResourceError, and ValueError for what no request can
    hold.
    """
    nonce = base64.b64encode(os.urandom(_NONCE_BYTES))
    await stream.send_all(_request(authority, resource, headers, nonce))
    begin = searched = 0
    while await _more(stream, answer, answer_bytes_max):
        while blank := _BLANK_LINE.search(answer, max(begin, searched - 2)):
            status = _STATUS.match(answer, begin)
            if status is None or int(status[1]) >= 200:
                break
            if int(status[1]) == 101:
                _check_acceptance(bytes(answer[begin : blank.start()]), nonce)
                behind = bytes(answer[blank.end() :])
                answer.clear()
                return behind
            begin = blank.end()  # it only announces an answer
        if blank:
            await _take_refusal(stream, answer, begin, answer_bytes_max)
        if not _HTTP.startswith(answer[begin : begin + len(_HTTP)]):
            raise NoWebSocket("its answer is no HTTP")
        searched = len(answer)
    raise UpgradeCut


async def _more(stream: trio.abc.Stream, answer: bytearray, answer_bytes_max: int) -> bytes:
    """What was read and added to the answer; nothing at the end, or where it is too much already."""
    if len(answer) > answer_bytes_max:
        return b""
    try:
        data = bytes(await stream.receive_some(RECEIVE_BYTES))
    except trio.BrokenResourceError:
        return b""
    answer += data
    return data


def _request(authority: str, resource: str, headers: Headers, nonce: bytes) -> bytes:
    """Raises ValueError, without a header's value: that may be the key."""
    host = authority.encode("ascii" if authority.isascii() else "idna")
    fields = [
        (b"Host", host),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", nonce),
        (b"Sec-WebSocket-Version", b"13"),
        *headers,
    ]
    held = all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) and value == value.strip() for name, value in fields)
    if not held or not _TARGET.fullmatch(resource):
        raise ValueError("no HTTP request can hold this")
    lines = [b"GET %s HTTP/1.1" % resource.encode(), *(b"%s: %s" % each for each in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _check_acceptance(head: bytes, nonce: bytes) -> None:
    """That it accepts this request, and nothing that nobody asked for. Raises NoWebSocket."""
    said = defaultdict[bytes, list[bytes]](list)
    for line in _FOLDED.sub(b" ", head).split(b"\n")[1:]:
        name, colon, value = line.removesuffix(b"\r").partition(b":")
        if not (colon and _NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise NoWebSocket("a header that is none")
        said[name.lower()].append(value.strip(b" \t"))
    for name in (b"sec-websocket-extensions", b"sec-websocket-protocol"):
        if any(said[name]):
            raise NoWebSocket(f"an unrecognized header {name.decode()}")
    tokens = [token.strip().lower() for token in b",".join(said[b"connection"]).split(b",")]
    if b"upgrade" not in tokens or [value.lower() for value in said[b"upgrade"]] != [b"websocket"]:
        raise NoWebSocket("101 without an upgrade to WebSocket")
    accept = base64.b64encode(hashlib.sha1(nonce + _GUID, usedforsecurity=False).digest())
    if said[b"sec-websocket-accept"] != [accept]:
        raise NoWebSocket("it accepts another request")


async def _take_refusal(stream: trio.abc.Stream, answer: bytearray, begin: int, answer_bytes_max: int) -> NoReturn:
    """Read on to the end of its body. Raises UpgradeRefused, NoWebSocket, and UpgradeCut where it doesn't come."""
    import h11  # hardly ever needed, and the start is the quicker without it

    connection = h11.Connection(h11.CLIENT)
    for ours in (h11.Request(method="GET", target="/", headers=[("Host", "")]), h11.EndOfMessage()):
        connection.send(ours)
    status, headers, body = 0, list[tuple[bytes, bytes]](), bytearray()
    data = bytes(answer[begin:])
    while data:
        try:
            connection.receive_data(data)
            while (event := connection.next_event()) is not h11.NEED_DATA:
                match event:
                    case h11.Response():
                        status, headers = event.status_code, list(event.headers)
                    case h11.Data():
                        body += event.data
                    case h11.EndOfMessage():
                        raise UpgradeRefused(status, headers, bytes(body))
                    case _:  # of a version that nobody asked for
                        raise NoWebSocket("its answer is no HTTP/1.1")
        except (h11.RemoteProtocolError, ValueError):  # its text holds the answer, which may repeat the key
            raise NoWebSocket("its answer is no HTTP") from None
        data = await _more(stream, answer, answer_bytes_max)
    raise UpgradeCut
