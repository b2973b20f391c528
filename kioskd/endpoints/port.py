"""The port between the kiosk and whoever answers it. It speaks of turns and milliseconds, of no wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, LinkChanged, Transcript, Usage

EndpointEvent = LinkChanged | AnswerAudio | AnswerEnded | Transcript | Usage
Report = Callable[[EndpointEvent], None]


class Utterance(Protocol):
    """What a visitor said: an append-only buffer of s16le mono at 24 kHz, still growing or ended."""

    @property
    def turn(self) -> int:
        """The number of the turn it belongs to."""

    @property
    def size(self) -> int:
        """Bytes recorded so far; it never shrinks."""

    @property
    def ended(self) -> bool:
        """True when nothing will be appended any more."""

    def since(self, cursor: int) -> bytes:
        """Everything recorded after the first `cursor` bytes."""

    def subscribe(self, on_growth: Callable[[], None]) -> None:
        """Call `on_growth` after each append, in the trio thread. One subscriber: the newest."""


class Endpoint(Protocol):
    """One that answers. The commands return at once and never raise; what follows is reported.

    Commands for a turn that the endpoint does not know (any more) do nothing. An utterance is kept until its
    answer begins, and goes whole to a new connection when the old one is lost before that.
    """

    async def run(self, report: Report) -> None:
        """Connect, and stay connected, until cancelled. `report` is called in the trio thread."""

    def begin(self, utterance: Utterance) -> None:
        """Send this utterance as it grows. An unanswered one before it is forgotten."""

    def ask(self, turn: int) -> None:
        """The utterance is whole: answer it."""

    def discard(self, turn: int) -> None:
        """Forget the utterance; it was never asked."""

    def cancel(self, turn: int) -> None:
        """Stop the answer; nothing of it was heard."""

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """Stop the answer; the visitor heard `heard_ms` of it and knows no more."""

    def forget(self) -> None:
        """Begin a new conversation: nothing said so far counts any more."""
