"""Only one changes the settings at a time, and who is refused learns who the other is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

WAIT_S = 3.0  # a change is written within one; a trial is waited out without holding this
_EVERY_S = 0.05
_MAX_BYTES = 400


class BusyError(Exception):
    """Somebody else is at it; the text says who, and since when."""


@contextlib.contextmanager
def locked(path: Path, who: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock at `path`, which ends with the process. Raises BusyError after `wait_s`, OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, wait_s)
        with contextlib.suppress(OSError):  # a full disk: a nameless holder is better than no way back
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{who}, process {os.getpid()}".encode()[:_MAX_BYTES], 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                other = os.pread(descriptor, _MAX_BYTES, 0).decode(errors="replace") or "somebody"
                raise BusyError(f"the settings are just being changed by {other}; try again in a moment") from None
        time.sleep(_EVERY_S)
