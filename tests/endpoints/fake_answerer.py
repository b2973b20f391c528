"""An answerer that does as a test tells it to, and remembers what it was asked."""

import trio
from attrs import define, field

from kioskd.endpoints.answering import Finished, Heard, Sound, Words
from kioskd.endpoints.history import History
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import ModelError

MS = 48
PIECE = 100 * MS
LOST = Failure(Kind.LOST, "the connection broke off")


class Recorded(History):
    """A history that tells when it is told something."""

    def __init__(self, conversation):
        super().__init__(conversation)
        self.interrupts = []
        self.on_forget = lambda: None

    def interrupted(self, turn, heard_ms):
        self.interrupts.append((turn, heard_ms))
        super().interrupted(turn, heard_ms)

    def forget(self):
        self.on_forget()
        super().forget()


@define(eq=False, slots=False)
class FakeAnswerer:
    """Answers with `answer(question)`, in pieces of 100 ms, `speed` times as fast as they play, after `think_s`.

    `failing` is raised by every check and every answer; `refusing` by answers alone; `stalls_after` pieces it waits
    for ever; `finish` is how it ends. `checks` counts, `questions` are what it was asked, `prepared` are turns.
    """

    answer_to: object
    speed: float = 5.0
    think_s: float = 0.1
    up: bool = True
    failing: Failure = None
    refusing: Failure = None
    breaks_after: int = None  # pieces; then `refusing` is raised, or the connection is lost
    stalls_after: int = None
    finish: Finished = Finished.COMPLETE
    extra: list = field(factory=list)  # events, before the sound; a Failure is raised
    questions: list = field(factory=list)
    conversations: list = field(factory=lambda: [[]])
    prepared: list = field(factory=list)
    checks: int = 0
    forgotten: int = 0
    at_once: int = 0
    running: int = 0
    _now: int = 0
    _pcm: bytes = b""
    _done: int = 0

    def go_down(self):
        self.up = False

    async def run(self):
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.running -= 1

    async def check(self):
        self.checks += 1
        await trio.sleep(0.01)
        self._complain(self.failing)

    def _complain(self, failure):
        if not self.up:
            raise ModelError(LOST)
        if failure is not None:
            raise ModelError(failure)

    async def answer(self, question, take):
        self.questions.append(question)
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            return await self._answered(question, take)
        finally:
            self._now -= 1

    async def _answered(self, question, take):
        self._complain(self.failing)
        if question.sound is not None:
            assert question.sound.ended
            pcm = question.sound.since(0)
            self.conversations[-1].append(pcm)
            self._pcm, self._done = self.answer_to(pcm), 0
        with trio.move_on_after(self.think_s):
            while self.up:
                await trio.sleep(0.005)
        self._complain(self.refusing if self.breaks_after is None else None)
        for event in self.extra:
            if isinstance(event, Failure):
                raise ModelError(event)
            take(event)
        pieces = 0
        while self._done < len(self._pcm):
            piece = self._pcm[self._done : self._done + PIECE]
            self._done += len(piece)
            take(Words(f"word{pieces} "))
            take(Sound(piece))
            pieces += 1
            if pieces == self.stalls_after:
                await trio.sleep_forever()
            if pieces == self.breaks_after:
                raise ModelError(self.refusing or LOST)
            await trio.sleep(len(piece) / MS / 1000 / self.speed)
            if not self.up:
                return Finished.CUT
        return self.finish

    def prepare(self, utterance):
        self.prepared.append(utterance.turn)

    def forget(self):
        self.forgotten += 1


def heard(text):
    """The visitor's words."""
    return Heard(text)
