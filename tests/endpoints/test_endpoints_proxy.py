"""Dialling through an HTTP proxy over real loopback sockets."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
from attrs import evolve
from loopback import (
    HEADERS,
    KEY,
    SETTINGS,
    authority,
    failure,
    proxy,
    server,
)

from kioskd.endpoints.dial import dial
from kioskd.endpoints.policy import Kind


@pytest.fixture
def ca(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file of the CA that vouches for it."""
    return authority(tmp_path)


async def test_through_a_proxy(ca: tuple[ssl.SSLContext, str]) -> None:
    log: list[bytes] = []
    async with server(ca[0]) as port, proxy(b"HTTP/1.1 200 Connection established\r\n\r\n", log) as proxy_port:
        settings = evolve(SETTINGS, extra_ca=ca[1], proxy=f"http://127.0.0.1:{proxy_port}")
        async with dial(settings, HEADERS, f"wss://localhost:{port}/") as connection:
            await connection.send_message("!")
            assert await connection.get_message() == f"Bearer {KEY}!"
        assert log[0].startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n".encode())
        assert KEY.encode() not in log[0]


@pytest.mark.parametrize("says", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b""])
async def test_a_proxy_that_refuses_is_named_with_its_words(says: bytes) -> None:
    async with proxy(says, []) as proxy_port:
        settings = evolve(SETTINGS, proxy=f"http://127.0.0.1:{proxy_port}")
        error = await failure(settings, "wss://localhost:9/")
    assert error.failure.kind is Kind.PROXY and f"127.0.0.1:{proxy_port}" in str(error)


async def test_the_proxys_login_comes_from_its_url_and_stays_out_of_every_text() -> None:
    log: list[bytes] = []
    async with proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", log) as proxy_port:
        settings = evolve(SETTINGS, proxy=f"http://me:p%40ss-word@127.0.0.1:{proxy_port}")
        error = await failure(settings, "wss://localhost:9/")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss-word") in log[0]
    assert error.failure.status == 407
    assert "p@ss" not in str(error) and "p%40ss" not in str(error)


async def test_a_proxy_that_is_not_there() -> None:
    async with server() as port:
        pass
    error = await failure(evolve(SETTINGS, proxy=f"http://127.0.0.1:{port}"), "wss://localhost:9/")
    assert error.failure.kind is Kind.PROXY
