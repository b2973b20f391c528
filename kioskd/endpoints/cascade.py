"""A text model with a voice around it: hearing, then words, then speech, sentence by sentence.

The first sentence is spoken while the rest is still being written. What was not understood is no question: the answer
ends without a sound, at once, and the visitor hears the kiosk's own apology. A model that is asked about nothing
would make something up, and an error would have it asked again for as long as a visitor waits.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from kioskd.config.schema import Conversation
from kioskd.dialogue.events import Speaker, Usage
from kioskd.endpoints import policy
from kioskd.endpoints.answering import Finished, Heard, Question, Sound, Take, Words
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.port import Utterance
from kioskd.endpoints.text.model import Delta, Finish, Message, ModelError, Request, Role, TextEvent, TextModel
from kioskd.endpoints.toolbox import ROUNDS_MAX, Structured, Toolbox, ToolCall, results_of, summed
from kioskd.endpoints.voice.hearing import Ears
from kioskd.endpoints.voice.sentences import Piece, Sentences, encodable
from kioskd.endpoints.voice.speech import Voice
from kioskd.realtime.replay import CONTINUE, Said

LOOK_AHEAD = 2  # sentences at the voice at once: the one that is heard, and the next
CHARACTERS_MAX = 20_000  # of one answer: twenty minutes
SPEECH_TRIES = 3  # for one sentence, as long as nothing of it was heard
SPEECH_WAIT_S = 2.0  # between two of them: the sentence before is still playing
UNWRITTEN = "(spoken; nobody wrote it down)"


class Cascade:
    """An Answerer. `conversation` may be replaced at any time; the next answer goes by it."""

    def __init__(
        self,
        ears: Ears,
        model: TextModel,
        voice: Voice,
        conversation: Conversation,
        toolbox: Toolbox | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.conversation = conversation
        self._ears, self._model, self._voice = ears, model, voice
        self._toolbox, self._jitter = toolbox, jitter

    async def run(self) -> None:
        """See Answerer."""
        async with trio.open_nursery() as nursery:
            for part in (self._ears, self._model, self._voice):
                nursery.start_soon(part.run)

    async def check(self) -> None:
        """See Answerer."""
        await self._ears.check()
        await self._voice.check()
        await self._model.check()

    def prepare(self, utterance: Utterance) -> None:
        """See Answerer. Nothing is sent ahead: the hearing takes a whole file."""

    def forget(self) -> None:
        """See Answerer."""
        self._model.forget()

    async def answer(self, question: Question, take: Take) -> Finished:
        """See Answerer. `Words` come with the first sound of their sentence, so that nothing unheard counts as said."""
        messages = [_message(said) for said in question.said]
        if question.sound is None:
            asked = CONTINUE
        else:
            asked = question.heard or await self._ears.transcribe(question.sound, lambda _: None)
            if not any(character.isalnum() for character in asked):
                return Finished.COMPLETE
            take(Heard(asked))
        turn = _Turn(
            question.turn,
            [*messages, Message(Role.VISITOR, asked)],
            take,
            self.conversation.instructions,
            self._model,
            self._voice,
            self._toolbox,
            self._toolbox.structured if self._toolbox is not None else None,
            self._jitter,
        )
        return await turn.run()


def _message(said: Said) -> Message:
    if said.speaker is Speaker.KIOSK:
        return Message(Role.KIOSK, said.text)
    return Message(Role.VISITOR, said.text or UNWRITTEN)


def _unfenced(text: str) -> str:
    """JSON without the fence that models put around it where a gateway doesn't hand on what format is wanted."""
    text = text.strip()
    return text.partition("\n")[2].rpartition("```")[0] if text.startswith("```") else text


@define(eq=False)
class _Sentence:
    """One at the voice. What it sounds like is kept until its turn comes."""

    text: str
    kept: list[bytes] = field(factory=list)
    sounded: bool = False
    told: bool = False
    over: bool = False
    failure: ModelError | None = None


@define(eq=False)
class _Turn:
    """One answer: a task that has it written, and one for each sentence at the voice."""

    _turn: int
    _messages: list[Message]
    _take: Take
    _instructions: str
    _model: TextModel
    _voice: Voice
    _toolbox: Toolbox | None
    _structured: Structured | None
    _jitter: Callable[[], float]

    _splitter: Sentences = field(factory=Sentences, init=False)
    _written: deque[Piece] = field(factory=deque, init=False)  # and not at the voice yet
    _all_written: bool = field(default=False, init=False)
    _more: trio.Event = field(factory=trio.Event, init=False)
    _characters: int = field(default=0, init=False)

    _speaking: deque[_Sentence] = field(factory=deque, init=False)  # in their order; the first one is heard
    _room: trio.Semaphore = field(factory=lambda: trio.Semaphore(LOOK_AHEAD), init=False)
    _unspoken: str = field(default="", init=False)  # words without a sound, which go along with the next
    _sounded: bool = field(default=False, init=False)

    _usage: Usage | None = field(default=None, init=False)
    _finished: Finished = field(default=Finished.COMPLETE, init=False)
    _failure: ModelError | None = field(default=None, init=False)
    _everything: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    async def run(self) -> Finished:
        with self._everything:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._speak, nursery)
        if self._unspoken and self._failure is None:
            self._take(Words(self._unspoken))
        if self._usage is not None:
            self._take(self._usage)
        if self._failure is None:
            return self._finished
        if self._sounded and self._failure.failure.kind in (Kind.LOST, Kind.SILENCE):
            return Finished.CUT
        raise self._failure

    # Writing

    async def _write(self) -> None:
        try:
            self._finished = await self._rounds()
        except ModelError as error:  # what was written until then is still spoken
            self._failure = error
        self._put(self._splitter.end())
        self._all_written = True
        self._more.set()

    async def _rounds(self) -> Finished:
        for _ in range(ROUNDS_MAX + 1):
            text: list[str] = []
            calls: list[ToolCall] = []
            finish = await self._ask(text, calls)
            if finish is not Finish.TOOL_CALLS:
                return await self._end(finish, "".join(text))
            self._put(self._splitter.end())  # it is spoken while the tools run
            if self._toolbox is None:
                break
            self._messages.append(Message(Role.KIOSK, "".join(text), calls=tuple(calls)))
            results = await results_of(self._toolbox, self._turn, calls)
            for call, result in zip(calls, results, strict=True):
                self._messages.append(Message(Role.VISITOR, result, answers_call=call.call_id))
        return Finished.TRUNCATED

    async def _ask(self, text: list[str], calls: list[ToolCall]) -> Finish | None:
        """One request; None where it had to be stopped."""
        request = Request(
            self._turn,
            self._instructions,
            tuple(self._messages),
            tuple(self._toolbox.offers) if self._toolbox is not None else (),
            self._structured.schema if self._structured is not None else None,
        )

        def take(event: TextEvent) -> None:
            match event:
                case Delta():
                    self._characters += len(event.text)
                    if self._characters > CHARACTERS_MAX:
                        enough.cancel()
                        return
                    text.append(encodable(event.text))
                    if self._structured is None:
                        self._put(self._splitter.add(text[-1]))
                case ToolCall():
                    calls.append(event)
                case Usage():
                    self._usage = summed(self._usage, event)

        finish = None
        with trio.CancelScope() as enough:
            finish = await self._model.answer(request, take)
        return None if enough.cancel_called else finish

    async def _end(self, finish: Finish | None, text: str) -> Finished:
        if finish is Finish.STOPPED:
            return Finished.TRUNCATED
        if self._structured is not None:
            await self._show(self._structured, _unfenced(text), whole=finish is Finish.WHOLE)
        if finish is None:
            return Finished.TRUNCATED
        return Finished.CUT if finish is Finish.CUT else Finished.COMPLETE

    async def _show(self, structured: Structured, text: str, *, whole: bool) -> None:
        """The answer is an object: one part of it is said, all of it goes to a tool. Raises ModelError for none."""
        try:
            said = json.loads(text)[structured.spoken]
        except (ValueError, RecursionError, TypeError, LookupError):
            said = None
        if not isinstance(said, str):
            kind = Kind.SETTINGS if whole else Kind.LOST  # one that was cut may come whole the next time
            raise ModelError(Failure(kind, "the model's answer doesn't satisfy tools.answer_schema"))
        self._put([*self._splitter.add(encodable(said)), *self._splitter.end()])
        if self._toolbox is not None:
            await self._toolbox.answer(self._turn, text)

    def _put(self, pieces: Sequence[Piece]) -> None:
        if pieces:
            self._written.extend(pieces)
            self._more.set()

    # Speaking

    async def _speak(self, nursery: trio.Nursery) -> None:
        while self._written or not self._all_written:
            if not self._written:
                await self._more.wait()
                self._more = trio.Event()
                continue
            piece = self._written.popleft()
            if not piece.spoken:
                self._unspoken += piece.text
                continue
            await self._room.acquire()
            sentence = _Sentence(self._unspoken + piece.text)
            self._unspoken = ""
            self._speaking.append(sentence)
            nursery.start_soon(self._say, piece.spoken, sentence)

    async def _say(self, text: str, sentence: _Sentence) -> None:
        def take(pcm: bytes) -> None:
            sentence.kept.append(pcm)
            sentence.sounded = True
            self._hand_on()

        try:
            await self._say_patiently(text, sentence, take)
        except ModelError as error:
            sentence.failure = error
        sentence.over = True
        self._hand_on()

    async def _say_patiently(self, text: str, sentence: _Sentence, take: Callable[[bytes], None]) -> None:
        for attempt in range(SPEECH_TRIES):
            try:
                await self._voice.speak(text, take)
            except ModelError as error:
                wait_s = self._wait_after(error.failure, attempt)
                if sentence.sounded or wait_s is None:
                    raise
                await trio.sleep(wait_s)
            else:
                return

    def _wait_after(self, failure: Failure, attempt: int) -> float | None:
        """Before the sentence is tried again; None: it isn't."""
        verdict = policy.judge(failure, attempt, self._jitter(), wanted=True)
        if attempt + 1 == SPEECH_TRIES or not isinstance(verdict, policy.Retry | policy.Wait | policy.NextEndpoint):
            return None
        return verdict.after_s if verdict.after_s <= SPEECH_WAIT_S else None

    def _hand_on(self) -> None:
        """Whatever may be heard now, in its order. A sentence that failed ends it all, once those before are over."""
        while self._speaking:
            sentence = self._speaking[0]
            if not sentence.told and (sentence.sounded or (sentence.over and sentence.failure is None)):
                sentence.told = True
                self._take(Words(sentence.text))
            for pcm in sentence.kept:
                self._sounded = True
                self._take(Sound(pcm))
            sentence.kept.clear()
            if not sentence.over:
                return
            if sentence.failure is not None:
                self._failure = sentence.failure
                self._everything.cancel()
                return
            self._speaking.popleft()
            self._room.release()
