"""TLS to an endpoint. One client context for the whole process: parsing every CA anew costs 16 ms a connection."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

import trio

from kioskd.endpoints.failures import DialError
from kioskd.endpoints.policy import Failure, Kind

CLOCK_CODES = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
NAME_CODES = frozenset({62, 63, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, EMAIL_, IP_ADDRESS_


@cache
def client_context(extra_ca: str | None) -> ssl.SSLContext:
    """Verifies host names against the system's CAs, and `extra_ca` (a PEM file). Raises OSError, ssl.SSLError.

    The CAs are those of OpenSSL's hashed directory (SSL_CERT_DIR moves it), of which only what a server presents is
    read, and of the file in SSL_CERT_FILE where the owner set one: the two variables that OpenSSL itself honours.
    A failure is not kept: a mended file counts at the next attempt.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    directory = ssl.get_default_verify_paths().capath
    if directory is not None and any(Path(directory).glob("*.0")):
        context.load_verify_locations(capath=directory)
        if file := os.environ.get("SSL_CERT_FILE"):
            context.load_verify_locations(cafile=file)
    else:  # no hashed directory on this system
        context.load_default_certs()
    if extra_ca is not None:
        context.load_verify_locations(cafile=extra_ca)
    return context


async def encrypt(stream: trio.SocketStream, host: str, extra_ca: str | None) -> trio.SSLStream[trio.SocketStream]:
    """Do the handshake with `host`, by name (SNI). Raises DialError."""
    try:
        context = client_context(extra_ca)
    except OSError as error:  # ssl.SSLError is one
        place = f"extra_ca {extra_ca}" if extra_ca else "the system's CA certificates (SSL_CERT_FILE, SSL_CERT_DIR)"
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise DialError(Failure(Kind.SETTINGS, f"{place}: {reason or error}")) from None
    encrypted = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await encrypted.do_handshake()
    except trio.BrokenResourceError as error:
        raise DialError(Failure(Kind.TLS, f"{host}: {_reason(error.__cause__)}")) from None
    return encrypted


def _reason(cause: BaseException | None) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in CLOCK_CODES:
            hint = "is this machine's clock right (timedatectl)?"
        elif cause.verify_code in NAME_CODES:
            hint = "correct the host in the endpoint's url"
        else:
            hint = "name the CA's file in extra_ca if it is your own"
        return f"its certificate is not trusted ({cause.verify_message.rstrip('.')}); {hint}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or cause}); is there a TLS server at this port?"
    return "the connection broke off during the TLS handshake"
