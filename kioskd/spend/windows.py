"""What was spent in the last hour, day and month, whatever the clock was set to meanwhile. PURE.

What was booked since the machine's start is as old as the counter of seconds since then says: no clock can make it
older or younger. What is from before that is as old as the wall clock says now, and at least as old as this boot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attrs import define, field, frozen

from kioskd.spend.lines import Booking, DaySum, Line, Moment

HOUR_S, DAY_S, MONTH_S = 3600.0, 86400.0, 31 * 86400.0
FINE_S = 60.0  # what is booked within a minute is one sum: a month is 45,000 of them at most


@define
class _Sum:
    at: float
    nanos: int


@frozen
class Spent:
    """Nanos in the last 60 minutes, 24 hours and 31 days."""

    hour: int = 0
    day: int = 0
    month: int = 0


@define(eq=False)
class Windows:
    """Sums of one boot and of those before it. `take` in the order of booking."""

    boot: str
    _now: deque[_Sum] = field(factory=deque, init=False)  # of this boot, by seconds since it
    _before: list[_Sum] = field(factory=list, init=False)  # by the wall clock, as it was at last in their boots
    _offsets: dict[str, float] = field(factory=dict, init=False)

    def take(self, line: Booking | DaySum) -> None:
        """One more."""
        self._add(self._now, line.at.up_s, line.net)

    def load(self, lines: Iterable[Line]) -> None:
        """All that was booked so far, by whatever boot."""
        booked = [line for line in lines if isinstance(line, (Booking, DaySum))]
        for line in booked:  # a clock that was corrected later knew better
            self._offsets[line.at.boot] = line.at.wall_s - line.at.up_s
        for line in booked:
            if line.at.boot == self.boot:
                self.take(line)
            else:
                self._before.append(_Sum(self._offsets[line.at.boot] + line.at.up_s, line.net))
        self._before.sort(key=lambda each: each.at)
        merged: deque[_Sum] = deque()
        for each in self._before:
            self._add(merged, each.at, each.nanos)
        self._before = list(merged)

    def spent(self, now: Moment) -> Spent:
        """At `now`, of this boot."""
        ages = self._ages(now)
        return Spent(*(sum(nanos for age, nanos in ages if age < span) for span in (HOUR_S, DAY_S, MONTH_S)))

    def falls_below_in_s(self, span_s: float, nanos: int, now: Moment) -> float:
        """How long, if nothing is spent meanwhile, until less than `nanos` was spent in the last `span_s`."""
        within = sorted(((age, each) for age, each in self._ages(now) if age < span_s), reverse=True)
        left = sum(each for _, each in within)
        for age, each in within:
            if left < nanos:
                break
            left -= each
            wait_s = span_s - age
            if left < nanos:
                return wait_s
        return 0.0 if left < nanos else span_s

    def _ages(self, now: Moment) -> list[tuple[float, int]]:
        while self._now and now.up_s - self._now[0].at >= MONTH_S:
            self._now.popleft()
        found = [(max(0.0, now.up_s - each.at), each.nanos) for each in self._now]
        found += [(max(now.up_s, now.wall_s - each.at, 0.0), each.nanos) for each in self._before]
        return [(age, nanos) for age, nanos in found if age < MONTH_S]

    @staticmethod
    def _add(sums: deque[_Sum], at: float, nanos: int) -> None:
        """With the younger's age: rather counted too long than too short."""
        if sums and at >= sums[-1].at and at // FINE_S == sums[-1].at // FINE_S:
            sums[-1].at, sums[-1].nanos = at, sums[-1].nanos + nanos
        else:
            sums.append(_Sum(at, nanos))
