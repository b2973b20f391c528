"""An endpoint in memory: the port's second implementation, for tests and dry runs. It answers with what it is given."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import trio
from attrs import define, field

from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.port import Report, Utterance

BYTES_PER_MS = 48  # s16le mono at 24 kHz
PIECE_BYTES = 100 * BYTES_PER_MS
Answer = Callable[[bytes], bytes]


class Asked(Enum):
    """How far the turn at hand is."""

    NOT_YET = "not yet"
    WAITING = "waiting for its answer"
    ANSWERING = "being answered"
    OVER = "over"


@define
class MemoryEndpoint:
    """Answers each question with `answer(question)`, in pieces of 100 ms, `speed` times as fast as they play.

    `heard`: the questions; `interrupts`: turn and heard ms; `forgotten`: how many conversations were ended.
    """

    answer: Answer
    speed: float = 5.0
    heard: list[bytes] = field(factory=list)
    interrupts: list[tuple[int, int]] = field(factory=list)
    cancelled: list[int] = field(factory=list)
    forgotten: int = 0
    _up: bool = True
    _report: Report | None = None
    _utterance: Utterance | None = None
    _asked: Asked = Asked.NOT_YET
    _changed: trio.Event = field(factory=trio.Event)

    async def run(self, report: Report) -> None:
        """Answer until cancelled."""
        self._report = report
        report(LinkChanged(Link.UP if self._up else Link.DOWN))
        while True:
            if self._up and self._utterance is not None and self._asked is Asked.WAITING:
                await self._answer_turn(self._utterance)
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    def begin(self, utterance: Utterance) -> None:
        """See port."""
        self._utterance, self._asked = utterance, Asked.NOT_YET
        self._changed.set()

    def ask(self, turn: int) -> None:
        """See port."""
        if self._is_current(turn) and self._asked is Asked.NOT_YET:
            self._asked = Asked.WAITING
            self._changed.set()

    def discard(self, turn: int) -> None:
        """See port."""
        if self._is_current(turn) and self._asked is Asked.NOT_YET:
            self._utterance = None

    def cancel(self, turn: int) -> None:
        """See port."""
        if self._is_current(turn):
            self.cancelled.append(turn)
            self._utterance, self._asked = None, Asked.OVER
            self._changed.set()

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """See port."""
        self.interrupts.append((turn, heard_ms))
        if self._is_current(turn):
            self._utterance, self._asked = None, Asked.OVER
            self._changed.set()

    def forget(self) -> None:
        """See port."""
        self.forgotten += 1

    def go_down(self, cause: str = "the test pulled the plug") -> None:
        """Lose the connection: an answer that has begun is cut, a question waits."""
        self._up = False
        if self._utterance is not None and self._asked is Asked.ANSWERING:
            self._tell(AnswerEnded(self._utterance.turn, Ending.CUT, cause))
            self._utterance, self._asked = None, Asked.OVER
        self._tell(LinkChanged(Link.DOWN, cause))
        self._changed.set()

    def come_up(self) -> None:
        """Have a connection again."""
        self._up = True
        self._tell(LinkChanged(Link.UP))
        self._changed.set()

    def _is_current(self, turn: int) -> bool:
        return self._utterance is not None and self._utterance.turn == turn

    def _tell(self, event: LinkChanged | AnswerAudio | AnswerEnded) -> None:
        if self._report is not None:
            self._report(event)

    async def _answer_turn(self, utterance: Utterance) -> None:
        question = utterance.since(0)
        self.heard.append(question)
        pcm = self.answer(question)
        self._asked = Asked.ANSWERING
        for start in range(0, len(pcm), PIECE_BYTES):
            piece = pcm[start : start + PIECE_BYTES]
            ms = len(piece) / BYTES_PER_MS
            await trio.sleep(ms / 1000 / self.speed)
            if self._utterance is not utterance:
                return
            self._tell(AnswerAudio(utterance.turn, piece, ms))
        self._utterance, self._asked = None, Asked.OVER
        ending = Ending.COMPLETE if pcm else Ending.FAILED
        self._tell(AnswerEnded(utterance.turn, ending, "" if pcm else "answered without sound"))
