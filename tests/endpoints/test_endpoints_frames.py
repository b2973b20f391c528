"""A client's frames, as a server's implementation reads them."""

from __future__ import annotations

import pytest
from frames import BYTES, CLOSE, PING, PONG, TEXT
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from kioskd.endpoints.frames import NO_CODE, CloseReason, Frame, close_frame, masked

KEYS = st.binary(min_size=4, max_size=4)
SIZES = [0, 1, 2, 3, 4, 5, 125, 126, 127, 65_535, 65_536, 70_001]


def read_by_a_server(data: bytes) -> list[Event]:
    connection = Connection(ConnectionType.SERVER)
    connection.receive_data(data)
    return list(connection.events())


@given(st.lists(st.one_of(st.text(), st.binary(), st.sampled_from(SIZES).map(bytes)), max_size=5), KEYS)
@example([b"\x01" * size for size in SIZES], b"\x00\xff\x80\x01")
def test_messages_arrive_whole_and_in_order(messages: list[str | bytes], key: bytes) -> None:
    framed = [Frame(TEXT, each.encode()) if isinstance(each, str) else Frame(BYTES, each) for each in messages]
    said: list[str | bytes] = []
    part: str | bytes | None = None
    for event in read_by_a_server(b"".join(masked(each, key) for each in framed)):
        assert isinstance(event, (TextMessage, BytesMessage))
        data = event.data if isinstance(event, TextMessage) else bytes(event.data)
        part = data if part is None else part + data  # type: ignore[operator]
        if event.message_finished:
            said.append(part)
            part = None
    assert said == messages


@given(st.sampled_from([PING, PONG]), st.binary(max_size=125), KEYS)
def test_pings_and_pongs(opcode: int, payload: bytes, key: bytes) -> None:
    (event,) = read_by_a_server(masked(Frame(opcode, payload), key))
    assert isinstance(event, Ping if opcode == PING else Pong) and bytes(event.payload) == payload


@given(st.sampled_from([1000, 1001, 1002, 1007, 1009, 3000, 4999]), st.none() | st.text(max_size=200), KEYS)
@example(1002, "é" * 62, bytes(4))  # one letter too many, and cut between its bytes
def test_a_goodbye_says_what_fits(code: int, words: str | None, key: bytes) -> None:
    frame = close_frame(CloseReason(code, words))
    (event,) = read_by_a_server(masked(frame, key))
    assert isinstance(event, CloseConnection) and event.code == code
    said = event.reason or ""
    assert (words or "").startswith(said)
    assert said == (words or "") or 120 <= len(said.encode()) <= 123


def test_a_goodbye_without_a_code_is_answered_without_one() -> None:
    assert close_frame(CloseReason(NO_CODE)) == Frame(CLOSE, b"")


@pytest.mark.parametrize("size", SIZES)
def test_what_leaves_does_not_stand_there_as_it_was(size: int) -> None:
    """Its sender's bytes are no bytes of the wire's (RFC 6455, 10.3)."""
    data = masked(Frame(BYTES, b"GET " * size), b"\x5a\xa5\x96\x69")
    assert b"GET" not in data
    assert data[1] & 0x80
