"""One TLS client context for the whole process: parsing every CA certificate anew would cost 16 ms a connection."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

CA_DIRECTORY = Path("/etc/ssl/certs")  # Debian's, hashed: only the certificates that are needed are read


@cache
def client_context(extra_ca: str | None) -> ssl.SSLContext:
    """Verifies host names against the system's CAs, and `extra_ca` (a PEM file). Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if CA_DIRECTORY.is_dir():
        context.load_verify_locations(capath=CA_DIRECTORY)
    else:
        context.load_default_certs()
    if extra_ca is not None:
        context.load_verify_locations(cafile=extra_ca)
    return context
