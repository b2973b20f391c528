"""Calls that are due at a time, from one task: cheaper than a task for each."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import trio


class Timetable:
    """Bounded by its users: each has a few calls due at a time. Times are trio's clock."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._nearer = trio.Event()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Make a call at that time, after those that were entered for it before."""
        heapq.heappush(self._due, (when, next(self._numbers), call))
        if self._due[0][2] is call:
            self._nearer.set()

    async def run(self) -> None:
        """Make the calls until cancelled."""
        while True:
            while self._due and self._due[0][0] <= trio.current_time():
                heapq.heappop(self._due)[2]()
            self._nearer = trio.Event()
            with trio.move_on_at(self._due[0][0] if self._due else float("inf")):
                await self._nearer.wait()
