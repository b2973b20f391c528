"""Frames that are read without the library mean what the library would have read, whatever they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from frames import BYTES, CLOSE, MORE, PING, PONG, TEXT, frame
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage

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
@example([frame(TEXT, b"a", last=False), frame(TEXT, b"b")])
@example([frame(TEXT, b"a", last=False) + frame(PING) + frame(MORE, b"b") + frame(TEXT, b"c")])
@example([frame(TEXT, b"\xc3\x28"), frame(TEXT, b"on")])
@example([frame(TEXT, b"x" * 300)[:2], frame(TEXT, b"x" * 300)[2:3], frame(TEXT, b"x" * 300)[3:]])
def test_it_means_what_the_library_would_have_read(pieces: list[bytes]) -> None:
    library, incoming = Connection(ConnectionType.CLIENT), Incoming()

    def ours() -> Iterator[Event]:
        for piece in pieces:
            incoming.feed(piece)
            while (part := incoming.take()) is not None:
                if isinstance(part, str):
                    yield TextMessage(data=part)
                else:
                    library.receive_data(part)
                    yield from library.events()

    def alone() -> Iterator[Event]:
        connection = Connection(ConnectionType.CLIENT)
        for piece in pieces:
            connection.receive_data(piece)
            yield from connection.events()

    assert _meant(ours()) == _meant(alone())


def _meant(events: Iterable[Event]) -> list[object]:
    """What came until the end, with the pieces of each message put together."""
    meant: list[object] = []
    parts: list[str | bytes] = []
    for event in events:
        match event:
            case TextMessage() | BytesMessage():
                parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
                if event.message_finished:
                    meant.append(parts[0][:0].join(parts))  # type: ignore[arg-type]
                    parts = []
            case CloseConnection():
                return [*meant, event.code, event.reason]
            case _:
                meant.append(event)
    return meant


def test_whole_texts_never_reach_the_library() -> None:
    incoming = Incoming()
    incoming.feed(frame(TEXT, b"one") + frame(PING, b"?") + frame(TEXT, b"x" * 200) + frame(TEXT, b"half")[:3])
    taken = []
    while (part := incoming.take()) is not None:
        taken.append(part)
    assert taken == ["one", frame(PING, b"?"), "x" * 200, frame(TEXT, b"half")[:3]]
    incoming.feed(frame(TEXT, b"half")[3:] + frame(TEXT, b"on"))
    assert incoming.take() == b"alf"
    assert incoming.take() == "on"
