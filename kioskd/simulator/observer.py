"""What may be watched of a conversation."""

from __future__ import annotations

from typing import Protocol

from kioskd.simulator.brain import Understanding


class Observer(Protocol):
    """Called in the trio thread as things happen; must not raise and must not wait."""

    def on_event(self, sender: str, kind: str, size: int) -> None:
        """An event of `size` characters went over the wire; `sender` is "client" or "server"."""

    def on_heard(self, item_id: str, pcm: bytes, said: Understanding) -> None:
        """A committed turn (s16le mono 24 kHz) was understood, or was not."""

    def on_sent(self, item_id: str, question_id: str | None, text: str, pcm: bytes, status: str) -> None:
        """All of an answer that will be sent has been sent. `question_id`: the item that it answers."""

    def on_interrupt(self, item_id: str, audio_end_ms: int) -> None:
        """The client says that the visitor heard no more than this of an answer."""

    def on_fault(self, kind: str, phase: str) -> None:
        """A fault was made on purpose; `phase` is how far the connection was."""


class Unwatched:
    """Nobody watches."""

    def on_event(self, sender: str, kind: str, size: int) -> None:
        """Nothing."""

    def on_heard(self, item_id: str, pcm: bytes, said: Understanding) -> None:
        """Nothing."""

    def on_sent(self, item_id: str, question_id: str | None, text: str, pcm: bytes, status: str) -> None:
        """Nothing."""

    def on_interrupt(self, item_id: str, audio_end_ms: int) -> None:
        """Nothing."""

    def on_fault(self, kind: str, phase: str) -> None:
        """Nothing."""
