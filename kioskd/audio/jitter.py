"""How long an answer waits before it begins, learned from how its predecessors came. PURE.

Of a piece that comes at `a` with `p` ms of its answer before it, `a - p` is the latest moment at which playing could
have begun without a gap there. What an answer needs follows from the latest of these. Times are seconds of one
monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from attrs import define, field

START_MS = 80.0
CEILING_MS = 400.0  # an answer waits no longer for more of itself; what comes later than that is a stall, no jitter
_HEADROOM = 1.25  # the next answer may be longer, and meet a later piece, than those that were measured
_ANSWERS = 8  # remembered; a link changes with the hour
_MAX_EARLY = 256  # pieces that a need is computed from; a peer may send thousands of tiny ones


@define(eq=False, repr=False)
class Filling:
    """An answer that has not begun, or ran dry: it may begin once what has come, and its age, make up the target."""

    _first_at: float = field(default=0.0, init=False)
    _came_ms: float = field(default=0.0, init=False)
    _lead_from: float = field(default=0.0, init=False)
    """The least of (time of arrival - all that had come with it): since when the sound has been ahead."""

    def came(self, ms: float, now: float) -> None:
        """A piece of the answer."""
        if not self._came_ms:
            self._first_at = self._lead_from = now
        self._came_ms += ms
        self._lead_from = min(self._lead_from, now - self._came_ms / 1000)

    def ready_at(self, target_ms: float) -> float:
        """When it may begin if no more comes; infinity while nothing has come."""
        if not self._came_ms:
            return float("inf")
        return min(self._lead_from + target_ms / 1000, self._first_at + CEILING_MS / 1000)


@define(eq=False, repr=False)
class Lateness:
    """How late the pieces of one answer came, against the time at which they were to be played."""

    margin_ms: float
    """A piece is in time if this much is still to be played when it comes."""
    _first_at: float = field(default=0.0, init=False)
    _came_ms: float = field(default=0.0, init=False)
    _begin_at: float = field(default=0.0, init=False)
    """The earliest beginning without a gap."""
    _early_at: list[float] = field(factory=list, init=False)
    _early_lead: list[float] = field(factory=list, init=False)  # beside each: `Filling`'s lead by then
    _need_before_ms: float = field(default=0.0, init=False)  # before the last stall

    @property
    def need_ms(self) -> float:
        """The least target with which this answer would have been heard without a gap (but for stalls); 0: any."""
        before = bisect_left(self._early_at, self._begin_at)
        if not before:
            return self._need_before_ms
        return max(self._need_before_ms, (self._begin_at - self._early_lead[before - 1]) * 1000)

    def came(self, ms: float, now: float) -> None:
        """A piece of the answer."""
        if ms <= 0:
            return
        begin_at = now - max(0.0, self._came_ms - self.margin_ms) / 1000  # or it comes before the beginning
        if not self._came_ms:
            self._first_at = self._begin_at = now
        elif begin_at - self._first_at > CEILING_MS / 1000:
            self._restart(now)
        else:
            self._begin_at = max(self._begin_at, begin_at)
        self._came_ms += ms
        if now - self._first_at > CEILING_MS / 1000:
            return
        lead = min([now - self._came_ms / 1000, *self._early_lead[-1:]])
        if len(self._early_at) == _MAX_EARLY:
            self._early_lead[-1] = lead  # as if it had come earlier: rather too much is needed than too little
            return
        self._early_at.append(now)
        self._early_lead.append(lead)

    def _restart(self, now: float) -> None:
        """No pre-buffer would have helped: what follows is measured as if the answer began here."""
        self._need_before_ms = self.need_ms
        self._first_at = self._begin_at = now
        self._came_ms = 0.0
        self._early_at.clear()
        self._early_lead.clear()


@define(eq=False, repr=False)
class JitterBuffer:
    """What the answers of late needed. One bad answer is an accident, two are the link."""

    margin_ms: float
    """What must still wait or play when a piece comes, for it to be handed over in time."""
    _needs_ms: deque[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._needs_ms = deque([START_MS / _HEADROOM] * 2, maxlen=_ANSWERS)

    @property
    def target_ms(self) -> float:
        """What an answer's sound and its age have to make up before it begins."""
        return self._target_for(sorted(self._needs_ms)[-2])

    def target_again_ms(self, answer: Lateness) -> float:
        """The same for an answer that ran dry: it knows better what it needs."""
        return max(self.target_ms, self._target_for(answer.need_ms))

    def measure(self) -> Lateness:
        """For a new answer."""
        return Lateness(self.margin_ms)

    def learn(self, answer: Lateness) -> None:
        """An answer has come to its end, or was cut."""
        self._needs_ms.append(answer.need_ms)

    def _target_for(self, need_ms: float) -> float:
        return max(self.margin_ms, need_ms * _HEADROOM)
