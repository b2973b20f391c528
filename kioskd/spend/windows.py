"""What was spent in the last hour, day and month, whatever the clock was set to meanwhile. PURE.

What was booked since the machine's start is as old as the counter of seconds since then says: no clock can make it
older or younger. What is from before that is as old as the wall clock says now, and at least as old as this boot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attrs import define, field, frozen

from kioskd.spend.lines import Booking, DaySum, Line, Moment
from kioskd.value import Value

HOUR_S, DAY_S, MONTH_S = 3600.0, 86400.0, 31 * 86400.0
# What is booked within so long is one sum, so that no window is more than 150 of them, which a Pi adds up at each look.
FINE_S = {HOUR_S: 60.0, DAY_S: 600.0, MONTH_S: 6 * 3600.0}


@define(eq=False, repr=False)
class _Sum:
    at: float
    nanos: int


@frozen(eq=False, repr=False)
class Spent(Value):
    """Nanos in the last 60 minutes, 24 hours and 31 days."""

    hour: int = 0
    day: int = 0
    month: int = 0


@define(eq=False, repr=False)
class Windows:
    """Sums of one boot and of those before it. `take` in the order of booking.

    What was booked counts until its window is over, and up to a minute, ten minutes and six hours longer (`FINE_S`).
    """

    boot: str
    _now: dict[float, deque[_Sum]] = field(factory=lambda: {each: deque() for each in FINE_S}, init=False)
    _before: dict[float, deque[_Sum]] = field(factory=lambda: {each: deque() for each in FINE_S}, init=False)
    _offsets: dict[str, float] = field(factory=dict, init=False)

    def take(self, line: Booking | DaySum) -> None:
        """One more."""
        for span_s, sums in self._now.items():  # by seconds since this boot
            self._add(sums, line.at.up_s, line.net, FINE_S[span_s])

    def load(self, lines: Iterable[Line]) -> None:
        """All that was booked so far, by whatever boot."""
        booked = [line for line in lines if isinstance(line, (Booking, DaySum))]
        for line in booked:  # a clock that was corrected later knew better
            self._offsets[line.at.boot] = line.at.wall_s - line.at.up_s
        before = []
        for line in booked:
            if line.at.boot == self.boot:
                self.take(line)
            else:
                before.append(_Sum(self._offsets[line.at.boot] + line.at.up_s, line.net))
        before.sort(key=lambda each: each.at)
        for span_s, sums in self._before.items():  # by the wall clock, as it was at last in their boots
            for each in before:
                self._add(sums, each.at, each.nanos, FINE_S[span_s])

    def spent(self, now: Moment) -> Spent:
        """At `now`, of this boot."""
        return Spent(*(sum(nanos for _, nanos in self._ages(span_s, now)) for span_s in FINE_S))

    def falls_below_in_s(self, span_s: float, nanos: int, now: Moment) -> float:
        """How long, if nothing is spent meanwhile, until less than `nanos` was spent in the last hour, day or month."""
        within = sorted(self._ages(span_s, now), reverse=True)
        left = sum(each for _, each in within)
        for age, each in within:
            if left < nanos:
                break
            left -= each
            wait_s = span_s - age
            if left < nanos:
                return wait_s
        return 0.0 if left < nanos else span_s

    def _ages(self, span_s: float, now: Moment) -> list[tuple[float, int]]:
        """Of what is within this window."""
        sums = self._now[span_s]
        while sums and now.up_s - sums[0].at >= span_s:
            sums.popleft()
        found = [(max(0.0, now.up_s - each.at), each.nanos) for each in sums]
        found += [(max(now.up_s, now.wall_s - each.at, 0.0), each.nanos) for each in self._before[span_s]]
        return [(age, nanos) for age, nanos in found if age < span_s]

    @staticmethod
    def _add(sums: deque[_Sum], at: float, nanos: int, fine_s: float) -> None:
        """With the younger's age: rather counted too long than too short."""
        if sums and at >= sums[-1].at and at // fine_s == sums[-1].at // fine_s:
            sums[-1].at, sums[-1].nanos = at, sums[-1].nanos + nanos
        else:
            sums.append(_Sum(at, nanos))
