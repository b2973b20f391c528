"""How long an answer waits before it begins, learned from how its predecessors came. PURE.

A piece that comes at `a` with `p` ms of its answer before it would be in time if playing had begun at `a - p`: its
*origin*. Origins fall while a link is ahead of the sound, and rise where a piece is late. Each piece counts for what
came before it alone: while the newest one plays, the next may already be late, and the first is the newest for a while.
Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

START_MS = 80.0
CEILING_MS = 400.0  # an answer waits no longer for more of itself; what comes later than that is a stall, no jitter
_PLENTY_MS = 400.0  # of sound in store: less than what lets the reader of a link take its time
_ENOUGH_MS = 200.0
_HEADROOM = 1.25  # the next answer may be longer, and meet a later piece, than those that were measured
_HIDDEN = 3  # times as uneven as an answer's few first pauses the next ones may be; with 2, one in 400 had a gap
_ANSWERS = 8  # remembered; a link changes with the hour


@define(eq=False, repr=False)
class Filling:
    """An answer that has not begun, or ran dry: it begins once its pieces may be as late as the target says."""

    _first_at: float = field(default=0.0, init=False)
    _came_ms: float = field(default=0.0, init=False)
    _origin: float = field(default=0.0, init=False)
    """The earliest so far."""
    _origin_of_all: float = field(default=0.0, init=False)
    """The same, as if the next piece came with the newest."""

    def came(self, ms: float, now: float) -> None:
        """A piece of the answer."""
        if not self._came_ms:
            self._first_at = self._origin = self._origin_of_all = now
        self._origin = min(self._origin, now - self._came_ms / 1000)
        self._came_ms += ms
        self._origin_of_all = min(self._origin_of_all, now - self._came_ms / 1000)

    def held(self, ms: float, now: float) -> None:
        """What waits already: it came in time, and its device did not take it."""
        self._first_at, self._came_ms = now, ms
        self._origin = self._origin_of_all = now - ms / 1000

    def ready_at(self, target_ms: float, margin_ms: float) -> float:
        """When it may begin if no more comes; infinity while nothing has come.

        `target_ms`: how late a piece may be (below 0: how early it is). `margin_ms`: what is always still to be played.
        """
        if not self._came_ms:
            return float("inf")
        ready_at = max(self._origin + (target_ms + margin_ms) / 1000, self._origin_of_all + margin_ms / 1000)
        return min(ready_at, self._first_at + CEILING_MS / 1000)


@define(eq=False, repr=False)
class Lateness:
    """How late the pieces of one answer came, whichever of them had been the first.

    A pause that begins with plenty in store, and leaves enough of it, tells nothing: who reads the link lets it gather.
    """

    _first_at: float = field(default=0.0, init=False)
    _came_ms: float = field(default=0.0, init=False)
    _earliest: float = field(default=0.0, init=False)  # of the origins
    _newest: float = field(default=0.0, init=False)  # of the origins
    _stored_ms: float = field(default=0.0, init=False)  # with the newest piece, had playing begun with the first
    _latest_ms: float = field(default=float("-inf"), init=False)  # an origin, behind the earliest before it
    _rise_ms: float = field(default=float("-inf"), init=False)  # the greatest, from one origin to the next
    _rises_ms: float = field(default=0.0, init=False)  # of all together
    _count: int = field(default=0, init=False)

    @property
    def target_ms(self) -> float | None:
        """The target with which the next answer of this kind has no gap; None: it had one piece, which tells nothing.

        A link that is ahead hides its jitter from most answers, and shows it by uneven pauses alone: as far as they
        may hide any, the start's target counts.
        """
        if not self._count:
            return None
        even_ms = self._rises_ms / self._count
        hidden_ms = even_ms + _HIDDEN * (self._rise_ms - even_ms)
        return max(self._latest_ms * (_HEADROOM if self._latest_ms > 0 else 1), min(hidden_ms, START_MS))

    def came(self, ms: float, now: float) -> None:
        """A piece of the answer."""
        if ms <= 0:
            return
        origin = now - self._came_ms / 1000
        left_ms = (self._first_at - origin) * 1000
        measured = self._stored_ms <= _PLENTY_MS or left_ms <= _ENOUGH_MS
        if not self._came_ms or -left_ms > CEILING_MS:
            self._came_ms = left_ms = 0.0  # no pre-buffer helps against a stall: what follows begins anew
            self._first_at = self._earliest = origin = now
        elif measured:
            rise_ms = (origin - self._newest) * 1000
            self._latest_ms = max(self._latest_ms, (origin - self._earliest) * 1000)
            self._rise_ms = max(self._rise_ms, rise_ms)
            self._rises_ms += rise_ms
            self._count += 1
        self._earliest = min(self._earliest, origin)
        self._newest = origin
        self._stored_ms = left_ms + ms
        self._came_ms += ms


@define(eq=False, repr=False)
class JitterBuffer:
    """What the answers of late needed. One bad answer is an accident, two are the link."""

    margin_ms: float
    """What must still wait or play when a piece comes, for it to be handed over in time."""
    _targets_ms: deque[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._targets_ms = deque([START_MS] * 2, maxlen=_ANSWERS)

    @property
    def target_ms(self) -> float:
        """How late a piece of an answer may be, without a gap: so long it waits before it begins, beside the margin."""
        return sorted(self._targets_ms)[-2]

    def target_again_ms(self, answer: Lateness) -> float:
        """The same for an answer that ran dry: it knows better what it needs."""
        own_ms = answer.target_ms
        return self.target_ms if own_ms is None else max(self.target_ms, own_ms)

    def learn(self, answer: Lateness) -> None:
        """An answer has come to its end, or was cut."""
        if (target_ms := answer.target_ms) is not None:
            self._targets_ms.append(target_ms)
