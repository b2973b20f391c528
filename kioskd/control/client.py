"""Asks a running kioskd something, over its control socket. Blocking: for commands, not for the daemon."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from kioskd.control.protocol import MAX_ANSWER_BYTES, socket_places, write_request

ANSWER_S = 15.0
NOT_RUNNING = "kioskd is not running: sudo systemctl start kioskd (why it ended: journalctl -u kioskd -n 50)"

_READ_BYTES = 65_536


class ControlError(Exception):
    """Nothing came of what was asked; the message says why and what to do."""


class NotRunningError(ControlError):
    """There is no kioskd to be asked."""


class RefusalError(ControlError):
    """kioskd said no; the message is its own."""


def ask(path: Path | None, verb: str, *, timeout_s: float = ANSWER_S, **fields: object) -> dict[str, Any]:
    """The answer to one request. `path`: the socket; None: where it usually is. Raises ControlError."""
    with Stream(path, verb, timeout_s=timeout_s, **fields) as stream:
        for answer in stream:
            return answer
    raise ControlError(f"kioskd closed the connection without an answer to {verb}; see journalctl -u kioskd")


def find_socket() -> Path:
    """The first socket that is there, else where it should be."""
    places = socket_places(os.environ)
    return next((place for place in places if _is_there(place)), places[0])


class Stream:
    """One request, and the answers to it one after the other; a context that closes the connection."""

    def __init__(self, path: Path | None, verb: str, *, timeout_s: float = ANSWER_S, **fields: object) -> None:
        """Raises ControlError. `timeout_s`: the longest that may pass without an answer."""
        self._timeout_s = timeout_s
        self._received = bytearray()
        self._socket = _connect(path or find_socket(), timeout_s)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # turned away: the answer says why
            self._send(write_request(verb, fields))

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Answers until kioskd closes. Raises ControlError, RefusalError where it says no."""
        while True:
            while b"\n" in self._received:
                line, _, rest = self._received.partition(b"\n")
                self._received = bytearray(rest)
                yield _read(bytes(line))
            if not self._receive():
                return

    def fileno(self) -> int:
        """For `select`: readable when there is something to be received."""
        return self._socket.fileno()

    def _send(self, line: bytes) -> None:
        try:
            self._socket.sendall(line)
        except TimeoutError:
            raise self._silent() from None

    def _receive(self) -> bool:
        if len(self._received) > MAX_ANSWER_BYTES:
            raise ControlError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes: this can't be kioskd")
        try:
            chunk = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            raise self._silent() from None
        except ConnectionResetError:
            return False
        self._received += chunk
        return bool(chunk)

    def _silent(self) -> ControlError:
        return ControlError(
            f"kioskd gives no answer within {self._timeout_s:.0f} s: it hangs. systemd restarts it by itself where its "
            "watchdog is on; else: sudo systemctl restart kioskd"
        )


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise NotRunningError(NOT_RUNNING) from None
    except PermissionError:
        connection.close()
        raise ControlError(
            f"{path} is not this user's to open: use sudo, or join its group for the next login: "
            "sudo adduser $USER kioskd"
        ) from None
    except OSError as error:  # TimeoutError: a queue that nobody empties
        connection.close()
        raise ControlError(
            f"{path}: {error.strerror or error}; is it kioskd's? sudo systemctl restart kioskd"
        ) from None
    return connection


def _read(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ControlError("the answer is no JSON object: what listens there is not kioskd")
    if answer.get("ok") is not True:
        raise RefusalError(str(answer.get("error", "kioskd refused, and didn't say why; see journalctl -u kioskd")))
    return answer


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except PermissionError:  # in a directory that we may not look into: the attempt will tell
        return True
