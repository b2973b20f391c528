"""From the raw level of a bouncing contact to presses and releases. PURE."""

from __future__ import annotations

from kioskd.dialogue.events import Pressed, Released


class Debounce:
    """A level counts once it has held for the whole window; what is shorter never happened.

    It begins released, so that a button which is already held at the start is told as one `Pressed`. Times are
    seconds on any monotonic clock. `Pressed` and `Released` always alternate, `Pressed` first.
    """

    def __init__(self, window_ms: int) -> None:
        self._window_s = window_ms / 1000
        self._settled = False
        self._raw = False
        self._since = 0.0

    @property
    def down(self) -> bool:
        """True between a `Pressed` and its `Released`."""
        return self._settled

    @property
    def deadline(self) -> float | None:
        """When `tick` is due, or None while the level is the one that was told last."""
        return None if self._raw == self._settled else self._since + self._window_s

    def feed(self, raw_down: bool, now: float) -> Pressed | Released | None:
        """The level as read at `now`. Feeding an unchanged level changes nothing."""
        # A caller that comes late must not lose a press that was long enough.
        overdue = self.tick(now)
        if raw_down != self._raw:
            self._raw = raw_down
            self._since = now
        return overdue or self.tick(now)

    def tick(self, now: float) -> Pressed | Released | None:
        """Time has passed and the level has not changed since it was last fed."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        self._settled = self._raw
        return Pressed() if self._settled else Released()
