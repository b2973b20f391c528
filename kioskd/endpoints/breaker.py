"""A circuit breaker: an endpoint that fails again and again is left alone for a while. PURE. Times are seconds."""

from __future__ import annotations

import math
from enum import Enum

from attrs import define, field

from kioskd.config import schema

LONGEST_OPEN_S = 1800.0  # one that relapses each time is looked at twice an hour


class BreakerState(Enum):
    """Whether its endpoint may be used."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"  # one probe decides


@define(eq=False, repr=False)
class Breaker:
    """Opens after so many failures in a row, and for twice as long after each relapse: a flapping endpoint rests."""

    settings: schema.Breaker
    _failures: int = field(default=0, init=False)
    _relapses: int = field(default=0, init=False)
    _open_until: float | None = field(default=None, init=False)
    _told_until: float = field(default=-math.inf, init=False)

    def state(self, now: float) -> BreakerState:
        """What it is at `now`."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def allows(self, now: float) -> bool:
        """Whether its endpoint may be tried."""
        return self.state(now) is not BreakerState.OPEN

    def failed(self, now: float) -> None:
        """An attempt or a connection failed. A failed probe opens it again."""
        self._failures += 1
        if self.state(now) is BreakerState.HALF_OPEN or self._failures >= self.settings.failures:
            self.open(now)

    def open(self, now: float, told_until: float = -math.inf) -> None:
        """Leave the endpoint alone from now on; until `told_until` whatever happens."""
        self._told_until = max(self._told_until, told_until)
        if self.state(now) is not BreakerState.OPEN:
            wait_s = min(self.settings.open_s * math.exp2(min(self._relapses, 16)), LONGEST_OPEN_S)
            self._relapses += 1
            self._open_until = now + wait_s
        self._open_until = max(self._open_until or now, self._told_until)

    def proved(self) -> None:
        """It gave an answer: nothing of the past counts."""
        self._failures = self._relapses = 0
        self._open_until, self._told_until = None, -math.inf

    def forgive(self, now: float) -> None:
        """What failed may have been the network, which has just changed: one probe decides."""
        self._failures = 0
        if self._open_until is not None:
            self._open_until = max(min(self._open_until, now), self._told_until)
