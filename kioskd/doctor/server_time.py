"""What time the endpoint's server has: a Pi without a battery may not know it."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import trio

from kioskd.config.schema import Endpoint
from kioskd.endpoints import tcp
from kioskd.endpoints.failures import DialError, moment_of

ENCRYPTED = ("wss", "https")


async def server_time(endpoint: Endpoint) -> float | None:
    """The endpoint's own clock, in seconds since 1970, by the Date of its HTTP answer; None where it tells none.

    Its certificate isn't checked, since a wrong clock here would fail that; nothing secret is sent.
    """
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    if not host:
        return None  # it answers on this machine
    port = parts.port or (443 if parts.scheme in ENCRYPTED else 80)
    with trio.move_on_after(endpoint.open_timeout_s):
        try:
            stream: trio.abc.Stream = await tcp.connect(host, port, endpoint.proxy)
            if parts.scheme in ENCRYPTED:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            try:
                await stream.send_all(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return _date_of(bytes(await stream.receive_some(8192)))
            finally:
                await trio.aclose_forcefully(stream)
        except (DialError, trio.BrokenResourceError, OSError):
            return None
    return None


def _date_of(answer: bytes) -> float | None:
    for line in answer.split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.strip().lower() == b"date":
            moment = moment_of(value.decode("latin-1").strip())
            return moment.timestamp() if moment else None
    return None
