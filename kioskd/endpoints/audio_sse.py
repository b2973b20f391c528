"""Sound in and sound out over plain HTTPS: chat completions that are spoken, where no WebSocket gets through.

A proxy that collects the stream makes the answer late, and no other: nothing would be quicker in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import trio

from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue.events import Usage
from kioskd.endpoints import audio_chunks
from kioskd.endpoints.answering import Finished, Question, Sound, Take, Words
from kioskd.endpoints.audio_chunks import Remembered, SpokenAnswer, Transcribed
from kioskd.endpoints.failures import refuses_field, told_in_answer
from kioskd.endpoints.http_stream import EVENT_STREAM, Answer, open_stream, request_for
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.port import Utterance
from kioskd.endpoints.text.chat_chunks import AnswerError
from kioskd.endpoints.text.chat_stream import read_chunks
from kioskd.endpoints.text.checking import KeyCheck
from kioskd.endpoints.text.model import Finish, Message, ModelError, Role, TextEvent
from kioskd.endpoints.text.shops import with_hint
from kioskd.endpoints.toolbox import ROUNDS_MAX, Toolbox, ToolCall, ToolOffer, results_of, summed
from kioskd.endpoints.voice.helper import HelperOverHttp

_LOST = (Kind.LOST, Kind.SILENCE)
_GONE = frozenset({400, 404})  # for an answer that is named by its sound and no longer kept


class AudioSse:
    """An Answerer. `conversation` may be replaced at any time; the next answer goes by it."""

    def __init__(
        self,
        settings: Endpoint,
        read_key: Callable[[], str],
        conversation: Conversation,
        toolbox: Toolbox | None = None,
    ) -> None:
        self.conversation = conversation
        self._settings = settings
        self._toolbox = toolbox
        self._http = HelperOverHttp(settings, read_key)
        self._check = KeyCheck(settings)
        self._kept = Remembered()
        self._counts = True  # the stream may be asked for its tokens

    @property
    def credits(self) -> float | None:
        """See `text.checking`."""
        return self._check.credits

    async def run(self) -> None:
        """See Answerer."""
        await self._http.run()

    async def check(self) -> None:
        """See Answerer."""
        await self._check.run(self._http.client, self._http.key())

    def prepare(self, utterance: Utterance) -> None:
        """See Answerer. Nothing is sent ahead: the question is one whole file."""

    def forget(self) -> None:
        """See Answerer."""
        self._kept.forget()

    async def answer(self, question: Question, take: Take) -> Finished:
        """See Answerer. Nobody writes down what the visitor said: the history keeps its sound."""
        pcm = None if question.sound is None else question.sound.since(0)
        conversation = audio_chunks.messages(question.said, pcm, self._kept, trio.current_time())
        turn = _Turn(question.turn, take)
        key = self._http.key()
        try:
            try:
                return await self._rounds(turn, conversation, key)
            except ModelError as error:
                named = audio_chunks.names_sound(conversation)
                if turn.sounded or not named or error.failure.status not in _GONE:
                    raise
                self._kept.forget()
            conversation = audio_chunks.messages(question.said, pcm, self._kept, trio.current_time())
            return await self._rounds(turn, conversation, key)
        except ModelError as error:
            host = urlsplit(self._settings.url).hostname or ""
            raise ModelError(with_hint(error.failure, host, key)) from None
        finally:
            if turn.usage is not None:
                take(turn.usage)

    async def _rounds(self, turn: _Turn, conversation: list[dict[str, Any]], key: str) -> Finished:
        tools = tuple(self._toolbox.offers) if self._toolbox is not None else ()
        for _ in range(ROUNDS_MAX + 1):
            began = trio.current_time()
            found = SpokenAnswer(turn.number)
            turn.calls = []
            try:
                await self._ask(turn, found, conversation, tools, key)
            except ModelError as error:
                if error.failure.kind not in _LOST or not turn.sounded:
                    raise
            events, finish = found.end()
            turn.take_events(events)
            if finish is Finish.WHOLE:
                self._kept.note(found, began)
            if finish is not Finish.TOOL_CALLS:
                return self._end(turn, found, finish)
            if self._toolbox is None:
                break
            calls = tuple(turn.calls)
            told = [Message(Role.KIOSK, found.transcript, calls=calls)]
            results = await results_of(self._toolbox, turn.number, calls)
            told += [Message(Role.VISITOR, r, answers_call=c.call_id) for c, r in zip(calls, results, strict=True)]
            conversation = [*conversation, *audio_chunks.tool_messages(told)]
        return Finished.TRUNCATED

    def _end(self, turn: _Turn, found: SpokenAnswer, finish: Finish) -> Finished:
        if finish is Finish.WHOLE:
            if found.spoke and not turn.sounded:
                message = f"{self._settings.name}: answers in words only; is the model one that speaks?"
                raise ModelError(Failure(Kind.SETTINGS, message))
            return Finished.COMPLETE
        if not turn.sounded and not found.finished:
            raise ModelError(Failure(Kind.LOST, f"{self._settings.name}: its answer ended before it was heard"))
        return Finished.TRUNCATED if found.finished else Finished.CUT

    async def _ask(
        self,
        turn: _Turn,
        found: SpokenAnswer,
        conversation: Sequence[dict[str, Any]],
        tools: Sequence[ToolOffer],
        key: str,
    ) -> None:
        try:
            await self._ask_once(turn, found, conversation, tools, key)
        except ModelError as error:
            if not (self._counts and refuses_field(error.failure, "stream_options")):
                raise
            self._counts = False
            await self._ask_once(turn, found, conversation, tools, key)

    async def _ask_once(
        self,
        turn: _Turn,
        found: SpokenAnswer,
        conversation: Sequence[dict[str, Any]],
        tools: Sequence[ToolOffer],
        key: str,
    ) -> None:
        """One request; what comes of it goes on at once."""
        body = audio_chunks.body(
            self._settings, self.conversation.instructions, conversation, tools, count=self._counts
        )
        request = request_for(
            self._http.client, self._settings, key, self._settings.url, accept=EVENT_STREAM, json=body
        )
        async with open_stream(self._http.client, self._settings, request) as answer:
            if answer.content_type.endswith("json"):  # it has never heard of streams, but this is the answer
                text = (await answer.body()).decode("utf-8", "replace")
                turn.take_all(found, _told(answer, found.whole, text))
                return
            await read_chunks(answer, found, lambda data: turn.take_all(found, _told(answer, found.feed, data)))


def _told(answer: Answer, read: Callable[[str], list[TextEvent]], data: str) -> list[TextEvent]:
    try:
        return read(data)
    except AnswerError as error:
        raise ModelError(told_in_answer(answer.host, error.told, answer.sent)) from None


class _Turn:
    """What has come of one answer, in all its rounds."""

    def __init__(self, number: int, take: Take) -> None:
        self.number = number
        self.sounded = False
        self.calls: list[ToolCall] = []
        self.usage: Usage | None = None
        self._take = take

    def take_all(self, found: SpokenAnswer, events: Sequence[TextEvent]) -> None:
        self.take_events(events)
        for piece in found.heard():
            if isinstance(piece, Transcribed):
                self._take(Words(piece.text))
            else:
                self.sounded = True
                self._take(Sound(piece.pcm))

    def take_events(self, events: Sequence[TextEvent]) -> None:
        """Words that aren't spoken are for nobody."""
        for event in events:
            if isinstance(event, ToolCall):
                self.calls.append(event)
            elif isinstance(event, Usage):
                self.usage = summed(self.usage, event)
