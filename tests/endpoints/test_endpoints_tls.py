"""TLS over real loopback sockets: whom it trusts, and what it tells the owner otherwise."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
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

from kioskd.config.schema import Endpoint
from kioskd.endpoints.dial import dial
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.tls import client_context


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
