"""Who is at the other end of the control socket, by what the kernel says, and what they may do."""

from __future__ import annotations

import grp
import os
import socket
import struct
from enum import Enum

from attrs import frozen

from kioskd.value import Value

GROUP = "kioskd"

_CREDENTIALS = struct.Struct("iII")  # struct ucred: process, user, group
_SO_PEERGROUPS = 59  # Linux 4.13; the module socket has no name for it
_GROUPS_BYTES = 1024  # the most that getsockopt takes: 256 groups


class Right(Enum):
    """What a verb asks of who wants it."""

    OWNER = "owner"  # root, the kiosk's own user, members of the group kioskd
    ROOT = "root"  # whoever may hand in a secret


@frozen(eq=False, repr=False)
class Peer(Value):
    """A process at the other end, as it was when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]

    def may(self, right: Right, group: int | None = None) -> bool:
        """Whether this peer has `right`; `group` is the id of the group kioskd, where there is one."""
        if self.uid == 0:
            return True
        return right is Right.OWNER and (self.uid == os.geteuid() or group in self.gids)


def peer_of(connection: socket.socket) -> Peer:
    """The peer of a UNIX socket. Raises OSError."""
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # an old kernel, or a user in hundreds of groups: the first group counts
        raw = b""
    return Peer(pid, uid, frozenset({gid, *(group for (group,) in struct.iter_unpack("I", raw))}))


def owners_group() -> int | None:
    """The id of the group kioskd; None where there is none (not installed)."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None
