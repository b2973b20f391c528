"""How long an answer over a socket may take: `http` in the settings, as for plain HTTP."""

from __future__ import annotations

import trio

from kioskd.config.schema import Endpoint


class Patience:
    """Begins with the question."""

    def __init__(self, settings: Endpoint) -> None:
        self._http = settings.http
        now = trio.current_time()
        self._first_at = now + settings.http.answer_timeout_s
        self._total_at = now + settings.http.total_timeout_s

    def next(self, *, began: bool) -> tuple[float, str]:
        """Until when the next message may come, on trio's clock, and what is wrong where none does."""
        http = self._http
        until = trio.current_time() + http.stream_timeout_s if began else self._first_at
        if self._total_at <= until:
            return self._total_at, f"its answer is not whole within {http.total_timeout_s:g} s (http.total_timeout_s)"
        if began:
            return until, f"nothing for {http.stream_timeout_s:g} s in the middle of its answer (http.stream_timeout_s)"
        return until, f"no answer within {http.answer_timeout_s:g} s (http.answer_timeout_s)"
