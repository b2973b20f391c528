"""The listening end of the control socket in the file system: made, guarded by a lock, taken away again."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from kioskd.control.peer import owners_group
from kioskd.control.protocol import make_place

log = logging.getLogger(__name__)

BACKLOG = 256  # they are taken in at once; two hundred clients in one moment must fit
MODE = 0o660  # root and the group kioskd; what each may do is decided by the peer's credentials


class DoorTakenError(RuntimeError):
    """Another kioskd lives here; the message says which, and what to do."""


def open_door(environ: Mapping[str, str]) -> Door | None:
    """The door at the first place that there is; None, with a line in the log, where there is none: nobody needs it to
    talk to the kiosk. Raises DoorTakenError.
    """
    path, why_not = make_place(environ)
    if path is not None:
        try:
            return Door(path, owners_group())
        except OSError as error:
            why_not = f"{path}: {error.strerror}"
    log.warning("no control socket, so that `kioskd status` can't ask (%s)", why_not)
    return None


class Door:
    """A bound and listening socket at `path`.

    What makes the place ours is a lock beside it, which the kernel drops when its holder dies: a socket file that a
    killed daemon left is replaced, that of a living one never, however silent it is.
    """

    def __init__(self, path: Path, group: int | None = None) -> None:
        """Raises DoorTakenError, or OSError where it can't be made. `group` may connect, besides this user."""
        self.path = path
        self._lock = _hold(path.with_name(path.name + ".lock"), path)
        try:
            self.socket = _listen(path, group)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Take the socket away; the file of the lock stays, since another may already wait at it."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.socket.close()
        os.close(self._lock)


def _hold(lock: Path, path: Path) -> int:
    """The descriptor of the lock, ours as long as it is open."""
    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.read(held, 20).decode(errors="replace").strip()
        os.close(held)
        raise DoorTakenError(
            f"another kioskd is running (process {who or 'unknown'}, {path}); stop it: systemctl stop kioskd"
        ) from None
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held


def _listen(path: Path, group: int | None) -> socket.socket:
    """Bind beside the path and move it there: a client finds the old socket, or one that listens."""
    fresh = path.with_name(f"{path.name}.new")
    for stale in (fresh, path):
        stale.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(fresh))
        fresh.chmod(MODE)
        if group is not None and fresh.stat().st_gid != group:
            with contextlib.suppress(PermissionError):  # started by hand, by somebody outside the group
                os.chown(fresh, -1, group)
        listener.listen(BACKLOG)
        fresh.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener
