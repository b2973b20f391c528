"""An endpoint in memory: the port's second implementation, for tests and dry runs. It answers with what it is given."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import trio
from attrs import define, field

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.port import EndpointEvent, LinkStatus, Report, Utterance

BYTES_PER_MS = 48  # s16le mono at 24 kHz
PIECE_BYTES = 100 * BYTES_PER_MS


class Stage(Enum):
    """How far a turn is."""

    GROWING = "not asked yet"
    ASKED = "waiting for its answer"
    ANSWERING = "some of its answer was reported"


@define(eq=False)
class _Turn:
    number: int
    utterance: Utterance | None  # None: the rest of the answer before is wanted
    stage: Stage = Stage.GROWING


@define(eq=False)
class MemoryEndpoint:
    """Answers each question with `answer(question)` (s16le mono, 24 kHz), in pieces of 100 ms.

    The first piece comes after `think_s`; the others follow `speed` times as fast as they play. `conversations` are
    the questions heard, one list a conversation; `interrupts` are pairs of turn and heard ms; `cancelled` are turns.
    """

    answer: Callable[[bytes], bytes]
    speed: float = 5.0
    think_s: float = 0.1
    conversations: list[list[bytes]] = field(factory=lambda: [[]], init=False)
    interrupts: list[tuple[int, int]] = field(factory=list, init=False)
    cancelled: list[int] = field(factory=list, init=False)
    _up: bool = field(default=True, init=False)
    _report: Report | None = field(default=None, init=False)
    _turn: _Turn | None = field(default=None, init=False)
    _answer: bytes = field(default=b"", init=False)
    _answered: int = field(default=0, init=False)  # bytes of it that were reported
    _answering: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    @property
    def heard(self) -> list[bytes]:
        """All the questions heard, in order."""
        return [question for conversation in self.conversations for question in conversation]

    async def run(self, report: Report) -> None:
        """See port."""
        self._report = report
        self._tell(LinkChanged(Link.UP if self._up else Link.DOWN))
        try:
            while True:
                turn = self._turn
                if self._up and turn is not None and turn.stage is Stage.ASKED:
                    with trio.CancelScope() as self._answering:
                        await self._answer_turn(turn)
                else:
                    self._changed = trio.Event()
                    await self._changed.wait()
        finally:
            self._report = None

    def begin(self, utterance: Utterance) -> None:
        """See port."""
        self._drop()
        self._turn = _Turn(utterance.turn, utterance)

    def ask(self, turn: int) -> None:
        """See port."""
        if self._turn is not None and self._is_current(turn) and self._turn.stage is Stage.GROWING:
            self._turn.stage = Stage.ASKED
            self._changed.set()

    def continue_answer(self, turn: int) -> None:
        """See port."""
        self._drop()
        self._turn = _Turn(turn, None, Stage.ASKED)
        self._changed.set()

    def discard(self, turn: int) -> None:
        """See port."""
        if self._is_current(turn):
            self._drop()

    def cancel(self, turn: int) -> None:
        """See port."""
        if self._is_current(turn):
            self.cancelled.append(turn)
            self._drop()

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """See port. An answer that is whole may still be playing: that counts too."""
        self.interrupts.append((turn, heard_ms))
        if self._is_current(turn):
            self._drop()

    def forget(self) -> None:
        """See port."""
        self._drop()
        self.conversations.append([])

    def network_changed(self) -> None:
        """See port."""

    def catch_up(self) -> bool:
        """See port. It answers each question by itself."""
        return True

    @property
    def status(self) -> LinkStatus:
        """See port."""
        return LinkStatus("memory", Link.UP if self._up else Link.DOWN, "", 0.0)

    def go_down(self, cause: str = "unplugged") -> None:
        """Lose the connection: an answer that has begun is cut, an unanswered question waits."""
        if not self._up:
            return
        self._up = False
        self._answering.cancel()
        if self._turn is not None and self._turn.stage is Stage.ANSWERING:
            self._tell(AnswerEnded(self._turn.number, Ending.CUT, cause))
            self._turn = None
        self._tell(LinkChanged(Link.DOWN, cause))

    def come_up(self) -> None:
        """Have a connection again; a question that waits is asked anew."""
        if not self._up:
            self._up = True
            self._tell(LinkChanged(Link.UP))
            self._changed.set()

    def _is_current(self, turn: int) -> bool:
        return self._turn is not None and self._turn.number == turn

    def _drop(self) -> None:
        self._turn = None
        self._answering.cancel()

    def _tell(self, event: EndpointEvent) -> None:
        if self._report is not None:
            self._report(event)

    async def _answer_turn(self, asked: _Turn) -> None:
        number = asked.number
        if asked.utterance is not None:
            question = asked.utterance.since(0)
            self.conversations[-1].append(question)
            self._answer = self.answer(question)
        pcm = self._answer[self._answered :] if asked.utterance is None else self._answer
        await trio.sleep(self.think_s)
        for start in range(0, len(pcm), PIECE_BYTES):
            piece = pcm[start : start + PIECE_BYTES]
            duration_ms = len(piece) / BYTES_PER_MS
            asked.stage = Stage.ANSWERING
            self._answered = len(self._answer) - len(pcm) + start + len(piece)
            self._tell(AnswerAudio(number, piece, duration_ms))
            await trio.sleep(duration_ms / 1000 / self.speed)
        self._turn = None
        if pcm:
            self._tell(AnswerEnded(number, Ending.COMPLETE))
        else:
            self._tell(AnswerEnded(number, Ending.FAILED, "answered without sound"))
