"""Waking a thread that polls, out of another thread."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class Wakeup:
    """An eventfd: `set` in one thread ends the other's poll."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(self.descriptor, select.POLLIN)
        self._set = False

    def set(self) -> None:
        """End the current wait, or the next one."""
        os.eventfd_write(self.descriptor, 1)
        self._set = True  # after the write: the other order could leave the descriptor readable for ever

    def clear(self) -> None:
        """Forget what was set."""
        if self._set:
            self._set = False
            with suppress(BlockingIOError):  # an earlier clear took two at once
                os.eventfd_read(self.descriptor)

    def wait(self, timeout_s: float) -> None:
        """Wait until set, or for so long."""
        self._poller.poll(max(0.0, timeout_s * 1000))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)
