"""TLS over real loopback sockets: whom it trusts, and what it tells the owner otherwise."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from select import select

import pytest
import trio
import trio.testing
import trustme
from attrs import evolve
from loopback import (
    HEADERS,
    KEY,
    SETTINGS,
    authority,
    failure,
    server,
)
from turns import Turns

from kioskd.config.schema import Endpoint
from kioskd.endpoints.dial import dial
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.tls import TlsStream, client_context, encrypt


@pytest.fixture
def ca(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file of the CA that vouches for it."""
    return authority(tmp_path)


async def test_tls_with_the_owners_ca(ca: tuple[ssl.SSLContext, str]) -> None:
    async with server(ca[0]) as port:
        settings = evolve(SETTINGS, extra_ca=ca[1])
        async with dial(settings, HEADERS, f"wss://localhost:{port}/x?model=m") as connection:
            await connection.send_message("!")
            assert await connection.get_message() == f"Bearer {KEY}!"


async def test_an_unknown_ca_is_refused_and_named(ca: tuple[ssl.SSLContext, str]) -> None:
    async with server(ca[0]) as port:
        error = await failure(SETTINGS, f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.TLS and "extra_ca" in str(error)


async def test_a_port_without_tls_is_told() -> None:
    async with server() as port:
        error = await failure(SETTINGS, f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.TLS


async def refused_certificate(context: ssl.SSLContext, settings: Endpoint) -> str:
    async with server(context) as port:
        error = await failure(settings, f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.TLS
    return str(error)


async def test_an_expired_certificate_asks_for_the_clock(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert("localhost", not_before=past - timedelta(days=1), not_after=past).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert "timedatectl" in await refused_certificate(context, evolve(SETTINGS, extra_ca=str(tmp_path / "ca.pem")))


async def test_a_certificate_for_another_name_asks_for_the_url(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    text = await refused_certificate(context, evolve(SETTINGS, extra_ca=str(tmp_path / "ca.pem")))
    assert "url" in text and "elsewhere.example" not in text.partition("url")[2]


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_an_extra_ca_that_is_none_is_the_owners_to_mend(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with server() as port:
        error = await failure(evolve(SETTINGS, extra_ca=str(path)), f"wss://localhost:{port}/")
    assert error.failure.kind is Kind.SETTINGS and str(path) in str(error)


async def test_openssls_own_variables_are_honoured(
    ca: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca[1])
    client_context.cache_clear()
    try:
        async with server(ca[0]) as port, dial(SETTINGS, HEADERS, f"wss://localhost:{port}/") as connection:
            await connection.send_message("!")
            assert await connection.get_message() == f"Bearer {KEY}!"
    finally:
        client_context.cache_clear()


def test_one_context_serves_all_connections() -> None:
    assert client_context(None) is client_context(None)


async def pair(ca: tuple[ssl.SSLContext, str]) -> tuple[TlsStream, trio.SSLStream[trio.SocketStream]]:
    """Both ends of an encrypted connection: ours, and trio's own."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        raw = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        theirs = trio.SSLStream(await listener.accept(), ca[0], server_side=True, https_compatible=True)
    ends: list[TlsStream] = []

    async def connect() -> None:
        ends.append(await encrypt(raw, "localhost", ca[1]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.do_handshake)
        nursery.start_soon(connect)
    return ends[0], theirs


async def test_every_byte_arrives_both_ways_at_once(ca: tuple[ssl.SSLContext, str]) -> None:
    """More than any buffer on the way holds, in pieces of every size."""
    ours, theirs = await pair(ca)
    data = bytes(range(256)) * 8192

    async def send(stream: trio.abc.SendStream, size: int) -> None:
        for begin in range(0, len(data), size):
            await stream.send_all(data[begin : begin + size])

    async def receive(stream: trio.abc.ReceiveStream) -> None:
        came = bytearray()
        while len(came) < len(data):
            came += await stream.receive_some(50_000)
        assert came == data

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, ours, 33_333)
        nursery.start_soon(send, theirs, 7_777)
        nursery.start_soon(receive, ours)
        nursery.start_soon(receive, theirs)


async def test_all_records_that_came_are_one_read(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, theirs = await pair(ca)
    for number in range(5):
        await theirs.send_all(b"%d" % number)
    came = b""
    reads = 0
    while len(came) < 5:
        came += await ours.receive_some()
        reads += 1
    assert came == b"01234"
    assert reads < 5


@pytest.mark.parametrize("polite", [True, False])
async def test_the_end_is_the_end_with_a_goodbye_or_without(ca: tuple[ssl.SSLContext, str], polite: bool) -> None:
    ours, theirs = await pair(ca)
    await theirs.send_all(b"last")
    if polite:
        theirs._https_compatible = False  # then it says goodbye
        with trio.move_on_after(0.1):
            await theirs.unwrap()
    else:
        await theirs.transport_stream.aclose()
    assert await ours.receive_some() == b"last"
    assert await ours.receive_some() == b""
    assert await ours.receive_some() == b""


async def test_what_was_tampered_with_is_not_read(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, theirs = await pair(ca)
    await theirs.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(trio.BrokenResourceError):
        await ours.receive_some()


async def test_what_came_before_it_is_read(ca: tuple[ssl.SSLContext, str]) -> None:
    """Its last words, in one packet with the trouble."""
    ours, theirs = await pair(ca)
    await theirs.send_all(b"last words")
    await theirs.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await ours.receive_some() == b"last words"
    for _ in range(2):
        with suppress(trio.BrokenResourceError):
            assert await ours.receive_some() == b""


async def test_a_cancelled_read_loses_nothing(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, theirs = await pair(ca)
    for number in range(20):
        with trio.move_on_after(0):
            await ours.receive_some()
            pytest.fail("nothing was sent")
        await theirs.send_all(b"%02d" % number)
        assert await ours.receive_some() == b"%02d" % number


async def test_a_closed_connection_says_so(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, _ = await pair(ca)
    await ours.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"?")


async def test_long_writes_that_the_kernel_takes_at_once_let_the_others_run(ca: tuple[ssl.SSLContext, str]) -> None:
    """A long utterance goes again in pieces, faster than the link: a cancellation has to come between."""
    ours, _ = await pair(ca)
    turns = Turns()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        for _ in range(5):  # the kernel takes no more than some
            await ours.send_all(bytes(25_000))
        nursery.cancel_scope.cancel()
    assert turns.count >= 3  # less the first and, by trio's own dice, the last


async def test_a_write_that_the_kernel_takes_in_part_arrives_whole(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, theirs = await pair(ca)
    data = bytes(range(256)) * 40_000
    came = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, data)
        await trio.testing.wait_all_tasks_blocked()
        while len(came) < len(data):
            came += await theirs.receive_some()
    assert came == data


async def test_a_connection_that_the_other_side_has_reset_is_told_by_the_write(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, theirs = await pair(ca)
    linger = (1).to_bytes(4, "little") + bytes(4)
    theirs.transport_stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)  # RST
    await trio.aclose_forcefully(theirs)
    with pytest.raises(trio.BrokenResourceError):
        for _ in range(3):
            await ours.send_all(b"?")


async def test_a_descriptor_that_has_gone_to_somebody_else_is_not_written_to(ca: tuple[ssl.SSLContext, str]) -> None:
    ours, _ = await pair(ca)
    number = ours.socket.fileno()
    await ours.aclose()
    mine, other = trio.socket.socketpair()
    with mine, other:
        assert number in (mine.fileno(), other.fileno())  # the lowest that is free is taken
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"?")
        assert not select([mine, other], [], [], 0)[0]
