"""Which of the server's items is which turn's question."""

from __future__ import annotations

from collections import deque

from kioskd.realtime.wire import ItemAdded, QuestionTranscript

QUESTIONS_KEPT = 16  # transcripts of questions come seconds late, never many turns late


class Questions:
    """The questions that were committed, from the commit to the transcript."""

    def __init__(self) -> None:
        self._committing: deque[int] = deque(maxlen=QUESTIONS_KEPT)  # not acknowledged yet
        self._unnamed: deque[int] = deque(maxlen=QUESTIONS_KEPT)  # acknowledged without an item id
        self._turns: dict[str, int] = {}  # item id -> turn
        self._transcribed: deque[str] = deque(maxlen=QUESTIONS_KEPT)

    def commit(self, turn: int) -> None:
        """A commit of this turn's question is under way."""
        self._committing.append(turn)

    def on_committed(self, item_id: str | None) -> None:
        """The oldest commit under way has become an item."""
        if item_id in self._turns or not self._committing:
            return
        turn = self._committing.popleft()
        if item_id is None:
            self._unnamed.append(turn)
        else:
            self._name(item_id, turn)

    def on_refused(self) -> int | None:
        """The oldest commit under way was refused -> its turn."""
        return self._committing.popleft() if self._committing else None

    def on_item(self, event: ItemAdded) -> None:
        """An item of the visitor's names the oldest question that has no name."""
        if event.role == "user" and event.item_id is not None and event.item_id not in self._turns and self._unnamed:
            self._name(event.item_id, self._unnamed.popleft())

    def on_transcript(self, event: QuestionTranscript) -> int | None:
        """The turn that a transcript belongs to; None for a repeated, an empty, or nobody's."""
        if event.item_id in self._transcribed or not event.text:
            return None
        turn = self._turns.get(event.item_id or "")
        if turn is None and self._unnamed:
            turn = self._unnamed.popleft()
            if event.item_id is not None:
                self._name(event.item_id, turn)
        if turn is not None and event.item_id is not None:
            self._transcribed.append(event.item_id)
        return turn

    def _name(self, item_id: str, turn: int) -> None:
        self._turns[item_id] = turn
        while len(self._turns) > QUESTIONS_KEPT:
            del self._turns[next(iter(self._turns))]
