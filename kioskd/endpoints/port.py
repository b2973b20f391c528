"""The port between the kiosk and whoever answers it. It speaks of turns and milliseconds, of no wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Link, LinkChanged, Transcript, Usage
from kioskd.value import Value

EndpointEvent = LinkChanged | AnswerAudio | AnswerEnded | Transcript | Usage
Report = Callable[[EndpointEvent], None]


@frozen(eq=False, repr=False)
class LinkStatus(Value):
    """The link as its owner sees it. Times are seconds of trio's clock."""

    endpoint: str
    link: Link
    cause: str
    since: float
    next_try_at: float | None = None  # None: nothing is waited for
    leave: bool = False  # another endpoint could answer sooner
    kind: str = ""  # of the trouble, in one of a few fixed phrases
    breakers: tuple[tuple[str, str], ...] = ()  # endpoint and state, in the order of preference

    def line(self, now: float) -> str:
        """All of it, in one line for the owner."""
        parts = [f"{self.link.value} for {max(0.0, now - self.since):.0f} s"]
        if self.next_try_at is not None:
            parts.append(f"next try in {max(0.0, self.next_try_at - now):.0f} s")
        if len(self.breakers) > 1:
            parts.append("breakers " + ", ".join(f"{name} {state}" for name, state in self.breakers))
        parts.append(self.cause or "no trouble")
        return f"{self.endpoint}: " + "; ".join(parts)


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


@frozen(eq=False, repr=False)
class Again:
    """An utterance that is asked once more, as another turn."""

    turn: int
    _utterance: Utterance

    @property
    def size(self) -> int:
        """See Utterance."""
        return self._utterance.size

    @property
    def ended(self) -> bool:
        """See Utterance."""
        return self._utterance.ended

    def since(self, cursor: int) -> bytes:
        """See Utterance."""
        return self._utterance.since(cursor)

    def subscribe(self, on_growth: Callable[[], None]) -> None:
        """See Utterance."""
        self._utterance.subscribe(on_growth)


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

    def continue_answer(self, turn: int) -> None:
        """The answer before was cut: give the rest of it, as the answer of this turn."""

    def discard(self, turn: int) -> None:
        """Forget the utterance; it was never asked."""

    def cancel(self, turn: int) -> None:
        """Stop the answer; nothing of it was heard."""

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """Stop the answer; the visitor heard `heard_ms` of it and knows no more."""

    def forget(self) -> None:
        """Begin a new conversation: nothing said so far counts any more."""

    def network_changed(self) -> None:
        """An address or a route came or went: what waits for the network may try again, what is up may be dead."""

    def catch_up(self) -> bool:
        """Whether it knows all that was said, also with others. False: it begins a session that will."""

    @property
    def status(self) -> LinkStatus:
        """How the link is, for the owner."""
