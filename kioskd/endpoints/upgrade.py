"""From HTTP to a WebSocket (RFC 6455, 4): the request, and what may come in answer to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import h11
import trio
from wsproto import WSConnection
from wsproto.events import AcceptConnection, Event, RejectConnection, RejectData, Request
from wsproto.utilities import RemoteProtocolError

RECEIVE_BYTES = 65536  # a quarter less processor time than 4 KiB
_BLANK_LINE = re.compile(rb"\n\r?\n")  # the end of a header, as h11 takes it


class UpgradeRefused(Exception):  # noqa: N818 - it is the server that errs, or the owner
    """The server answered the upgrade with something else than 101."""

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.headers, self.body = status, headers, body


class UpgradeCut(Exception):  # noqa: N818 - as above
    """The stream ended, or said too much, before the upgrade was answered."""


async def upgrade(
    stream: trio.abc.Stream, protocol: WSConnection, request: Request, answer: bytearray, answer_bytes_max: int
) -> bytes:
    """Ask, and wait to be accepted; what came behind that. `answer`: gathers what comes, until it is accepted.

    Raises UpgradeRefused, UpgradeCut, RemoteProtocolError, trio.BrokenResourceError, and ValueError for what no request
    can hold.
    """
    await stream.send_all(_written(protocol, request))
    refusal: RejectConnection | None = None
    body = bytearray()
    while len(answer) <= answer_bytes_max:
        try:
            data = await stream.receive_some(RECEIVE_BYTES)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            break
        answer += data
        for end, event in _events(protocol, bytes(answer), len(answer) - len(data)):
            match event:
                case AcceptConnection():
                    behind = bytes(answer[end:])
                    answer.clear()
                    return behind
                case RejectConnection() if event.status_code >= 200:  # those below only announce an answer
                    refusal = event
                case RejectData() if refusal is not None:
                    body += event.data
                    if event.body_finished:
                        raise UpgradeRefused(refusal.status_code, list(refusal.headers), bytes(body))
    raise UpgradeCut


def _events(protocol: WSConnection, answer: bytes, begin: int) -> Iterator[tuple[int, Event]]:
    """What that means which has come from `begin` on, each with where its part ends. Raises RemoteProtocolError."""
    for part_begin, part_end in _parts(answer, begin):
        try:
            protocol.receive_data(answer[part_begin:part_end])
        except UnicodeError:  # the library takes a header for ASCII
            raise RemoteProtocolError("a header of its answer is no ASCII") from None
        for event in protocol.events():
            yield part_end, event


def _parts(answer: bytes, begin: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of what has come from `begin` on, cut behind blank lines: what follows may not be HTTP any more."""
    for blank in _BLANK_LINE.finditer(answer, max(0, begin - 2)):
        if blank.end() > begin:
            yield begin, blank.end()
            begin = blank.end()
    if begin < len(answer):
        yield begin, len(answer)


def _written(protocol: WSConnection, request: Request) -> bytes:
    try:
        return protocol.send(request)
    except (UnicodeError, h11.LocalProtocolError):  # its text holds the header, and that the key
        raise ValueError("no HTTP request can hold this") from None
