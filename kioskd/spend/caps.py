"""Which caps are near, which are reached, and for how long. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from kioskd.config.spend_schema import Caps
from kioskd.spend.lines import Moment
from kioskd.spend.prices import nanos, shown
from kioskd.spend.windows import DAY_S, HOUR_S, MONTH_S, Windows
from kioskd.value import Value


class Level(Enum):
    """How far a cap is."""

    FAR = "far"
    NEAR = "near"
    REACHED = "reached"


SPANS = {"hour": (HOUR_S, "60 minutes"), "day": (DAY_S, "24 hours"), "month": (MONTH_S, "31 days")}


@frozen(eq=False, repr=False)
class Standing(Value):
    """How one cap stands. `spent`, `cap` in nanos; `wait_s`: how long it stays reached if nothing is spent."""

    span: str
    spent: int
    cap: int
    level: Level
    wait_s: float = 0.0

    @property
    def share(self) -> float:
        """Of the cap, spent; a cap of nothing is reached from the beginning."""
        return self.spent / self.cap if self.cap else 1.0

    def words(self, currency: str) -> str:
        """For the owner."""
        spent, cap = shown(self.spent, currency), shown(self.cap, currency)
        said = f"{spent} of {cap} spent in the last {SPANS[self.span][1]}"
        if self.level is Level.REACHED:
            return f"spend cap reached: {said}; on again in {_duration(self.wait_s)}, or raise the cap"
        return f"{said} ({self.share:.0%} of the cap)"


def standings(caps: Caps, warn_at: float, windows: Windows, now: Moment) -> Iterator[Standing]:
    """Of each cap that is set, how it stands."""
    if not caps.any:
        return
    spent = windows.spent(now)
    for span, (span_s, _) in SPANS.items():
        limit = getattr(caps, span)
        if limit is None:
            continue
        cap, sofar = nanos(limit), getattr(spent, span)
        if sofar >= cap:
            # A cap of nothing is never left.
            wait_s = windows.falls_below_in_s(span_s, cap, now) if cap else span_s
            yield Standing(span, sofar, cap, Level.REACHED, wait_s)
        else:
            yield Standing(span, sofar, cap, Level.NEAR if sofar >= cap * warn_at else Level.FAR)


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1.0, seconds / 60):.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} days"
