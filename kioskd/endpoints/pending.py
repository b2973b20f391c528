"""The turn that waits for its answer, and how many may be asked a minute."""

from __future__ import annotations

from collections import deque

from attrs import define

from kioskd.endpoints.port import Utterance

MINUTE_S = 60.0


@define(eq=False, repr=False)
class PendingTurn:
    """An utterance that is kept whole until its answer begins. `asked_at` is None until it is asked.

    Without an utterance it asks for the rest of the answer before. `heard`: its words, as far as anybody found them.
    """

    turn: int
    utterance: Utterance | None = None
    asked_at: float | None = None
    heard: str = ""


class RequestWindow:
    """At most `per_minute` requests in any 60 s. PURE."""

    def __init__(self, per_minute: int) -> None:
        self._times: deque[float] = deque(maxlen=per_minute)

    def resize(self, per_minute: int) -> None:
        """Another limit from now on; what was admitted counts on."""
        if per_minute != self._times.maxlen:
            self._times = deque(self._times, maxlen=per_minute)

    def admit(self, now: float) -> bool:
        """Whether one more request may go now; if so, it is counted."""
        if len(self._times) == self._times.maxlen and now - self._times[0] < MINUTE_S:
            return False
        self._times.append(now)
        return True
