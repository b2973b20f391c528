"""The brain of a run: it hears whose question it is, answers with that turn's marks, and notes what it was asked."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from kioskd.chaos import marks
from kioskd.chaos import record as r
from kioskd.chaos.channel import SocketChannel
from kioskd.chaos.trace import Trace
from kioskd.simulator.brain import Understanding
from kioskd.simulator.conversation import Conversation
from kioskd.simulator.items import Item

WORD_MS = 300  # an answer has a word for each so many ms
PARTS_MAX = 3  # an answer and its continuations
_TURN_IN_TEXT = re.compile(r"\b[qa](\d+)\b")


@define(eq=False)
class Answers:
    """How long answers are, and how long they are thought about: drawn once for each, so that a second is the same."""

    rng: random.Random
    ms: dict[tuple[int, int], int] = field(factory=dict)

    def length_ms(self, turn: int, part: int) -> int:
        if (turn, part) not in self.ms:
            low, high = self.rng.choices(((200, 500), (500, 1200), (1200, 3000)), (75, 20, 5))[0]
            self.ms[turn, part] = self.rng.randint(low, high)
        return self.ms[turn, part]

    def thought_s(self) -> float:
        return self.rng.choice((0.0, 0.0, 0.1, 0.3, 1.0))


@define(eq=False)
class EchoBrain:
    """Of one session: hears the marks of a question, answers with its own. Also watches (see `Observer`)."""

    session: int
    trace: Trace
    answers: Answers
    parts: dict[int, int]  # the continuations given of each turn
    on_strike: Callable[[str, str], None]
    channel: SocketChannel
    conversation: Conversation | None = None
    _stamps: deque[Any] = field(factory=deque)  # when sounds to be heard were sent; None for one out of the history
    _creates: deque[Any] = field(factory=deque)  # of responses: did the client ask, or a fault?
    _refusable: tuple[deque[Any], float] | None = None  # what the client's last event has added to, and when
    _texts: dict[str, tuple[int, int]] = field(factory=dict)

    async def hear(self, pcm: bytes) -> Understanding:
        """See `Brain`."""
        sent_at = self._stamps.popleft() if self._stamps else None
        turn = marks.owner(pcm)
        if sent_at is not None:
            heard = r.Heard(self.trace.now, self.trace.ms_of(sent_at), self.session, marks.read(pcm), self._known())
            self.trace.add(heard)
        return Understanding(f"q{turn}" if turn is not None else "", turn is not None, (turn or 0, 0))

    async def read(self, text: str) -> Understanding:
        """See `Brain`. What is written is the order to go on with an answer, or a question out of the history."""
        found = _TURN_IN_TEXT.findall(text)
        if found:
            return Understanding(text, True, (int(found[-1]), 0))
        turn = max(self._turns(), default=0)
        self.parts[turn] = min(self.parts.get(turn, 0) + 1, PARTS_MAX - 1)
        return Understanding(text, True, (turn, self.parts[turn]))

    async def answer(self, said: Understanding) -> str:
        """See `Brain`."""
        turn, part = said.topic if isinstance(said.topic, tuple) else (0, 0)
        ms = self.answers.length_ms(turn, part)
        if self._creates and self._creates.popleft():
            self.trace.add(r.Asked(self.trace.now, self.session, turn, part, ms))
        await trio.sleep(self.answers.thought_s())
        text = " ".join([f"a{turn}"] * max(1, ms // WORD_MS))
        self._texts[text] = (turn, part)
        return text

    async def speak(self, text: str) -> bytes:
        """See `Brain`."""
        turn, part = self._texts.pop(text)
        return marks.marked(turn, part, 0, self.answers.length_ms(turn, part))

    def on_event(self, sender: str, kind: str, size: int) -> None:
        """See `Observer`. What the client asks for counts until the server refuses it, which it does at once."""
        if sender == "client":
            text, self.channel.last = str(self.channel.last), ""
            self._refusable = None
            if kind == "input_audio_buffer.commit":
                self._expect(self._stamps, self.channel.sent_at)
            elif kind == "conversation.item.create" and '"input_audio"' in text:
                self._expect(self._stamps, None)
            elif kind == "response.create":
                self._expect(self._creates, bool(text))
        elif kind == "error" and self._refusable is not None:
            (queue, at), self._refusable = self._refusable, None
            if queue and at == trio.current_time():
                queue.pop()
        elif kind == "input_audio_buffer.committed":
            self._refusable = None

    def on_heard(self, item_id: str, pcm: bytes, said: Understanding) -> None:
        """See `Observer`."""

    def on_sent(self, item_id: str, question_id: str | None, text: str, pcm: bytes, status: str) -> None:
        """See `Observer`."""

    def on_interrupt(self, item_id: str, audio_end_ms: int) -> None:
        """See `Observer`."""

    def on_fault(self, kind: str, phase: str) -> None:
        """See `Observer`."""
        self.on_strike(kind, phase)

    def _expect(self, queue: deque[Any], what: Any) -> None:
        queue.append(what)
        self._refusable = queue, trio.current_time()

    def _known(self) -> frozenset[int]:
        return frozenset(self._turns(skip_last=True))

    def _turns(self, skip_last: bool = False) -> list[int]:
        items = list(self.conversation.history) if self.conversation is not None else []
        return [turn for item in (items[:-1] if skip_last else items) for turn in _turns_in(item)]


def _turns_in(item: Item) -> list[int]:
    turns = []
    for part in item.parts:
        turns += [int(found) for found in _TURN_IN_TEXT.findall(part.text or "")]
        turn = marks.owner(part.pcm)
        if turn is not None:
            turns.append(turn)
    return turns
