"""TLS to an endpoint. One client context for the whole process: parsing every CA anew costs 16 ms a connection."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

import trio

from kioskd.endpoints import tcp
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.gathering import READ_BYTES
from kioskd.endpoints.policy import Failure, Kind

CLOCK_CODES = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
NAME_CODES = frozenset({62, 63, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, EMAIL_, IP_ADDRESS_
_RECORD_BYTES = 16384  # no record is longer (RFC 8446, 5.1)
_LONG_WRITE_BYTES = 24_000  # no chunk of a voice that speaks: one that goes again must let the other tasks run


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


class TlsStream(trio.abc.Stream):
    """TLS over a TCP stream, by the standard library's `ssl.SSLObject`: what `trio.SSLStream` does, in fewer steps.

    A read gives every record that has come, in one piece. A write is one call of the system, and no checkpoint where it
    is short and the kernel takes it at once: each record and each step would cost a pass of the scheduler. Cancelled, a
    write may have left in part: then nothing more can be sent. Like HTTPS, it neither sends nor expects a goodbye
    (`close_notify`): the WebSocket's close frame tells the end. One task may read while another writes.
    """

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext, host: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=tcp.without_codec(host))
        self._sending = trio.Lock()

    @property
    def socket(self) -> trio.socket.SocketType:
        """The TCP connection's."""
        return self._stream.socket

    async def do_handshake(self) -> None:
        """To be called once, first. Raises ssl.SSLError, trio.BrokenResourceError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            else:
                await self._flush()
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """All that has come, or else the next that comes; b"" at the end. `max_bytes` is not minded: see `_receive`.

        Raises trio.BrokenResourceError, trio.ClosedResourceError.
        """
        while not (records := self._decrypted()):
            if self._incoming.eof:
                return b""
            await self._flush()  # the answer to a change of keys
            await self._receive()
        return b"".join(records)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send. Raises trio.BrokenResourceError, trio.ClosedResourceError."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the TCP stream."""
        await self._stream.aclose()

    def _decrypted(self) -> list[bytes]:
        records = []
        try:
            while record := self._tls.read(_RECORD_BYTES):
                records.append(record)
            self._incoming.write_eof()  # a goodbye
        except ssl.SSLWantReadError:
            return records
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._incoming.write_eof()
        except ssl.SSLError as error:
            if not records:
                raise trio.BrokenResourceError(str(error)) from error
            self._incoming.write_eof()  # what came before it was in order
        return records

    async def _receive(self) -> None:
        data = await self._stream.receive_some(READ_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if not self._outgoing.pending:
            return
        try:
            self._sending.acquire_nowait()  # `async with` would be a pass of the scheduler
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            data = self._outgoing.read()
            taken = self._written_at_once(data)
            if taken < len(data):
                await self._stream.send_all(data[taken:])
            elif taken > _LONG_WRITE_BYTES:
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._sending.release()

    def _written_at_once(self, data: bytes) -> int:
        """How many bytes the kernel took without waiting; what is wrong with the socket is for trio to tell."""
        try:
            return os.write(self._stream.socket.fileno(), data)
        except OSError:
            return 0


async def encrypt(stream: trio.SocketStream, host: str, extra_ca: str | None) -> TlsStream:
    """Do the handshake with `host`, by name (SNI). Raises DialError."""
    try:
        context = client_context(extra_ca)
    except OSError as error:  # ssl.SSLError is one
        place = f"extra_ca {extra_ca}" if extra_ca else "the system's CA certificates (SSL_CERT_FILE, SSL_CERT_DIR)"
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise DialError(Failure(Kind.SETTINGS, f"{place}: {reason or error}")) from None
    encrypted = TlsStream(stream, context, host)
    try:
        await encrypted.do_handshake()
    except ssl.SSLEOFError:
        raise DialError(Failure(Kind.TLS, f"{host}: {_reason(None)}")) from None
    except (ssl.SSLError, ssl.CertificateError, trio.BrokenResourceError) as error:
        raise DialError(Failure(Kind.TLS, f"{host}: {_reason(error)}")) from None
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
