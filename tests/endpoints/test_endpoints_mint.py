"""Minting over real loopback sockets: the shapes of an answer, refusals, silence and nonsense."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import KEY, authority, proxy, serve_tcp

from kioskd.config.schema import Auth, Dialect, Endpoint, Mint, MintKind
from kioskd.endpoints import tcp
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.mint import MAX_BODY_BYTES, Minted, mint
from kioskd.endpoints.policy import Failure, Kind, OwnerMustAct, Wait, judge

HERE = Endpoint("here", "ws://127.0.0.1:1/v1/realtime", "m", mint=Mint(timeout_s=30))
EPHEMERAL = "ek_0123456789abcdef"


def answer(body: object, status: str = "200 OK", *headers: str) -> bytes:
    text = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(text)}", "", ""]
    return "\r\n".join(lines).encode() + text


@asynccontextmanager
async def minting(
    says: bytes, log: list[bytes], *, context: ssl.SSLContext | None = None, closes: bool = True
) -> AsyncIterator[int]:
    """A server that reads a whole request into `log`, says something, and closes or stays."""

    async def handle(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True) if context else raw
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            length = int(re.search(rb"Content-Length: (\d+)", request)[1])  # type: ignore[index]
            while len(request.partition(b"\r\n\r\n")[2]) < length:
                request += await stream.receive_some()
            log.append(request)
            await stream.send_all(says)
            if not closes:
                await trio.sleep_forever()
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_tcp, handle)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def at(port: int, kind: MintKind = MintKind.CLIENT_SECRET, **changes: object) -> Endpoint:
    """An endpoint on loopback that mints so."""
    url = f"http://127.0.0.1:{port}/kiosk" if kind is MintKind.BROKER else None
    changes = {"url": f"ws://127.0.0.1:{port}/v1/realtime", "mint": Mint(kind, url, timeout_s=30)} | changes
    return evolve(HERE, **changes)  # type: ignore[arg-type]


async def minted(endpoint: Endpoint, key: str = KEY) -> Minted:
    assert endpoint.mint is not None
    found = await mint(endpoint, endpoint.mint, key)
    assert EPHEMERAL not in repr(found)
    return found


async def failure_of(endpoint: Endpoint, key: str = KEY) -> Failure:
    with pytest.raises(DialError) as caught:
        await minted(endpoint, key)
    text = str(caught.value) + repr(caught.value.failure)
    assert not key or key not in text
    assert EPHEMERAL not in text and "\n" not in text
    return caught.value.failure


async def failure(says: bytes, kind: MintKind = MintKind.CLIENT_SECRET, **changes: object) -> Failure:
    async with minting(says, []) as port:
        return await failure_of(at(port, kind, **changes))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"value": EPHEMERAL, "expires_at": 1, "session": {"type": "realtime"}}, Minted(EPHEMERAL, None)),
        ({"id": "sess_1", "client_secret": {"value": EPHEMERAL, "expires_at": 1}}, Minted(EPHEMERAL, None)),
        ({"url": "ws://127.0.0.1:9/s?t=abcd"}, Minted(None, "ws://127.0.0.1:9/s?t=abcd")),
        ({"url": "wss://127.0.0.1/s", "client_secret": EPHEMERAL}, Minted(EPHEMERAL, "wss://127.0.0.1/s")),
        ({"value": EPHEMERAL, "url": None, "client_secret": None, "error": None}, Minted(EPHEMERAL, None)),
    ],
)
async def test_the_key_and_the_address_are_found_wherever_they_stand(body: object, expected: Minted) -> None:
    async with minting(answer(body, "201 Created"), []) as port:
        assert await minted(at(port)) == expected


async def test_a_ga_client_secret_is_asked_for_in_the_words_of_the_wire() -> None:
    log: list[bytes] = []
    async with minting(answer({"value": EPHEMERAL}), log) as port:
        await minted(at(port, headers={"X-Kiosk": "lobby"}))
    head, _, body = log[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/realtime/client_secrets HTTP/1.1\r\n")
    lines = head.decode().split("\r\n")
    assert {f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {KEY}", "X-Kiosk: lobby"} <= set(lines)
    assert json.loads(body) == {"session": {"type": "realtime", "model": "m"}}


async def test_a_beta_session_is_asked_for_with_the_betas_header() -> None:
    log: list[bytes] = []
    async with minting(answer({"value": EPHEMERAL}), log) as port:
        await minted(at(port, MintKind.SESSION, dialect=Dialect.BETA))
    head, _, body = log[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/realtime/sessions HTTP/1.1\r\n")
    assert b"\r\nOpenAI-Beta: realtime=v1" in head
    assert json.loads(body) == {"model": "m"}


async def test_a_key_that_travels_in_the_address_does_so_here_too() -> None:
    log: list[bytes] = []
    key, quoted = "token+of/a=shop", "token%2Bof%2Fa%3Dshop"
    body = {"error": {"message": f"{key}, or {quoted}, is unknown"}}
    async with minting(answer(body, "401 Unauthorized"), log) as port:
        assert (await failure_of(at(port, auth=Auth.QUERY), key)).message.endswith("401: ***, or ***, is unknown")
    assert f"/client_secrets?api_key={quoted} ".encode() in log[0] and b"Authorization" not in log[0]


@pytest.mark.parametrize("key", ["", KEY])
async def test_a_broker_gets_its_own_key_or_none_and_nothing_of_the_endpoints(key: str) -> None:
    log: list[bytes] = []
    async with minting(answer({"value": EPHEMERAL}), log) as port:
        endpoint = at(port, MintKind.BROKER, headers={"X-Kiosk": "lobby"}, auth=Auth.API_KEY_HEADER)
        assert (await minted(evolve(endpoint, url="wss://elsewhere.example/"), key)).key == EPHEMERAL
    assert log[0].startswith(b"POST /kiosk HTTP/1.1\r\n") and b"X-Kiosk" not in log[0] and b"api-key" not in log[0]
    assert (f"Authorization: Bearer {KEY}".encode() in log[0]) == bool(key)


@pytest.mark.parametrize("kind", MintKind)
@pytest.mark.parametrize("key", ["se cret-secret", "secret\r\nX: y", "sécret"])
async def test_a_key_that_fits_no_header_is_told_without_being_shown(kind: MintKind, key: str) -> None:
    with pytest.raises(ValueError, match="key of endpoint here") as caught:
        await minted(at(1, kind), key)
    assert "cret" not in str(caught.value).replace("client_secret", "")


async def test_a_refusal_carries_status_code_and_wait() -> None:
    body = {"error": {"code": "invalid_api_key", "message": f"Bearer {KEY} is unknown"}}
    found = await failure(answer(body, "401 Unauthorized"))
    assert (found.kind, found.status, found.code) == (Kind.UPGRADE, 401, "invalid_api_key")
    assert isinstance(judge(found, 0, 0), OwnerMustAct) and "(mint)" in found.message

    found = await failure(answer({"error": "slow down"}, "429 Too Many Requests", "Retry-After: 17"))
    assert (found.status, found.retry_after_s) == (429, 17)
    assert judge(found, 0, 0) == Wait(17.125)


async def test_an_error_in_a_200_counts_as_one() -> None:
    found = await failure(answer({"error": {"type": "insufficient_quota", "message": "no credit"}}))
    assert (found.status, found.code) == (200, "insufficient_quota")


@pytest.mark.parametrize(
    "body", [{}, [], "x", None, {"value": 7}, {"token": EPHEMERAL}, {"value": ""}, {"client_secret": {}}, [EPHEMERAL]]
)
async def test_an_answer_without_a_key_is_told_without_its_words(body: object) -> None:
    assert (await failure(answer(body))).kind is Kind.LOST


@pytest.mark.parametrize("key", ["a b", "a\r\nX: y", "ä"])
async def test_a_minted_key_that_fits_no_header_is_none(key: str) -> None:
    found = await failure(answer({"value": key}))
    assert found.kind is Kind.LOST and "no header" in found.message


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\0" * 5000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 10_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_nonsense_is_told_at_once(says: bytes) -> None:
    assert (await failure(says)).kind is Kind.LOST


@pytest.mark.parametrize(("status", "kind"), [(200, Kind.LOST), (500, Kind.UPGRADE)])
async def test_a_body_without_end_is_not_collected(status: int, kind: Kind) -> None:
    says = (
        f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    )
    async with minting(says + b"10\r\n" + b"x" * 16, [], closes=False) as port:
        found = await failure_of(at(port))
    assert found.kind is kind and len(found.message) < 400
    assert kind is Kind.UPGRADE or f"{MAX_BODY_BYTES // 1024} KiB" in found.message


async def test_the_largest_body_that_is_taken() -> None:
    body = {"value": EPHEMERAL, "session": "x" * (MAX_BODY_BYTES - 60)}
    assert len(json.dumps(body)) in range(MAX_BODY_BYTES - 30, MAX_BODY_BYTES + 1)
    async with minting(answer(body), []) as port:
        assert (await minted(at(port))).key == EPHEMERAL


@pytest.mark.parametrize(
    ("says", "kind", "status"),
    [
        (b"", Kind.SILENCE, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Kind.SILENCE, None),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno", Kind.UPGRADE, 403),
    ],
)
async def test_silence_has_a_deadline(says: bytes, kind: Kind, status: int | None) -> None:
    async with minting(says, [], closes=False) as port:
        found = await failure_of(at(port, mint=Mint(timeout_s=0.2)))
    assert (found.kind, found.status) == (kind, status)
    assert kind is Kind.UPGRADE or "mint.timeout_s" in found.message


async def test_the_deadline_counts_from_the_name_lookup_on(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> object:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    assert (await failure_of(HERE)).kind is Kind.SILENCE
    assert trio.current_time() == pytest.approx(30, abs=0.1)


async def test_nobody_listens() -> None:
    async with minting(b"", []) as port:
        pass
    assert (await failure_of(at(port))).kind is Kind.CONNECT


async def test_over_tls_and_a_proxy_with_the_owners_ca(tmp_path: Path) -> None:
    context, ca = authority(tmp_path)
    log: list[bytes] = []
    asked: list[bytes] = []
    async with (
        minting(answer({"value": EPHEMERAL}), asked, context=context) as port,
        proxy(b"HTTP/1.1 200 Connection established\r\n\r\n", log) as proxy_port,
    ):
        endpoint = evolve(HERE, url=f"wss://localhost:{port}/v1/realtime")
        assert (await failure_of(endpoint)).kind is Kind.TLS
        through = evolve(endpoint, extra_ca=ca, proxy=f"http://127.0.0.1:{proxy_port}")
        assert (await minted(through)).key == EPHEMERAL
    assert log[0].startswith(f"CONNECT localhost:{port} ".encode()) and KEY.encode() not in log[0]
    assert f"Host: localhost:{port}\r\n".encode() in asked[0]


@pytest.mark.parametrize("kind", MintKind)
async def test_keys_never_travel_in_plain_text(kind: MintKind) -> None:
    endpoint = evolve(HERE, url="ws://192.0.2.1/v1/realtime", mint=Mint(kind, "http://192.0.2.1/"))
    found = await failure_of(endpoint)
    assert found.kind is Kind.SETTINGS and "https://" in found.message


US = "wss://eu.api.relay.example/v1/realtime"


@pytest.mark.parametrize(
    ("ours", "url", "fits"),
    [
        (US, "wss://eu.api.relay.example/s", True),
        (US, "wss://a.eu.api.relay.example:8443/s", True),
        (US, "wss://api.relay.example/s", True),
        (US, "wss://us.api.relay.example/s", True),
        ("wss://relay.example/", "wss://rt.relay.example/s", True),
        ("wss://relay.example/", "wss://other.example/s", False),
        ("wss://relay.example/", "wss://evil-relay.example/s", False),
        (US, "wss://relay.example/s", False),
        (US, "wss://evil-api.relay.example/s", False),
        (US, "wss://eu.api.relay.example.evil.example/s", False),
        (US, "ws://eu.api.relay.example/s", False),
        (US, "https://eu.api.relay.example/s", False),
        (US, "wss://u:p@eu.api.relay.example/s", False),
        (US, "wss://eu.api.relay.example/s#x", False),
        (US, "wss://eu.api.relay.example/a b", False),
        (US, "wss://eu.api.relay.example/\r\nX: y", False),
        (US, "wss://[::1", False),
        (US, "nonsense", False),
        ("wss://10.0.0.1/", "wss://20.0.0.1/", False),
        ("wss://10.0.0.1/", "wss://10.0.0.1/s", True),
    ],
)
async def test_a_minted_address_stays_with_its_endpoint(ours: str, url: str, fits: bool) -> None:
    async with minting(answer({"value": EPHEMERAL, "url": url}), []) as port:
        endpoint = at(port, url=ours, mint=Mint(MintKind.SESSION, f"http://127.0.0.1:{port}/sessions", timeout_s=30))
        if fits:
            assert (await minted(endpoint)).url == url
        else:
            assert (await failure_of(endpoint)).kind is Kind.SETTINGS


@pytest.mark.parametrize(
    ("url", "fits"), [("wss://anywhere.example/s?t=x", True), ("ws://anywhere.example/s", False), ("http://h/", False)]
)
async def test_a_broker_may_name_any_host_that_is_encrypted(url: str, fits: bool) -> None:
    async with minting(answer({"url": url}), []) as port:
        if fits:
            assert (await minted(at(port, MintKind.BROKER))).url == url
        else:
            assert (await failure_of(at(port, MintKind.BROKER))).kind is Kind.SETTINGS


HEADS = st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 401 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
JSON = st.recursive(
    st.none() | st.integers() | st.sampled_from([KEY, EPHEMERAL, "wss://127.0.0.1/", "", "x y"]),
    lambda inner: st.dictionaries(st.sampled_from(["value", "client_secret", "url", "error", "message"]), inner),
)


@settings(max_examples=150, deadline=None)
@given(HEADS, st.binary(max_size=200) | JSON.map(lambda body: json.dumps(body).encode()))
@example(b"HTTP/1.1 401 No\r\n\r\n", KEY.encode())
def test_whatever_a_server_says_is_a_session_or_a_failure_without_keys(head: bytes, rest: bytes) -> None:
    async def attempt() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(head + rest)
        await theirs.send_eof()
        with patch.object(tcp, "connect", return_value=ours):
            try:
                found = await minted(HERE)
            except DialError as error:
                assert KEY not in str(error) + repr(error.failure)
                assert "\n" not in str(error)
            else:
                assert found.key or found.url

    trio.run(attempt)
