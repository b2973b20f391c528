"""The client's WebSocket at its door: against hand-made bytes, and against trio-websocket, which is another's."""

from __future__ import annotations

import base64
import contextlib
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from frames import BYTES, CLOSE, MORE, PING, PONG, TEXT, Wire, accepted, bye, frame, upgraded
from hypothesis import given, settings
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed as ServerClosed
from trio_websocket import wrap_server_stream
from turns import Turns

from kioskd.endpoints.frames import CloseReason
from kioskd.endpoints.upgrade import NoWebSocket, UpgradeCut, UpgradeRefused
from kioskd.endpoints.websocket import FRAMES_MAX, LAST_WORD_S, ConnectionClosed, WebSocket

PATIENCE_S = 60.0  # on the clock that jumps


async def all_of(socket: WebSocket) -> tuple[list[str | bytes], CloseReason | None]:
    """What comes until it is closed, and why it was."""
    messages: list[str | bytes] = []
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                messages += await socket.get_messages()
            except ConnectionClosed as closed:
                return messages, closed.reason


async def test_what_follows_the_upgrade_in_its_packet_is_kept() -> None:
    socket, _ = await upgraded(behind=frame(TEXT, b"one") + frame(TEXT, b"two")[:3])
    assert await socket.get_message() == "one"


async def test_messages_come_before_the_reason_of_the_end(autojump_clock: Any) -> None:
    words = frame(TEXT, b"one") + frame(BYTES, b"two") + bye(4001, "no credit")
    socket, wire = await upgraded(words + b"bytes behind the end")
    assert await all_of(socket) == (["one", b"two"], CloseReason(4001, "no credit"))
    assert wire.frames == [(CLOSE, b"\x0f\xa1no credit")]
    await socket.aclose()
    assert wire.closed and len(wire.frames) == 1


async def test_a_pong_that_can_not_leave_costs_neither_messages_nor_the_reason(autojump_clock: Any) -> None:
    """A server says why it goes and hangs up; what we send then breaks."""
    socket, wire = await upgraded(
        frame(TEXT, b"one") + frame(PING) + frame(TEXT, b"two") + frame(PING) + bye(1008, "no")
    )
    wire.broken = True
    assert await all_of(socket) == (["one", "two"], CloseReason(1008, "no"))


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(TEXT, b"\xc3\x28"), 1007),
        (frame(MORE, b"x"), 1002),
        (frame(TEXT, b"x", last=False) + frame(TEXT, b"y"), 1002),
        (frame(3, b"x"), 1002),
        (b"\xc1\x01x", 1002),  # a reserved bit
        (b"\x81\x81\0\0\0\0x", 1002),  # masked
        (frame(PING, b"x", last=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, b"\x03\xed"), 1002),  # 1005 is not for the wire
        (frame(CLOSE, b"\x03\xe8\xc3\x28"), 1007),
        (b"\x82\xff" + b"\xff" * 8, 1002),
    ],
)
async def test_frames_that_break_the_rules_end_it_and_the_server_is_told(
    frames: bytes, code: int, autojump_clock: Any
) -> None:
    socket, wire = await upgraded(frame(TEXT, b"one") + frames + frame(TEXT, b"two"))
    messages, reason = await all_of(socket)
    assert messages == ["one"] and reason is not None and reason.code == code and reason.reason
    ((opcode, payload),) = wire.frames
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
    with pytest.raises(ConnectionClosed):
        await socket.send_message("on")


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
async def test_an_end_in_the_middle_of_a_frame(cut: int, autojump_clock: Any) -> None:
    socket, wire = await upgraded(frame(TEXT, b"one") + frame(TEXT, b"twoo")[:cut])
    wire.hang_up()
    assert await all_of(socket) == (["one"], CloseReason(1006))


@pytest.mark.parametrize(
    "pieces",
    [
        [frame(TEXT, b"x" * 101)],
        [frame(TEXT, b"x" * 60, last=False), frame(MORE, b"x" * 41)],
        [frame(BYTES, b"x" * 2000)[i : i + 1] for i in range(2004)],
        [frame(TEXT, "é".encode() * 51)],
    ],
    ids=["one frame", "fragments", "trickling", "bytes, not letters"],
)
async def test_a_message_over_the_limit_ends_it(pieces: list[bytes], autojump_clock: Any) -> None:
    socket, wire = await upgraded(*pieces, limit=100)
    assert await all_of(socket) == ([], CloseReason(1009, "a message of more than 100 bytes"))
    assert wire.frames == [(CLOSE, b"\x03\xf1a message of more than 100 bytes")]


async def test_the_limit_is_of_each_message(autojump_clock: Any) -> None:
    fragments = frame(BYTES, b"x" * 60, last=False) + frame(MORE, b"x" * 40)
    socket, _ = await upgraded(frame(TEXT, b"x" * 100) + fragments * 2 + bye(1000), limit=100)
    assert await all_of(socket) == (["x" * 100, b"x" * 100, b"x" * 100], CloseReason(1000))


async def test_fragments_without_end_take_no_memory() -> None:
    """Empty ones never reach the limit."""
    socket, wire = await upgraded(frame(TEXT, b"", last=False), *[frame(MORE, b"", last=False) * 500] * 100)
    wire.say(frame(MORE, b"whole"))
    tracemalloc.start()
    try:
        assert await socket.get_message() == "whole"
        assert tracemalloc.get_traced_memory()[1] < 100_000  # a list of them would be four times as much
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("flood", [frame(TEXT), frame(PING), frame(PONG), frame(BYTES, b"", last=False)])
async def test_a_flood_of_tiny_frames_lets_the_others_run(flood: bytes, autojump_clock: Any) -> None:
    first = frame(BYTES, b"", last=False) if flood[0] == BYTES else b""
    flood = frame(MORE, b"", last=False) if first else flood
    socket, wire = await upgraded(first + flood * 10_000)
    turns = Turns()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        wire.say(frame(MORE, b"end") if first else frame(TEXT, b"end"))
        while True:
            messages = await socket.get_messages()
            assert len(messages) <= FRAMES_MAX
            if messages[-1] in ("end", b"end"):
                break
        nursery.cancel_scope.cancel()
    assert turns.count >= 10_000 / FRAMES_MAX - 1


async def test_a_reader_does_not_wait_for_a_sender_that_is_stuck(autojump_clock: Any) -> None:
    socket, wire = await upgraded()
    wire.stick()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(socket.send_message, "long")
        await trio.testing.wait_all_tasks_blocked()
        wire.say(frame(PING, b"1") + frame(TEXT, b"one") + frame(PING, b"2") + frame(TEXT, b"two"))
        with trio.fail_after(PATIENCE_S):
            assert await socket.get_messages() == ["one", "two"]
        wire.free.set()
    assert wire.frames == [(TEXT, b"long"), (PONG, b"2")]  # the latest is enough


async def test_an_end_is_told_though_a_sender_is_stuck(autojump_clock: Any) -> None:
    socket, wire = await upgraded()
    wire.stick()
    ends: list[CloseReason | None] = []

    async def send(text: str) -> None:
        try:
            await socket.send_message(text)
        except ConnectionClosed as closed:
            ends.append(closed.reason)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, "begun")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(send, "waits")
        await trio.testing.wait_all_tasks_blocked()
        wire.say(bye(1001, "restart"))
        assert await all_of(socket) == ([], CloseReason(1001, "restart"))
        await send("too late")
        wire.free.set()
    assert ends == [CloseReason(1001, "restart")] * 2
    assert wire.frames == [(TEXT, b"begun"), (CLOSE, b"\x03\xe9restart")]


async def test_the_last_word_has_a_deadline(autojump_clock: Any) -> None:
    """The kernel's buffer is full, and nobody sends: only the answer to the close frame waits."""
    socket, wire = await upgraded(frame(TEXT, b"one") + bye(1001))
    wire.stick()
    assert await all_of(socket) == (["one"], CloseReason(1001))
    assert trio.current_time() == pytest.approx(LAST_WORD_S)


async def test_two_that_send_at_once_do_not_mix_and_keep_their_order() -> None:
    socket, wire = await upgraded()
    wire.stick()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(socket.send_message, f"{number}a", f"{number}b")
            await trio.testing.wait_all_tasks_blocked()
        wire.free.set()
    assert [payload.decode() for _, payload in wire.frames] == [f"{n}{letter}" for n in range(5) for letter in "ab"]
    assert len(wire.sent) == 5


async def test_behind_half_a_frame_nothing_is_sent_but_a_good_bye(autojump_clock: Any) -> None:
    socket, wire = await upgraded()
    wire.stick()
    with trio.move_on_after(1):
        await socket.send_message("this is cut")
    wire.free.set()
    with pytest.raises(ConnectionClosed):
        await socket.send_message("this would be read as the rest of it")
    wire.say(frame(PING) + frame(TEXT, b"one"))
    assert await socket.get_message() == "one"
    wire.say(bye(1000))  # perhaps nothing had left: it is worth the try
    await socket.aclose()
    assert [len(write) for write in wire.sent] == [3, 8] and wire.closed


@pytest.mark.parametrize("blocked", [False, True])
async def test_a_send_that_is_cancelled_before_it_begins_does_no_harm(blocked: bool, autojump_clock: Any) -> None:
    socket, wire = await upgraded()
    async with trio.open_nursery() as nursery:
        if blocked:
            wire.stick()
            nursery.start_soon(socket.send_message, "before")
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            if not blocked:
                scope.cancel()
            await socket.send_message("never")
        assert scope.cancelled_caught
        wire.free.set()
    await socket.send_message("on")
    wire.say(bye(1000))
    await socket.aclose()
    assert wire.frames == [(TEXT, b"before")] * blocked + [(TEXT, b"on"), (CLOSE, b"\x03\xe8")]


async def test_a_reader_that_is_cancelled_loses_nothing(autojump_clock: Any) -> None:
    socket, wire = await upgraded(frame(TEXT, b"one") + frame(PING) + frame(TEXT, b"two"))
    wire.stick()
    with trio.move_on_after(1) as scope:
        await socket.get_messages()
    assert scope.cancelled_caught
    assert await socket.get_messages() == ["one"]
    assert await socket.get_messages() == ["two"]


async def test_pings_are_answered_in_any_order_or_at_the_end() -> None:
    socket, wire = await upgraded()
    answered: list[int] = []

    async def ping(number: int) -> None:
        try:
            await socket.ping()
            answered.append(number)
        except ConnectionClosed as closed:
            assert closed.reason == CloseReason(1001)
            answered.append(-number)

    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(ping, number)
            await trio.testing.wait_all_tasks_blocked()
        payloads = [payload for _, payload in wire.frames]
        wire.say(frame(PONG, b"????") + frame(PONG, payloads[1]) + frame(TEXT, b"one"))
        await trio.testing.wait_all_tasks_blocked()
        assert answered == []  # nobody receives
        await socket.get_message()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(answered) == [1, 2]
        wire.say(bye(1001))
        await all_of(socket)
    assert answered[2:] == [-3]
    with pytest.raises(ConnectionClosed):
        await socket.ping()


async def test_a_ping_that_is_given_up_is_forgotten(autojump_clock: Any) -> None:
    socket, wire = await upgraded()
    for _ in range(3):
        with trio.move_on_after(1):
            await socket.ping()
    assert socket._pings == {}
    wire.say(frame(PONG, wire.frames[1][1]) + frame(TEXT, b"one"))
    assert await socket.get_message() == "one"


async def test_it_says_good_bye_while_another_task_receives() -> None:
    socket, wire = await upgraded()
    ends: list[CloseReason | None] = []

    async def read() -> None:
        ends.append((await all_of(socket))[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(socket.aclose)
        await trio.testing.wait_all_tasks_blocked()
        assert not wire.closed
        wire.say(frame(TEXT, b"too late"), bye(1000))
    assert ends == [CloseReason(1000)] and wire.closed


async def test_closed_is_closed() -> None:
    socket, wire = await upgraded(frame(TEXT, b"one"), frame(PING), bye(1000))
    await socket.aclose(3000)
    await socket.aclose()
    assert wire.frames == [(CLOSE, b"\x0b\xb8")]
    for use in (partial(socket.send_message, "x"), socket.ping, socket.get_message, socket.get_messages):
        with pytest.raises(ConnectionClosed):
            await use()
    assert not socket.flows


async def test_a_server_that_never_answers_the_good_bye_is_left(autojump_clock: Any) -> None:
    socket, wire = await upgraded(*[frame(TEXT, b"on and on")] * 1000)
    ends: list[CloseReason | None] = []

    async def read() -> None:
        ends.append((await all_of(socket))[1])

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5):
            await socket.aclose()
        assert wire.closed
        nursery.start_soon(read)
    assert ends == [CloseReason(1006)]


async def test_a_message_over_the_limit_during_the_good_bye_is_no_crash() -> None:
    socket, wire = await upgraded(frame(TEXT, b"x" * 60, last=False) + frame(MORE, b"x" * 60) + bye(1000), limit=100)
    await socket.aclose()
    assert wire.closed and wire.frames == [(CLOSE, b"\x03\xe8")]


async def test_a_closed_stream_does_not_flow() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        socket = WebSocket(stream, 100)
        assert socket.flows
        await stream.aclose()
        assert not socket.flows


# The upgrade


async def opens(said: Callable[[bytes], Sequence[bytes]], hang_up: bool = False) -> WebSocket:
    """The outcome where this is said, given the right answer."""
    wire, failed = Wire(), None
    socket = WebSocket(wire, 100)

    async def answer() -> None:
        await trio.testing.wait_all_tasks_blocked()
        wire.say(*said(accepted(wire)))
        if hang_up:
            wire.hang_up()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        try:
            await socket.open("here", "/v1", [(b"X-Key", b"sk-secret")], 5000)
        except Exception as error:
            failed = error
    if failed is not None:
        raise failed
    return socket


async def test_an_answer_may_come_in_any_pieces_and_after_others() -> None:
    def trickle(right: bytes) -> list[bytes]:
        whole = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + right + frame(TEXT, b"one")
        return [whole[i : i + 1] for i in range(len(whole))]

    socket = await opens(trickle)
    assert await socket.get_message() == "one" and socket.answer == b""


@pytest.mark.parametrize("header", [b"Sec-WebSocket-Extensions: x-deflate", b"Sec-WebSocket-Protocol: realtime"])
async def test_what_nobody_asked_for_is_refused(header: bytes) -> None:
    with pytest.raises(NoWebSocket, match="unrecognized"):
        await opens(lambda right: [right.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n")])


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b"Connection: Upgrade", b"Connection: keep-alive"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nno header"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nno\xff: header"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nX: a\0b"),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nUpgrade: h2c"),
        (b"HTTP/1.1 101", b"HTTP/2.0 101"),
    ],
)
async def test_an_acceptance_has_all_that_belongs_to_it(part: bytes, other: bytes) -> None:
    with pytest.raises(NoWebSocket):
        await opens(lambda right: [right.replace(part, other)])


async def test_an_acceptance_may_say_it_in_any_case_and_say_more() -> None:
    def chatty(right: bytes) -> list[bytes]:
        right = right.replace(
            b"Connection: Upgrade", b"connection:keep-alive\r\nConnection: x ,\tupgrade \r\nX: \xe9\r\nY:"
        )
        right = right.replace(b"Switching Protocols\r\n", b"Switching Protocols\nFolded: a\r\n \tb\r\n")
        return [right.replace(b"Upgrade: websocket", b"UPGRADE:  WebSocket")]

    await opens(chatty)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", NoWebSocket),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: \xff\r\n\r\n", NoWebSocket),
        (b"SSH-2.0-OpenSSH\r\n\r\n", NoWebSocket),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, UpgradeCut),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, UpgradeCut),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 6000, UpgradeCut),
        (b"HTTP/2.0 103 Early Hints\r\n\r\n", NoWebSocket),
        (b"HTTP/1.1 401 No\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", NoWebSocket),
        (b"HTTP/1.1 204 No Content\r\n\r\n", UpgradeRefused),
        (b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", UpgradeRefused),
    ],
)
async def test_whatever_else_is_answered_is_told(answer: bytes, error: type[Exception]) -> None:
    for hang_up in (True, False):
        with pytest.raises(error):
            await opens(lambda _: [answer], hang_up)


@pytest.mark.parametrize(
    ("begin", "more", "end"),
    [(b"X: a", b" ", b"b\r\n"), (b"X:", b" ", b"\0\r\n"), (b"", b"a:\r\n", b""), (b"X: a", b"\n ", b"\n")],
)
async def test_a_long_header_does_not_keep_the_others_from_running(begin: bytes, more: bytes, end: bytes) -> None:
    """Four times as much takes some four times as long: a pattern that tries each blank anew would take sixteen."""

    async def takes_s(number: int) -> float:
        header = b"Upgrade: websocket\r\n" + begin + more * number + end
        began = time.thread_time()
        with contextlib.suppress(NoWebSocket):
            await opens(lambda right: [right.replace(b"Upgrade: websocket\r\n", header)])
        return time.thread_time() - began

    short, long = [min([await takes_s(number) for _ in range(3)]) for number in (20_000, 80_000)]
    assert long < 10 * short


async def test_a_connection_that_breaks_is_told() -> None:
    class Breaking(Wire):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise trio.BrokenResourceError

    with pytest.raises(UpgradeCut):
        await WebSocket(Breaking(), 100).open("here", "/v1", [], 5000)


async def test_the_host_header_holds_a_name_as_idna_writes_it(autojump_clock: Any) -> None:
    wire = Wire()
    with trio.move_on_after(1):
        await WebSocket(wire, 100).open("m\u00fcsli.example:8443", "/v1", [], 5000)
    assert b"\r\nHost: xn--msli-0ra.example:8443\r\n" in b"".join(wire.sent)


async def test_no_two_requests_and_no_two_frames_are_masked_alike(autojump_clock: Any) -> None:
    """RFC 6455, 4.1 and 5.3: 16 bytes, and 4, that nobody can foresee."""
    nonces, keys = set(), set()
    for _ in range(3):
        wire = Wire()
        with trio.move_on_after(1):
            await WebSocket(wire, 100).open("here", "/v1", [], 5000)
        nonces.add(b"".join(wire.sent).partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0])
        socket, wire = await upgraded()
        await socket.send_message("one", "one")
        data = b"".join(wire.sent)
        keys |= {data[2:6], data[11:15]}
    assert len(nonces) == 3 and {len(base64.b64decode(nonce)) for nonce in nonces} == {16}
    assert len(keys) == 6


async def test_much_that_comes_with_the_upgrade_does_not_refuse_it() -> None:
    socket = await opens(lambda right: [right[:40], right[40:] + frame(TEXT) * 9000])
    assert await socket.get_message() == "" and socket.answer == b""


@pytest.mark.parametrize(
    ("resource", "name", "value"),
    [
        ("/v1?name=é", b"X-Key", b"x"),
        ("/v1", b"X-Key", b"sk-secret\n"),
        ("/v1", b"X-Key", b"sk-\0secret"),
        ("/v1", b"X Key", b"sk-secret"),
        ("/v1", b"X-Key: a", b"sk-secret"),
        ("/v1", b"X-Key", b"sk-secret\rX: y"),
        ("/v1", b"X-Key", b"sk-secret "),
    ],
)
async def test_what_no_request_can_hold_is_told_without_the_key(resource: str, name: bytes, value: bytes) -> None:
    wire = Wire()
    with pytest.raises(ValueError) as caught:
        await WebSocket(wire, 100).open("here", resource, [(name, value)], 5000)
    assert "secret" not in str(caught.value) and wire.sent == []


# Any messages, however they are cut

_MESSAGES = st.lists(
    st.one_of(st.text(max_size=300), st.binary(max_size=300), st.integers(0, 70_000).map(bytes)), max_size=12
)


@st.composite
def _conversations(draw: st.DrawFn) -> tuple[list[str | bytes], list[bytes], list[bytes]]:
    """Messages, their frames with pings between in pieces of any size, and the pings."""
    messages, pings = draw(_MESSAGES), []
    data = b""
    for message in messages:
        whole = message.encode() if isinstance(message, str) else message
        cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
        bounds = [0, *cuts, len(whole)]
        opcode = TEXT if isinstance(message, str) else BYTES
        for number, (begin, end) in enumerate(pairwise(bounds)):
            data += frame(MORE if number else opcode, whole[begin:end], last=number == len(bounds) - 2)
            if draw(st.booleans()):
                pings.append(draw(st.binary(max_size=20)))
                data += frame(PING, pings[-1])
    data += bye(1000, "that was all")
    size = draw(st.sampled_from([1, 2, 7, 100, 4096, 65536]) if len(data) < 5000 else st.integers(1000, 65536))
    return messages, [data[i : i + size] for i in range(0, len(data), size)], pings


@settings(deadline=None, max_examples=60)
@given(_conversations(), st.booleans())
def test_every_message_arrives_whole_and_in_order(
    conversation: tuple[list[str | bytes], list[bytes], list[bytes]], one_by_one: bool
) -> None:
    messages, pieces, pings = conversation

    async def talk() -> None:
        socket, wire = await upgraded(*pieces)
        if one_by_one:
            assert [await socket.get_message() for _ in messages] == messages
            assert await all_of(socket) == ([], CloseReason(1000, "that was all"))
        else:
            assert await all_of(socket) == (messages, CloseReason(1000, "that was all"))
        assert wire.frames == [(PONG, ping) for ping in pings] + [(CLOSE, b"\x03\xe8that was all")]

    trio.run(talk, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=30)
@given(_MESSAGES, _MESSAGES)
def test_another_implementation_understands_us_and_we_understand_it(
    ours: list[str | bytes], theirs: list[str | bytes]
) -> None:
    heard: list[str | bytes] = []
    reasons: list[int] = []

    async def serve(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            connection = await (await wrap_server_stream(nursery, stream)).accept()
            for message in theirs:
                await connection.send_message(message)
            try:
                while True:
                    heard.append(await connection.get_message())
            except ServerClosed as closed:
                reasons.append(closed.reason.code)

    async def talk() -> None:
        near, far = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, far)
            socket = WebSocket(near, 2**20)
            await socket.open("here", "/v1", [], 5000)
            await socket.send_message(*ours)
            said: list[str | bytes] = []
            while len(said) < len(theirs):
                said += await socket.get_messages()
            assert said == theirs
            async with trio.open_nursery() as pinging:
                pinging.start_soon(socket.ping)
                with trio.move_on_after(1):
                    await socket.get_message()
            await socket.aclose(3001)

    trio.run(talk, clock=trio.testing.MockClock(autojump_threshold=0))
    assert heard == ours and reasons == [3001]
