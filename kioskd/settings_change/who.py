"""Who is at the keyboard: the user, and from where, through sudo."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path

from kioskd.config.versions import one_word

_GENERATIONS = 16  # from a command up to the login; more is no login


def asker(environ: Mapping[str, str], proc: Path = Path("/proc")) -> str:
    """Such as "ann from 192.0.2.7". sudo hides the connection from a command, so its forebears are asked too."""
    user = environ.get("SUDO_USER") or _user()
    for each in (environ, *_forebears(proc)):
        if connection := each.get("SSH_CONNECTION", "").split():
            return f"{one_word(user)} from {one_word(connection[0])}"
    return one_word(user)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _forebears(proc: Path) -> Iterator[dict[str, str]]:
    """The environments of the processes above this one, as far as they may be seen."""
    pid = os.getppid()
    for _ in range(_GENERATIONS):
        if pid <= 1:
            return
        try:
            raw = (proc / str(pid) / "environ").read_bytes()
            status = (proc / str(pid) / "stat").read_text()
        except OSError:
            return
        pairs = (pair.partition("=") for pair in raw.decode(errors="replace").split("\0"))
        yield {name: value for name, _, value in pairs}
        pid = int(status.rpartition(")")[2].split()[1])  # "pid (name) state ppid ..."
