"""What a server's bytes mean is what another implementation reads in them, right or wrong, however they are cut."""

from __future__ import annotations

import pytest
from frames import BYTES, CLOSE, MORE, PING, PONG, TEXT, bye, frame
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from kioskd.endpoints.frames import CloseReason, Frame
from kioskd.endpoints.incoming import Incoming

TEXTS = st.one_of(st.text(max_size=8), st.integers(100, 200).map("é".__mul__), st.just("x" * 65_536))
PAYLOADS = st.one_of(TEXTS.map(str.encode), st.binary(max_size=8))
FRAMES = st.builds(
    lambda opcode, payload, last: frame(opcode, payload[:125] if opcode >= CLOSE else payload, last=last),
    st.sampled_from([TEXT] * 6 + [MORE, MORE, BYTES, PING, PONG, CLOSE, 3]),
    PAYLOADS,
    st.sampled_from([True, True, True, False]),
)
LONG_WAY = b"\x81\x7e\x00\x02hi"  # two letters, and their number in two bytes


@st.composite
def _streams(draw: st.DrawFn) -> list[bytes]:
    """Bytes that a server might say, some of them wrong, in pieces."""
    data = bytearray(b"".join(draw(st.lists(FRAMES, max_size=8))))
    for at in draw(st.lists(st.integers(0, max(0, len(data) - 1)), max_size=2)):
        data[at : at + 1] = draw(st.binary(max_size=2))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(_streams())
@example([LONG_WAY, frame(TEXT, b"on")])
@example([b"\x81\x7f" + bytes(6) + b"\xff\xff", bytes(0xFFFF)])
@example([b"\x82\x7f" + b"\xff" * 8])
@example([frame(TEXT, b"a", last=False), frame(TEXT, b"b")])
@example([frame(TEXT, b"a", last=False) + frame(PING) + frame(MORE, b"b") + frame(TEXT, b"c")])
@example([frame(TEXT, b"\xc3", last=False), frame(MORE, b"\xa9", last=False), frame(MORE, b"\xc3")])
@example([frame(TEXT, b"\xc3\x28"), frame(TEXT, b"on")])
@example([frame(BYTES, b"a", last=False), frame(MORE), frame(PONG, b"?"), frame(BYTES, b"b")])
@example([frame(TEXT, b"x" * 300)[:2], frame(TEXT, b"x" * 300)[2:3], frame(TEXT, b"x" * 300)[3:]])
@example([frame(BYTES, b"x" * 70_000)[:5], frame(BYTES, b"x" * 70_000)[5:]])
def test_it_means_what_another_would_have_read(pieces: list[bytes]) -> None:
    pieces = [*pieces, bytes(14)]  # a header that is not all there: who is first to find it wrong does not matter
    assert _ours(pieces) == _of_wsproto(pieces)


@pytest.mark.parametrize("code", [0, 999, *range(1000, 1020), 2999, 3000, 4999, 5000, 65535])
def test_the_codes_of_a_goodbye(code: int) -> None:
    pieces = [bye(code, "words")]
    if code == 1014:  # registered since (https://www.iana.org/assignments/websocket): a gateway's
        assert _ours(pieces) == [(1014, "words")]
    else:
        assert _ours(pieces) == _of_wsproto(pieces)


def _ours(pieces: list[bytes]) -> list[object]:
    incoming = Incoming(2**64)
    meant: list[object] = []
    for piece in pieces:
        incoming.feed(piece)
        while (came := incoming.take()) is not None:
            match came:
                case CloseReason(1002 | 1007 as code) if came.reason != "words":
                    return [*meant, code]
                case CloseReason(code, words):
                    return [*meant, (code, words or "")]
                case Frame(opcode, payload):
                    meant.append((opcode, payload))
                case str() | bytes():
                    meant.append(came)
    return meant


def _of_wsproto(pieces: list[bytes]) -> list[object]:
    """With the pieces of each message put together."""
    connection = Connection(ConnectionType.CLIENT)
    meant: list[object] = []
    parts: list[str | bytes] = []
    for piece in pieces:
        connection.receive_data(piece)
        for event in connection.events():
            match event:
                case TextMessage() | BytesMessage():
                    parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
                    if event.message_finished:
                        meant.append(parts[0][:0].join(parts))  # type: ignore[arg-type]
                        parts = []
                case Ping():
                    meant.append((PING, bytes(event.payload)))
                case Pong():
                    meant.append((PONG, bytes(event.payload)))
                case CloseConnection(1002 | 1007) if event.reason != "words":
                    return [*meant, int(event.code)]
                case CloseConnection():
                    return [*meant, (int(event.code), event.reason or "")]
    return meant
