"""Until when an answer is heard, as far as it can be told from the length of its sound. PURE. Times are seconds."""

from __future__ import annotations

import math

from attrs import define, field

PLAY_OUT_S = 2.0  # after the end of its sound by its length: what starting late, underruns and signs may add


@define(eq=False, repr=False)
class PlayOut:
    """The answer that is given; nobody is disturbed once it is over."""

    _until: float = field(default=-math.inf, init=False)

    def sounded(self, duration_ms: float, now: float) -> None:
        """Another piece is queued behind what is still playing."""
        self._until = max(self._until, now) + duration_ms / 1000

    def stopped(self) -> None:
        """It was broken off."""
        self._until = -math.inf

    def over(self, now: float) -> bool:
        """Whether it has been heard to its end."""
        return now >= self._until + PLAY_OUT_S
