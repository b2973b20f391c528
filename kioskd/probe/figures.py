"""What several measurements of one thing say together. PURE."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen


@frozen
class Spread:
    """Of `count` values, all in their own unit. `spread` is how far apart the middle half of them is."""

    count: int
    median: float
    p95: float
    spread: float
    low: float
    high: float


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of them don't exceed, on the straight line between the two that are nearest.

    Raises ValueError for no values, and for a share of none.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("no quantile of no values, and none beyond 0 and 1")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    part = place - below
    between = ordered[below] * (1 - part) + ordered[above] * part
    return min(max(between, ordered[below]), ordered[above])  # rounding leads no further


def summary(values: Sequence[float | None]) -> Spread | None:
    """Of those that were measured; None where none was."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return Spread(
        len(known),
        quantile(known, 0.5),
        quantile(known, 0.95),
        quantile(known, 0.75) - quantile(known, 0.25),
        min(known),
        max(known),
    )
