"""The faults of the text doors: of plain requests, and of the pieces of an answer."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field

from kioskd.simulator.faults.catalogue import Kind, Level, Phase
from kioskd.simulator.faults.channel import tell
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.faults.upgrade import Rejection, rejection_of
from kioskd.simulator.observer import Observer

WAIT_S = 2  # what a rate limit in mid-answer asks for
SPLIT_PACKET_BYTES = 7


class CutOffError(Exception):
    """The connection is to end here, without another word."""


@define(eq=False)
class Faults:
    """Those of one request. At most one of the answer's is made; `source` None makes none."""

    source: FaultSource | None
    observer: Observer
    phase: Phase = field(default=Phase.CONNECT, init=False)  # how far the request is
    drawn: str = field(default="", init=False)  # of the answer
    form: str = field(default="", init=False)  # of its stream

    def refusal(self, unix_s: float) -> Rejection | None:
        """An error in place of the answer. `unix_s`: now."""
        kind = self._draw(Level.REQUEST, Phase.CONNECT)
        return rejection_of(kind.name.replace("request-", "upgrade-"), unix_s) if kind is not None else None

    def chance(self, answering: bool) -> str | None:
        """What is to happen before the next piece of the answer; None for nothing."""
        self.phase = Phase.ANSWERING if answering else Phase.ASKED
        if self.drawn:
            return None
        kind = self._draw(Level.ANSWER, self.phase)
        self.drawn = kind.name if kind is not None else ""
        return self.drawn or None

    def stream(self) -> str:
        """What is to be wrong with the form of the stream that begins; "" for nothing."""
        self.phase = Phase.ASKED
        kind = self._draw(Level.STREAM, self.phase)
        self.form = kind.name if kind is not None else ""
        return self.form

    def socket(self, phase: Phase) -> str:
        """What a Responses connection does now, instead of an answer or after it; "" for nothing."""
        self.phase = phase
        kind = self._draw(Level.SOCKET, phase)
        return kind.name if kind is not None else ""

    def over(self) -> None:
        """The request was answered: on a socket, another may come."""
        self.phase, self.drawn, self.form = Phase.IDLE, "", ""

    def before_answer(self) -> str:
        """The fault that is in the way of the whole answer, drawn before its first piece; "" for none."""
        return self.chance(answering=False) or ""

    @property
    def holds(self) -> bool:
        """Whether the answer comes at once, at its end."""
        return self.form == "sse-buffered"

    @property
    def is_slow(self) -> bool:
        """Whether each piece takes its time."""
        return self.drawn == "answer-slow"

    def _draw(self, level: Level, phase: Phase) -> Kind | None:
        kind = self.source.draw(level, phase) if self.source is not None else None
        if kind is not None:
            tell(self.observer, kind, phase)
        return kind


def error_body(kind: str) -> dict[str, Any] | None:
    """The error object of the fault of this name: what stands in "error"; None: it isn't told so."""
    return json.loads(json.dumps(_ERRORS.get(kind)))  # type: ignore[no-any-return]


def _error(message: str, kind: str, code: object) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": None, "code": code}


_ERRORS = {
    "answer-error": _error("The server had an error while processing your request.", "server_error", "server_error"),
    "answer-error-flat": _error("The server is overloaded.", "server_error", "overloaded"),
    "answer-rate-limit": _error(
        f"Rate limit exceeded. Retry after {WAIT_S} seconds", "rate_limit_exceeded", "rate_limit_exceeded"
    ),
    "answer-429-integer": {"code": 429, "message": f"Rate limit exceeded. Retry after {WAIT_S} seconds"},
}
