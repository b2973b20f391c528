"""One question to an endpoint of any kind, and what came when. A connection is there before the clock starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import trio
from attrs import define, evolve, field, frozen

from kioskd.audio.pcm import ms_of
from kioskd.audio.utterance import Utterance
from kioskd.config.schema import Conversation, Endpoint, EndpointKind, Transport
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Usage
from kioskd.endpoints.answering import Answerer, AnswerEvent, Finished, Heard, Sound, Words
from kioskd.endpoints.answering import Question as AnswererQuestion
from kioskd.endpoints.connection import Connection
from kioskd.endpoints.dial import dial
from kioskd.endpoints.failures import DialError, told_by_endpoint
from kioskd.endpoints.kinds import make_answerer, make_model
from kioskd.endpoints.pending import PendingTurn
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.text.model import Delta, Finish, Message, ModelError, Request, Role, TextEvent, TextModel
from kioskd.here import HERE
from kioskd.probe import ceiling
from kioskd.probe.handshake import door_of
from kioskd.probe.results import Asked, Takes
from kioskd.probe.ways import Way
from kioskd.realtime.events import Saying, SessionError, SessionEvent, SessionReady

BLOCK_MS = 100  # of a voice, as a microphone hands it on
BLOCK_BYTES = 48 * BLOCK_MS
CUT = "the answer was cut"
HELD_BACK = "something on the way holds the stream back: it was asked in one piece"


@frozen
class Question:
    """The same for all. `pcm`: `text` spoken, s16le mono at 24 kHz; `trouble`: why there is none.

    `pace`: how many times faster than it was spoken the voice goes out, where it can go out while it is spoken.
    """

    text: str
    conversation: Conversation
    pcm: bytes = b""
    trouble: str = ""
    pace: float = 1.0

    @property
    def told(self) -> str:
        """All words that a model is told."""
        return f"{self.conversation.instructions}{self.text}"


class Asker(Protocol):
    """Asks one endpoint, one question at a time."""

    async def get_ready(self) -> None:
        """Open what is needed, at no cost. Raises ModelError."""

    async def ask(self, turn: int) -> Asked:
        """Ask. Raises ModelError for no answer."""

    @property
    def note(self) -> str:
        """What is worth knowing about the answers."""


@asynccontextmanager
async def asker(way: Way, question: Question, key: Callable[[], str]) -> AsyncIterator[Asker]:
    """Whoever can ask there; its connections end with it."""
    async with trio.open_nursery() as nursery:
        if way.endpoint.kind is EndpointKind.REALTIME:
            yield _OverRealtime(way.endpoint, question, key)
        elif way.takes is Takes.TEXT:
            model = make_model(way.endpoint, key)
            nursery.start_soon(model.run)
            yield _OfTextModel(way.endpoint, question, model)
        else:
            answerer = make_answerer(way.endpoint, question.conversation, lambda _: key(), HERE)
            nursery.start_soon(answerer.run)
            yield _OfAnswerer(way.endpoint, question, answerer)
        nursery.cancel_scope.cancel()


@define
class _Clock:
    """When what came, and what it was."""

    endpoint: Endpoint
    takes: Takes
    question: Question
    began: float = field(factory=trio.current_time)
    first: float | None = None
    characters: int = 0
    spoken_bytes: int = 0
    usage: Usage | None = None

    def begin(self) -> None:
        """It is asked now."""
        self.began = trio.current_time()

    def came(self) -> None:
        """The first that a visitor would notice, or more of it."""
        if self.first is None:
            self.first = trio.current_time()

    def asked(self, failure: str = "") -> Asked:
        """It is over."""
        total_ms = (trio.current_time() - self.began) * 1000
        if self.first is None:
            return Asked(failure=failure or "the answer was empty")
        if self.usage is not None:
            amounts = ceiling.amounts_of(self.usage)
        else:
            heard_ms, spoken_ms = ms_of(len(self.question.pcm)), ms_of(self.spoken_bytes)
            amounts = ceiling.guessed(self.takes, len(self.question.told), self.characters, heard_ms, spoken_ms)
        is_local = self.endpoint.kind is EndpointKind.LOCAL
        return Asked(
            (self.first - self.began) * 1000,
            total_ms,
            None if is_local else amounts.output_text + amounts.output_audio,
            self.usage is None and not is_local,
            ceiling.price(self.endpoint, self.takes, amounts),
            failure,
        )


@define
class _OfTextModel:
    """Text in, words out."""

    _endpoint: Endpoint
    _question: Question
    _model: TextModel

    _is_ready: bool = False

    async def get_ready(self) -> None:
        if self._is_ready and not _is_socket(self._endpoint):
            return  # its connection is kept
        await _checked(self._model.check)
        self._is_ready = True

    async def ask(self, turn: int) -> Asked:
        self._model.forget()
        clock = _Clock(self._endpoint, Takes.TEXT, self._question)

        def take(event: TextEvent) -> None:
            if isinstance(event, Usage):
                clock.usage = event
            elif isinstance(event, Delta) and event.text:
                clock.came()
                clock.characters += len(event.text)

        messages = (Message(Role.VISITOR, self._question.text),)
        clock.begin()
        finish = await self._model.answer(Request(turn, self._question.conversation.instructions, messages), take)
        return clock.asked(CUT if finish is Finish.CUT and not self._is_long(clock) else "")

    def _is_long(self, clock: _Clock) -> bool:
        """Whether the answer may have ended by our own `max_tokens`; that is a cut, too, but no failure."""
        most = self._endpoint.max_tokens or 0
        return clock.usage.output_text >= most if clock.usage is not None else clock.characters >= 2 * most

    @property
    def note(self) -> str:
        streams = self._endpoint.kind is EndpointKind.CHAT and self._endpoint.transport is Transport.SSE
        return HELD_BACK if streams and not getattr(self._model, "streams", True) else ""


@define
class _OfAnswerer:
    """Voice in, sound out, without a session."""

    _endpoint: Endpoint
    _question: Question
    _answerer: Answerer

    _is_ready: bool = False

    async def get_ready(self) -> None:
        if not self._is_ready:
            await _checked(self._answerer.check)
            self._is_ready = True

    async def ask(self, turn: int) -> Asked:
        self._answerer.forget()
        clock = _Clock(self._endpoint, Takes.VOICE, self._question)

        def take(event: AnswerEvent) -> None:
            match event:
                case Sound():
                    clock.came()
                    clock.spoken_bytes += len(event.pcm)
                case Words():
                    clock.characters += len(event.text)
                case Usage():
                    clock.usage = event
                case Heard():
                    pass

        utterance = _spoken(turn, self._question.pcm)
        clock.begin()
        finished = await self._answerer.answer(AnswererQuestion(turn, utterance, ()), take)
        return clock.asked(CUT if finished is Finished.CUT else "")

    @property
    def note(self) -> str:
        return ""


@define
class _OverRealtime:
    """Voice in while it is spoken, sound out; each question has a session of its own, so that all are alike."""

    _endpoint: Endpoint
    _question: Question
    _key: Callable[[], str]

    async def get_ready(self) -> None:
        """Nothing is kept: each question opens its session before its clock starts."""

    @property
    def note(self) -> str:
        return ""

    async def ask(self, turn: int) -> Asked:
        found: Asked | None = None
        try:
            door = await door_of(self._endpoint, self._key())
            async with dial(self._endpoint, door.headers, door.url) as socket:
                clock = _Clock(self._endpoint, Takes.VOICE, self._question)
                pending = PendingTurn(turn, Utterance(turn, len(self._question.pcm)))
                ended: list[AnswerEnded] = []

                def see(event: SessionEvent) -> None:
                    match event:
                        case SessionReady():
                            nursery.start_soon(self._say, pending, connection, clock)
                        case SessionError(code, message, fatal, setting_up) if fatal:
                            connection.fail(told_by_endpoint(code, door.hide(message), setting_up))
                        case AnswerAudio():
                            clock.came()
                            clock.spoken_bytes += len(event.pcm)
                        case Saying():
                            clock.characters += len(event.text)
                        case Usage():
                            clock.usage = event
                        case AnswerEnded():
                            ended.append(evolve(event, reason=door.hide(event.reason)))
                            connection.stop()

                async with trio.open_nursery() as nursery:
                    connection = Connection(socket, self._endpoint, self._question.conversation, lambda: pending, see)
                    failure = await connection.run()
                    nursery.cancel_scope.cancel()
                found = self._asked(clock, ended, failure)
        except DialError as error:
            if found is None:
                raise ModelError(error.failure) from None
        return found  # an untidy end says nothing of the answer

    def _asked(self, clock: _Clock, ended: list[AnswerEnded], failure: Failure | None) -> Asked:
        if not ended:
            raise ModelError(failure or Failure(Kind.LOST, "the connection was lost"))
        last = ended[0]
        if last.ending in (Ending.FAILED, Ending.CUT):
            if clock.first is None:
                raise ModelError(failure or Failure(Kind.ERROR, last.reason or "the answer failed"))
            return clock.asked(failure.message if failure else last.reason or CUT)
        return clock.asked()

    async def _say(self, pending: PendingTurn, connection: Connection, clock: _Clock) -> None:
        utterance = pending.utterance
        assert isinstance(utterance, Utterance)
        utterance.subscribe(connection.wake)
        pcm = self._question.pcm
        for start in range(0, len(pcm), BLOCK_BYTES):
            await trio.sleep(BLOCK_MS / 1000 / self._question.pace)
            utterance.append(pcm[start : start + BLOCK_BYTES])
        utterance.end()
        pending.asked_at = trio.current_time()
        clock.begin()
        connection.wake()


async def _checked(check: Callable[[], Awaitable[None]]) -> None:
    """What a plain request is told matters to the key check; here it has opened the connection, whatever it says."""
    try:
        await check()
    except ModelError as error:
        if error.failure.status is None or error.failure.kind is Kind.UPGRADE:
            raise


def _is_socket(endpoint: Endpoint) -> bool:
    return urlsplit(endpoint.url).scheme in ("ws", "wss")


def _spoken(turn: int, pcm: bytes) -> Utterance:
    found = Utterance(turn, len(pcm))
    found.append(pcm)
    found.end()
    return found
