"""A deadline that can be moved at any time, and is moved often, without waking anybody."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Alarm:
    """Calls `on_due` once at the time it is set to. Times are trio's clock (monotonic)."""

    def __init__(self, on_due: Callable[[], None]) -> None:
        self._on_due = on_due
        self._at = math.inf
        self._scope: trio.CancelScope | None = None

    def set(self, at: float) -> None:
        """Be due at `at`, and at no other time. A later time than before costs nothing: `run` wakes once too often."""
        self._at = at
        if self._scope is not None and at < self._scope.deadline:
            self._scope.deadline = at

    def clear(self) -> None:
        """Be due never."""
        self.set(math.inf)

    async def run(self) -> None:
        """Wait for whatever time it is set to, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._at) as self._scope:
                await trio.sleep_forever()
            if self._at <= trio.current_time():
                self._at = math.inf
                self._on_due()
