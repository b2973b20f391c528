"""Events that come twice: gateways that retry towards us send the same text, with the same event_id, once more."""

from __future__ import annotations

from collections import deque

KEPT = 64  # a repeat follows within a few events


class Repeats:
    """Remembers what has come lately, as numbers. An event without an id is never a repeat: two may well be equal."""

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=KEPT)

    def is_repeat(self, event_id: str | None, text: str | bytes) -> bool:
        """Whether this very text has come before. The id alone won't do: some gateways give all events the same."""
        if event_id is None:
            return False
        mark = hash(text)
        if mark in self._seen:
            return True
        self._seen.append(mark)
        return False
