"""Which phase a connection is in, by the events that pass."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from kioskd.simulator.faults.catalogue import Phase

AUDIO_DELTAS = frozenset({"response.output_audio.delta", "response.audio.delta"})  # GA, beta


@define
class PhaseTracker:
    """Begins after the upgrade. An answer that was cancelled for a new question doesn't count for that question."""

    phase: Phase = field(default=Phase.SETUP, init=False)
    _open: str | None = field(default=None, init=False)  # the response that was begun last, unless it is done
    _stale: str | None = field(default=None, init=False)  # the one that was open when the client asked

    def client(self, event: dict[str, Any]) -> None:
        """The client has sent this."""
        kind = event.get("type")
        if kind == "input_audio_buffer.append":
            self.phase = Phase.LISTENING
        elif kind == "input_audio_buffer.clear" and self.phase is Phase.LISTENING:
            self.phase = Phase.IDLE
        elif (kind == "input_audio_buffer.commit" and self.phase is Phase.LISTENING) or (
            kind == "response.create" and self.phase in (Phase.SETUP, Phase.IDLE, Phase.LISTENING)
        ):
            self._ask()

    def server(self, event: dict[str, Any]) -> None:
        """The client was sent this."""
        kind = event["type"]
        if kind == "session.updated" and self.phase is Phase.SETUP:
            self.phase = Phase.IDLE
        elif kind == "input_audio_buffer.committed" and self.phase is Phase.LISTENING:
            self._ask()  # by voice detection
        elif kind == "response.created":
            self._open = event["response"]["id"]
            if self.phase is Phase.IDLE:
                self.phase = Phase.ASKED  # by nobody
        elif kind in AUDIO_DELTAS:
            self._open = event["response_id"]
            if self.phase in (Phase.IDLE, Phase.ASKED) and self._open != self._stale:
                self.phase = Phase.ANSWERING
        elif kind == "response.done":
            self._end(event["response"]["id"])

    def _ask(self) -> None:
        self.phase = Phase.ASKED
        self._stale = self._open

    def _end(self, response_id: str) -> None:
        if response_id == self._open:
            self._open = None
        if response_id != self._stale and self.phase in (Phase.ASKED, Phase.ANSWERING):
            self.phase = Phase.IDLE
