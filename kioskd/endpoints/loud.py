"""Loud once: the first of a kind is a WARNING, its repeats are DEBUG, the end is INFO with a count."""

from __future__ import annotations

import logging
from collections.abc import Mapping

KINDS_MAX = 32  # more kinds than these are not told apart: a log must not grow with a peer's imagination


class LoudOnce:
    """Counts what goes wrong, by kind."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._counts: dict[str, int] = {}
        self._told_over = False

    def tell(self, kind: str, message: str, landmark: Mapping[str, str] | None = None) -> None:
        """Something of this kind has happened (again). `landmark`: its number in the journal (see landmarks)."""
        known = kind if kind in self._counts or len(self._counts) < KINDS_MAX else "more"
        self._counts[known] = self._counts.get(known, 0) + 1
        self._log.log(logging.WARNING if self._counts[known] == 1 else logging.DEBUG, "%s", message, extra=landmark)

    def over(self, message: str, landmark: Mapping[str, str] | None = None) -> None:
        """It seems to be over; `message` is told once, with the count."""
        if self._counts and not self._told_over:
            self._told_over = True
            self._log.info("%s, after %d failures", message, sum(self._counts.values()), extra=landmark)

    def forget(self) -> None:
        """It is over for good: the next one is the first of its kind again."""
        self._counts.clear()
        self._told_over = False
