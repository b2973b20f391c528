"""From an endpoint's settings to an open WebSocket: TCP, proxy, TLS, upgrade, each with its own clear failure."""

from __future__ import annotations

import fcntl
import re
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import trio
from attrs import define, field, frozen
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

from kioskd.config.addresses import is_loopback
from kioskd.config.schema import Endpoint
from kioskd.endpoints import tcp, tls
from kioskd.endpoints.failures import DialError as DialError
from kioskd.endpoints.failures import Headers, excerpt, refused_upgrade
from kioskd.endpoints.gathering import Gathering
from kioskd.endpoints.policy import Failure, Kind

MAX_MESSAGE_BYTES = 16 * 2**20  # messages of 3.4 MB were seen; the library's 1 MiB would cut the link
MESSAGE_QUEUE = 64  # a burst of deltas must not stop the reader, and with it the pongs
RECEIVE_BYTES = 65536  # a quarter less processor time than the library's 4 KiB
HELD_BYTES_MAX = 65536  # what is longer goes out by itself: to keep it back would save nothing
REFUSAL_BYTES = 64 * 1024  # header and body of a refused upgrade; the library would collect a body without end
_SIOCOUTQNSD = 0x894B  # linux/sockios.h
DEFAULT_PORTS = {"wss": 443, "ws": 80}


@asynccontextmanager
async def dial(settings: Endpoint, headers: Headers, url: str) -> AsyncIterator[WebSocketConnection]:
    """An open WebSocket at `url`, closed politely (within `close_timeout_s`) on leaving, also when cancelled.

    Raises DialError where it can't be opened, or where the other side's frames break the library's reader later on.
    """
    target = _target_of(settings, url)
    of_body: Exception | None = None
    broken: BaseExceptionGroup[BaseException] | None = None
    try:
        async with trio.open_nursery() as nursery:
            readers: trio.Nursery = await nursery.start(_keep_readers)
            try:
                wire = await _open_wire(settings, target)
                try:
                    connection = await _upgrade(readers, wire, settings, headers, target)
                    _wires[connection] = wire
                    try:
                        yield connection
                    except Exception as error:
                        of_body = error
                        raise
                    finally:
                        if not readers.cancel_scope.cancel_called:  # else nobody is left to read the close frame
                            with trio.move_on_after(settings.close_timeout_s, shield=True):
                                await connection.aclose()
                finally:  # the library leaves the socket open where the other side has closed first
                    await trio.aclose_forcefully(wire)
            finally:
                readers.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        broken = group
    if broken is not None:  # out of its handler, so that what the caller raised keeps the cause that it had
        raise of_body or _explained(target, headers, _only_one(broken))


@contextmanager
def together(connection: WebSocketConnection) -> Iterator[None]:
    """What is sent inside waits for what is sent next: one record of TLS, and one call of the system.

    Only while the link takes what it is given: else each message goes out by itself, and whoever sends them can think
    better of it between two.
    """
    wire = _wires.get(connection)
    if wire is None or not wire.flows:
        yield
        return
    wire.holding = True
    try:
        yield
    finally:  # also when cancelled: the close frame takes it along
        wire.holding = False


@frozen
class _Target:
    host: str
    port: int
    encrypted: bool
    authority: str  # for the Host header
    resource: str


def _target_of(settings: Endpoint, url: str) -> _Target:
    """Where the URL leads. Raises DialError for one that leads nowhere, or sends a voice in plain text."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port = None, 0
    if host is None:
        raise DialError(Failure(Kind.SETTINGS, "the endpoint's url is no address such as wss://host/v1/realtime"))
    if parts.scheme != "wss" and not settings.plain_text_allowed and not is_loopback(host):
        message = f"{host}: voice and key would travel in plain text; use wss:// in the endpoint's url"
        raise DialError(Failure(Kind.SETTINGS, message))
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(host, port, parts.scheme == "wss", parts.netloc.rpartition("@")[2], resource)


async def _keep_readers(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery for the library's reader that outlives a cancellation, or else no close frame would be answered."""
    try:
        async with trio.open_nursery() as readers:
            readers.cancel_scope.shield = True
            task_status.started(readers)
            await trio.sleep_forever()
    except* LocalProtocolError:  # trio-websocket 0.12: a ping that comes while it says goodbye
        pass


async def _open_wire(settings: Endpoint, target: _Target) -> _Wire:
    deadline = trio.current_time() + settings.open_timeout_s
    with trio.move_on_at(deadline):
        stream = await tcp.connect(target.host, target.port, settings.proxy)
        if not target.encrypted:
            return _Wire(stream, deadline)
        try:
            return _Wire(await tls.encrypt(stream, target.host, settings.extra_ca), deadline)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    raise DialError(_too_late(settings, target))


async def _upgrade(
    readers: trio.Nursery, wire: _Wire, settings: Endpoint, headers: Headers, target: _Target
) -> WebSocketConnection:
    with trio.move_on_at(wire.deadline):
        return await wrap_client_stream(
            readers,
            wire,  # type: ignore[arg-type]  # any stream will do (`_impl.py` says so); only the annotation is narrower
            target.authority,
            target.resource,
            extra_headers=list(headers),
            max_message_size=MAX_MESSAGE_BYTES,
            message_queue_size=MESSAGE_QUEUE,
            receive_buffer_size=RECEIVE_BYTES,
        )
    if wire.status is not None:  # it refused, but its body never ends
        raise DialError(refused_upgrade(target.host, wire.status, (), b"", headers))
    raise DialError(_too_late(settings, target))


def _too_late(settings: Endpoint, target: _Target) -> Failure:
    waited = f"no connection within {settings.open_timeout_s:g} s (open_timeout_s)"
    return Failure(Kind.SILENCE, f"{target.host}: {waited}; does a firewall on the way block WebSockets?")


def _only_one(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The nurseries are our own affair: what was raised inside comes out as it was."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) > 1 and not isinstance(error, ExceptionGroup):
            return error  # cancellations among others: for trio to sort out
        error = error.exceptions[0]
    return error


def _explained(target: _Target, headers: Headers, error: BaseException) -> BaseException:
    """What the library raises in its reader's task, as a failure; what isn't its own passes through."""
    match error:
        case ConnectionRejected():
            answer_headers = [(bytes(name), bytes(value)) for name, value in error.headers or ()]
            body = bytes(error.body or b"")
            return DialError(refused_upgrade(target.host, error.status_code, answer_headers, body, headers))
        case _UpgradeCutError():
            if error.status is not None:
                return DialError(refused_upgrade(target.host, error.status, (), error.body, headers))
            said = f"; it says {error.words!r}" if error.words else "; does a firewall on the way block WebSockets?"
            return DialError(Failure(Kind.LOST, f"{target.host}: closed the connection during the upgrade{said}"))
        case DialError():
            return error
        case Exception():  # the edge of a part: the reader breaks on frames that no honest peer sends
            why = excerpt(str(error).encode("utf-8", "replace"), headers) or type(error).__name__
            return DialError(Failure(Kind.LOST, f"{target.host}: does not speak WebSocket ({why})"))
    return error


class _UpgradeCutError(Exception):
    """The stream ended, or went on too long, before the upgrade was answered."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("no upgrade")
        self.status = _status_of(answer)
        head, _, self.body = answer.partition(b"\r\n\r\n")
        self.words = excerpt(head.partition(b"\r\n")[0])


def _status_of(answer: bytes) -> int | None:
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(match[1]) if match else None


@define(eq=False)
class _Wire(trio.abc.Stream):
    """Watches the answer to the upgrade: the library waits for ever where the stream ends before it is whole.

    Later on it lets sound gather that comes faster than it is heard (see `gathering`).
    """

    _stream: trio.SocketStream | tls.TlsStream
    deadline: float  # of the upgrade, on trio's clock
    holding: bool = False
    """What is sent waits for what is sent next."""
    _answer: bytes = b""
    _upgraded: bool = False
    _gathering: Gathering = field(factory=Gathering)
    _held: bytearray = field(factory=bytearray)

    @property
    def status(self) -> int | None:
        """The HTTP status of an upgrade that is being refused."""
        return None if self._upgraded else _status_of(self._answer)

    @property
    def flows(self) -> bool:
        """Nothing that was sent waits in the kernel until it may leave."""
        unsent = array("i", [0])
        try:
            fcntl.ioctl(self._stream.socket.fileno(), _SIOCOUTQNSD, unsent)
        except (AttributeError, OSError):  # no socket at all, or a closed one
            return False
        return unsent[0] == 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """See trio."""
        if self._upgraded:
            nap_s = self._gathering.nap_s(trio.current_time())
            if nap_s:
                await trio.sleep(nap_s)
            some = await self._stream.receive_some(max_bytes)
            self._gathering.came(len(some), trio.current_time())
            return some
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            data = b""
        self._answer += data
        if _status_of(self._answer) == 101:
            self._upgraded, self._answer = True, b""
        elif not data or len(self._answer) > REFUSAL_BYTES:
            raise _UpgradeCutError(self._answer)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio."""
        if self.holding and len(self._held) + len(data) <= HELD_BYTES_MAX:
            self._held += data
            return
        if self._held:
            self._held += data
            data, self._held = self._held, bytearray()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """See trio."""
        await self._stream.aclose()


_wires: WeakKeyDictionary[WebSocketConnection, _Wire] = WeakKeyDictionary()  # the library gives its stream to nobody
