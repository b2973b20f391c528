"""Serves the control socket. Whatever a client does or fails to do, the kiosk never waits for it."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from kioskd.control.door import Door
from kioskd.control.peer import Peer, Right, owners_group, peer_of
from kioskd.control.protocol import (
    MAX_REQUEST_BYTES,
    BadRequestError,
    Fields,
    Request,
    read_request,
    write_answer,
    write_error,
)

log = logging.getLogger(__name__)

MAX_CLIENTS = 16  # at once; an owner has a few windows open, and a monitor looks in
REQUEST_S = 5.0  # a client that has sent no whole request by then is turned away: it may have died
SEND_S = 5.0  # a client that takes in nothing for so long is dropped
ANSWER_S = 10.0  # what a verb may take that doesn't say otherwise
BREATH_S = 0.1  # when the next client can't be taken: the process may have no file descriptor left

_READ_BYTES = 4096
_QUOTED_CHARACTERS = 40

Send = Callable[[Fields], Awaitable[None]]


class RefusedError(Exception):
    """A verb can't do what was asked; the message says why and what to do."""


@frozen(eq=False, repr=False)
class Verb:
    """One thing to be asked. `run` gets the request's fields, and `send` for a stream; it returns the last answer.

    Attributes:
        limit_s: It has so long; infinite for a stream, which ends with its client.
        at_once: So many clients may ask it at the same time; the others are refused.
        for_client: It is given up when its client goes away.
    """

    run: Callable[[Fields, Send], Awaitable[Fields]]
    right: Right = Right.OWNER
    limit_s: float = ANSWER_S
    at_once: int = MAX_CLIENTS
    for_client: bool = False


class Control:
    """The server. Verbs can be added while it runs."""

    def __init__(self) -> None:
        self._verbs: dict[str, Verb] = {}
        self._busy: dict[str, int] = {}
        self._clients = 0
        self._group = owners_group()

    def add(self, name: str, verb: Verb) -> None:
        """From now on `name` can be asked for; replaces what bore the name before."""
        self._verbs[name] = verb

    async def serve(self, door: Door, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer at `door` until cancelled, and close it. Started when clients are answered."""
        told: int | None = None
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(door.socket)
                    try:
                        connection, _ = door.socket.accept()
                    except BlockingIOError:
                        continue
                    except OSError as error:  # no descriptor left, or no memory: the kiosk goes on, and so does this
                        log.log(logging.DEBUG if told == error.errno else logging.WARNING, "control socket: %s", error)
                        told = error.errno
                        await trio.sleep(BREATH_S)
                    else:
                        self._take(nursery, connection)
        finally:
            door.close()

    def _take(self, nursery: trio.Nursery, connection: socket.socket) -> None:
        """Begin to serve a client, or turn it away at once."""
        try:
            peer = peer_of(connection)
        except OSError:
            connection.close()
            return
        if not peer.may(Right.OWNER, self._group):
            _turn_away(connection, f"user id {peer.uid} may not ask kioskd: use sudo, or join the group kioskd")
        elif self._clients >= MAX_CLIENTS:
            _turn_away(connection, f"kioskd is busy with {MAX_CLIENTS} other clients; try again in a moment")
        else:
            self._clients += 1
            nursery.start_soon(self._serve_client, connection, peer)

    async def _serve_client(self, connection: socket.socket, peer: Peer) -> None:
        """One request and its answer; nothing that goes wrong here is felt by anybody else."""
        try:
            await self._answer(trio.SocketStream(trio.socket.from_stdlib_socket(connection)), connection, peer)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("control: process %d went away", peer.pid)
        except* trio.TooSlowError:
            log.debug("control: process %d was dropped: it takes nothing in", peer.pid)
        finally:
            self._clients -= 1
            connection.close()

    async def _answer(self, stream: trio.SocketStream, connection: socket.socket, peer: Peer) -> None:
        try:
            request = read_request(await _receive_line(stream))
            verb = self._verb(request, peer)
        except (BadRequestError, RefusedError) as error:
            await _send(stream, write_error(str(error)))
            return
        self._busy[request.verb] = self._busy.get(request.verb, 0) + 1
        try:
            async with trio.open_nursery() as nursery:
                if verb.for_client:
                    nursery.start_soon(_leave_with_client, stream, connection, nursery.cancel_scope)
                await _send(stream, await _run(request, verb, stream))
                nursery.cancel_scope.cancel()
        finally:
            self._busy[request.verb] -= 1

    def _verb(self, request: Request, peer: Peer) -> Verb:
        """The verb that is asked for, if it may be. Raises RefusedError."""
        verb = self._verbs.get(request.verb)
        if verb is None:
            known = ", ".join(sorted(self._verbs))
            raise RefusedError(f"kioskd doesn't know how to {request.verb[:_QUOTED_CHARACTERS]!r}; it knows {known}")
        if not peer.may(verb.right, self._group):
            raise RefusedError(f"only root may ask kioskd to {request.verb}: use sudo")
        if self._busy.get(request.verb, 0) >= verb.at_once:
            raise RefusedError(f"{request.verb} is being done for somebody else; try again when it is over")
        return verb


async def _run(request: Request, verb: Verb, stream: trio.SocketStream) -> bytes:
    """The last line of the answer."""

    async def send(fields: Fields) -> None:
        await _send(stream, write_answer(fields))

    try:
        with trio.move_on_after(verb.limit_s):
            return write_answer(await verb.run(request.fields, send))
    except (RefusedError, BadRequestError) as error:
        return write_error(str(error))
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):  # of `send`
        raise
    except Exception as error:  # a mistake in a verb must not end the kiosk
        log.exception("control: %s failed", request.verb)
        return write_error(f"{request.verb} failed: {type(error).__name__}; see journalctl -u kioskd")
    assert verb.limit_s < math.inf
    return write_error(f"{request.verb} took longer than {verb.limit_s:.0f} s and was given up")


async def _leave_with_client(stream: trio.SocketStream, connection: socket.socket, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the client is gone. One that only has nothing more to ask (`socat`) still waits."""
    try:
        said = await stream.receive_some(_READ_BYTES)
        if not said:
            connection.send(b"", socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)  # EPIPE where nobody listens any more
            return
    except (OSError, trio.BrokenResourceError):
        pass
    scope.cancel()  # also of one that talks on: there is one request a connection


async def _receive_line(stream: trio.SocketStream) -> bytes:
    """The request's line. Raises BadRequestError where none comes, or one that is too long."""
    line = bytearray()
    with trio.move_on_after(REQUEST_S):
        while len(line) <= MAX_REQUEST_BYTES:
            chunk = await stream.receive_some(_READ_BYTES)
            if not chunk:
                raise BadRequestError("the request ended before its line did")
            line += chunk
            if b"\n" in chunk:
                return bytes(line[: line.index(b"\n")])
        raise BadRequestError(f"the request is longer than {MAX_REQUEST_BYTES} bytes")
    raise BadRequestError(f"no request came within {REQUEST_S:.0f} s")


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    """Raises trio.TooSlowError where the client doesn't take it in."""
    with trio.fail_after(SEND_S):
        await stream.send_all(line)


def _turn_away(connection: socket.socket, words: str) -> None:
    """Say why, without waiting: a line fits into the buffer of a fresh socket."""
    with contextlib.suppress(OSError):
        connection.send(write_error(words), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    connection.close()
