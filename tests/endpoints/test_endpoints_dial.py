"""Dialling over real loopback sockets: refusals, silence and nonsense, each with its own clear line."""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from loopback import (
    GUID,
    HEADERS,
    KEY,
    PATIENT,
    SETTINGS,
    UPGRADED,
    failure,
    raw_server,
    server,
)
from trio_websocket import ConnectionClosed as ServerClosed
from trio_websocket import WebSocketRequest, serve_websocket

from kioskd.config.schema import Endpoint
from kioskd.endpoints.dial import DialError, dial
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.websocket import ConnectionClosed


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_a_refused_upgrade_carries_status_code_and_wait(status: int) -> None:
    async with server() as port:
        error = await failure(SETTINGS, f"ws://127.0.0.1:{port}/status/{status}")
    assert (error.failure.status, error.failure.code, error.failure.retry_after_s) == (status, "slow_down", 17)


async def test_nobody_listens() -> None:
    async with server() as port:
        pass
    assert (await failure(SETTINGS, f"ws://127.0.0.1:{port}/")).failure.kind is Kind.CONNECT


async def test_plain_text_stays_on_this_machine() -> None:
    error = await failure(SETTINGS, "ws://192.0.2.1/v1/realtime")
    assert error.failure.kind is Kind.SETTINGS and "wss://" in str(error)


async def test_a_name_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_found(*_: object, **__: object) -> object:
        raise trio.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", not_found)
    error = await failure(SETTINGS, "wss://nowhere.invalid/")
    assert error.failure.kind is Kind.DNS and "nowhere.invalid" in str(error)


async def test_silence_has_a_deadline(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> object:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    error = await failure(SETTINGS, "wss://localhost/")
    assert error.failure.kind is Kind.SILENCE and "open_timeout_s" in str(error)
    assert trio.current_time() == pytest.approx(5, abs=0.1)


async def test_what_the_caller_raises_comes_out_as_it_is() -> None:
    async with server() as port:
        with pytest.raises(KeyError):
            async with dial(SETTINGS, HEADERS, f"ws://127.0.0.1:{port}/"):
                raise KeyError("mine")
        group = ExceptionGroup("mine too", [KeyError(1)])
        with pytest.raises(ExceptionGroup) as caught:
            async with dial(SETTINGS, HEADERS, f"ws://127.0.0.1:{port}/"):
                raise group
    assert caught.value is group


TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize(
    "says",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"220 mail\r\n",
        TLS_ALERT,
        b"\0" * 5000,
        b"x" * 200_000,
        b"HTTP/1.1 000 x\r\n\r\n",
    ],
)
async def test_a_server_that_is_no_websocket_is_told_at_once(says: bytes, closes: bool) -> None:
    async with raw_server(says, closes=closes) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert error.failure.kind is Kind.LOST and "does not speak WebSocket" in str(error)


async def test_a_server_that_says_nothing_and_goes() -> None:
    async with raw_server(b"") as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert error.failure.kind is Kind.LOST and "closed the connection during the upgrade" in str(error)


async def test_a_key_that_is_repeated_in_what_is_no_http_is_not_told() -> None:
    key = "pass\\word12345678"
    async with raw_server(b"HTTP/ERR %s unknown\r\n\r\n" % key.encode(), closes=False) as port:
        with pytest.raises(DialError) as caught:
            async with dial(PATIENT, [(b"api-key", key.encode())], f"ws://127.0.0.1:{port}/"):
                pass
    assert "word1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "looked_up"), [("m\u00fcsli.localhost", b"xn--msli-0ra.localhost"), ("LOCALHOST", b"localhost")]
)
async def test_a_name_may_have_any_letters(name: str, looked_up: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def open_stream(host: str | bytes, port: int) -> trio.SocketStream:
        asked.append(trio._socket.encode_hostname(host) if isinstance(host, str) else host)
        return await real("127.0.0.1", port)

    real = trio.open_tcp_stream
    monkeypatch.setattr(trio, "open_tcp_stream", open_stream)
    async with server() as port, dial(SETTINGS, HEADERS, f"ws://{name}:{port}/"):
        pass
    assert asked == [looked_up]


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"


@pytest.mark.parametrize(
    "says",
    [
        SWITCHING + b"\r\nSec-WebSocket-Accept: another's\r\n\r\n",
        SWITCHING + b", \xff\r\n\r\n",
        UPGRADED.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: %s\r\n\r\n" % KEY.encode()),
    ],
    ids=["wrong answer", "no ASCII", "echoes the key"],
)
async def test_an_upgrade_that_breaks_the_rules_is_no_refusal(says: bytes) -> None:
    async with raw_server(says, closes=False) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.kind, error.failure.status) == (Kind.LOST, None) and "does not speak WebSocket" in str(error)


@pytest.mark.parametrize(
    ("path", "value"), [("/v1?name=\u00e9", KEY), ("/v1", f"{KEY}\n"), ("/v1", f"{KEY}\0")], ids=repr
)
async def test_what_no_request_can_hold_is_the_owners_to_mend(path: str, value: str) -> None:
    async with server() as port:
        with pytest.raises(DialError) as caught:
            async with dial(SETTINGS, [(b"Authorization", value.encode())], f"ws://127.0.0.1:{port}{path}"):
                pass
    assert caught.value.failure.kind is Kind.SETTINGS and KEY not in str(caught.value)


@pytest.mark.parametrize("says", [b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n"])
async def test_a_web_server_is_told_by_its_status(says: bytes) -> None:
    async with raw_server(says) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.kind, error.failure.status) == (Kind.UPGRADE, int(says.split()[1]))


async def test_a_refusal_whose_body_ends_with_the_connection_keeps_its_status_and_words() -> None:
    async with raw_server(b'HTTP/1.1 401 Unauthorized\r\n\r\n{"error":{"code":null,"type":"invalid_api_key"}}') as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.status, error.failure.code) == (401, "invalid_api_key")


async def test_a_refusal_whose_body_never_ends_keeps_its_status() -> None:
    async with raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno", closes=False) as port:
        error = await failure(evolve(SETTINGS, open_timeout_s=0.2), f"ws://127.0.0.1:{port}/")
    assert error.failure.status == 403


async def test_a_body_without_end_is_not_collected() -> None:
    async with raw_server(
        b"HTTP/1.1 500 Oops\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 10**6, closes=False
    ) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert error.failure.status == 500 and len(str(error)) < 400


NOW = "Date: Sat, 21 Nov 2026 05:00:00 GMT\r\n"


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ("Retry-After: 17\r\n", "", 17),
        (f"Retry-After: Sat, 21 Nov 2026 05:01:30 GMT\r\n{NOW}", "", 90),
        (f"Retry-After: Sat, 21 Nov 2026 04:00:00 GMT\r\n{NOW}", "", 0),
        ("Retry-After: Sat, 21 Nov 2026 05:01:30 GMT\r\n", "", None),
        ("Retry-After: soon\r\n", "", None),
        (f"Retry-After: {'9' * 500}\r\n", "", None),
        ("", '{"error":{"code":429,"reset_seconds":12.5}}', 12.5),
        ("", '{"error":{"code":429,"reset_seconds":"x"}}', None),
        ("", '{"error":"too many"}', None),
        ("", "[" * 10_000, None),
    ],
)
async def test_the_told_wait_is_read_wherever_it_stands(headers: str, body: str, wait_s: float | None) -> None:
    text = f"HTTP/1.1 429 Too Many Requests\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
    async with raw_server(text.encode()) as port:
        error = await failure(PATIENT, f"ws://127.0.0.1:{port}/")
    assert (error.failure.status, error.failure.retry_after_s) == (429, wait_s)


async def test_a_key_of_any_shape_is_masked_in_the_servers_words() -> None:
    body = b'{"error":{"message":"the key token.of.a.broker\\u0007, or sk-abcdefghijklmnop, is\\nunknown"}}'
    says = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with raw_server(says) as port:
        with pytest.raises(DialError, match=r"HTTP 401: the key \*\*\* , or \*\*\*, is unknown$"):
            async with dial(PATIENT, [(b"api-key", b"token.of.a.broker")], f"ws://127.0.0.1:{port}/"):
                pass


CLOSE = b"\x88\x02\x0b\xb8"  # 3000


async def drain(settings: Endpoint, port: int, kept: list[object]) -> list[str | bytes]:
    messages: list[str | bytes] = []
    async with dial(settings, HEADERS, f"ws://127.0.0.1:{port}/") as connection:
        kept.append(connection)
        try:
            while True:
                messages.append(await connection.get_message())
        except ConnectionClosed:
            pass
    return messages


async def test_words_that_come_with_the_upgrade_are_kept() -> None:
    async with raw_server(UPGRADED + b"\x81\x03bad" + CLOSE) as port:
        assert await drain(PATIENT, port, []) == ["bad"]


@pytest.mark.parametrize(
    "frames",
    [
        b"",
        b"\xff" * 100,
        b"\x81\xff" + b"\0" * 20,
        b"\x88\x01\x00",
        CLOSE + b"\x89\x01x",
        b"\x89\x01x" + CLOSE + CLOSE,
        b"\x8a\x01x",
        b"\x81\x02\xc3\x28",
        b"\x80\x01x",
        b"\x89\x7f" + b"\0" * 8,
        b"\x82\x7f\0\0\0\0\x02\0\0\0" + b"\0" * (2**25),
    ],
    ids=lambda frames: frames[:8].hex() or "nothing",
)
async def test_frames_that_no_honest_peer_sends_end_it_and_no_more(frames: bytes) -> None:
    kept: list[object] = []  # alive, so that no garbage collector closes what dial should have closed
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with raw_server(UPGRADED + frames) as port:
        try:
            assert await drain(PATIENT, port, kept) == []
        except DialError as error:
            assert error.failure.kind is Kind.LOST and "\n" not in str(error)
        open_inside = len(list(Path("/proc/self/fd").iterdir()))
    assert open_inside <= before + 2  # the listener and the server's own side: ours is closed


@pytest.mark.parametrize("url", ["", "wss://", "https://example.org/", "wss://h:99999/", "wss://[::1/", "h:1"])
async def test_a_url_that_leads_nowhere_is_the_owners_to_mend(url: str) -> None:
    assert (await failure(SETTINGS, url)).failure.kind is Kind.SETTINGS


async def test_a_cancelled_connection_says_good_bye() -> None:
    closed: list[int] = []
    bye = trio.Event()

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            await connection.get_message()
        except ServerClosed as error:
            closed.append(error.reason.code if error.reason else 0)
            bye.set()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve_websocket, handle, "127.0.0.1", 0, None)
        # Without a reader the close frame's answer would be waited for in vain, for all of close_timeout_s.
        with trio.fail_after(20), trio.CancelScope() as scope:
            async with dial(evolve(SETTINGS, close_timeout_s=60), HEADERS, f"ws://127.0.0.1:{listening.port}/"):
                scope.cancel()
                await trio.sleep_forever()
        await bye.wait()
        nursery.cancel_scope.cancel()
    assert closed == [1000]


@asynccontextmanager
async def listener(heard: list[str | bytes], bye: trio.Event) -> AsyncIterator[str]:
    """A server that only listens; its URL."""

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            while True:
                heard.append(await connection.get_message())
        except ServerClosed:
            bye.set()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve_websocket, handle, "127.0.0.1", 0, None)
        with trio.fail_after(20):
            yield f"ws://127.0.0.1:{listening.port}/"
            await bye.wait()
        nursery.cancel_scope.cancel()


def count_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the writes from now on."""
    writes: list[int] = []
    send_all = trio.SocketStream.send_all

    async def counted(self: trio.SocketStream, data: bytes) -> None:
        writes.append(len(data))
        await send_all(self, data)

    monkeypatch.setattr(trio.SocketStream, "send_all", counted)
    return writes


async def test_what_is_sent_together_leaves_in_one_write_and_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str | bytes] = []
    async with listener(heard, trio.Event()) as url, dial(SETTINGS, HEADERS, url) as connection:
        writes = count_writes(monkeypatch)
        await connection.send_message("append", "commit", "create")
        assert len(writes) == 1
    assert heard == ["append", "commit", "create"]


async def test_a_link_flows_until_something_waits_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsent(_: int, __: int, answer: array[int]) -> int:
        answer[0] = 1
        return 0

    async with listener([], trio.Event()) as url, dial(SETTINGS, HEADERS, url) as connection:
        assert connection.flows
        monkeypatch.setattr("fcntl.ioctl", unsent)
        assert not connection.flows


async def test_a_ping_that_comes_while_it_says_good_bye_is_no_crash() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        key = request.partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
        await stream.send_all(UPGRADED.replace(b"ACCEPT", base64.b64encode(hashlib.sha1(key + GUID).digest())))
        assert await stream.receive_some(), "the close frame"
        await stream.send_all(b"\x89\x00" + b"\x88\x02\x03\xe8")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with trio.fail_after(20):
            async with dial(SETTINGS, HEADERS, f"ws://127.0.0.1:{port}/"):
                pass
        nursery.cancel_scope.cancel()
