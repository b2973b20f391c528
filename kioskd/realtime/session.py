"""The state machine of one Realtime connection. It owns every id of the wire, and the wire's races.

Sans-io: commands and `receive` queue texts to send (`take_outgoing`); `receive` and `ask` return what happened.
"""

from __future__ import annotations

from collections import deque

from attrs import astuple

from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Speaker, Transcript, Usage
from kioskd.realtime import codec, dialects, wire
from kioskd.realtime.answer import Answer
from kioskd.realtime.errors import Meaning, ending_of, line_of, may_concern, meaning_of, name_of
from kioskd.realtime.events import Awaiting, IllegalMove, Oddity, Phase, SessionError, SessionEvent, SessionReady
from kioskd.realtime.questions import Questions

COMMIT_BYTES_MIN = 100 * codec.BYTES_PER_MS  # the server refuses a commit of less
ENDED_IDS_KEPT = 32  # late events follow within a few responses


class Session:
    """One session on one connection. Not reusable."""

    def __init__(self, settings: Endpoint, conversation: Conversation) -> None:
        self._settings = settings
        self._conversation = conversation
        self._phase = Phase.GREETING
        self._outgoing: deque[str] = deque()  # bounded by its feeder, who takes what is there before it pushes again
        self._events: list[SessionEvent] = []
        self._buffered: tuple[int, int] | None = None  # turn and bytes in the server's input buffer
        self._questions = Questions()
        self._active: Answer | None = None
        self._queued: Answer | None = None  # waits for the active one's end
        self._finished: Answer | None = None  # whole on the wire, perhaps still playing
        self._ended_ids: deque[str] = deque(maxlen=ENDED_IDS_KEPT)
        self._foreign_ids: deque[str] = deque(maxlen=ENDED_IDS_KEPT)
        self._progress = 0
        self._used = False

    @property
    def phase(self) -> Phase:
        """How far the session is."""
        return self._phase

    @property
    def used(self) -> bool:
        """True once anything a visitor said has gone into it."""
        return self._used

    @property
    def has_outgoing(self) -> bool:
        """True while there are texts to send."""
        return bool(self._outgoing)

    @property
    def awaiting(self) -> tuple[Awaiting, int]:
        """What the server owes, and a number that changes with each step towards it."""
        answer = self._active
        if answer is None:
            return Awaiting.NOTHING, self._progress
        if not answer.wanted:
            return Awaiting.END, 0  # what still comes of it is no progress
        return (Awaiting.MORE_SOUND if answer.received else Awaiting.FIRST_SOUND), self._progress

    def take_outgoing(self) -> list[str]:
        """The texts to send now, in order."""
        texts = list(self._outgoing)
        self._outgoing.clear()
        return texts

    # Commands

    def push(self, turn: int, pcm: bytes) -> None:
        """Append a piece of a turn's question (whole samples). Raises IllegalMove before the session is ready."""
        if self._phase is not Phase.READY:
            raise IllegalMove(f"push while {self._phase.value}")
        if len(pcm) % 2:
            raise IllegalMove("push of half a sample")
        if self._buffered is not None and self._buffered[0] != turn:
            self.discard(self._buffered[0])
        if pcm:
            self._used = True
            self._buffered = (turn, (self._buffered[1] if self._buffered else 0) + len(pcm))
            self._outgoing.append(codec.append(pcm))

    def ask(self, turn: int) -> list[SessionEvent]:
        """Commit the turn's question and ask for its answer, at once or after the active response's end.

        Raises IllegalMove before the session is ready, or if the turn has been asked and its answer is still awaited.
        """
        if self._phase is not Phase.READY:
            raise IllegalMove(f"ask while {self._phase.value}")
        if any(answer is not None and answer.turn == turn for answer in (self._active, self._queued)):
            raise IllegalMove(f"turn {turn} was asked already")
        if self._buffered is None or self._buffered[0] != turn or self._buffered[1] < COMMIT_BYTES_MIN:
            self.discard(turn)
            return [AnswerEnded(turn, Ending.FAILED, "too little sound: under 100 ms were recorded")]
        self._buffered = None
        self._questions.commit(turn)
        self._outgoing.append(codec.commit(f"commit-{turn}"))
        if self._queued is not None:
            self._end(self._queued, Ending.FAILED, "another question took its place")
        self._queued = Answer(turn)
        self._start_queued()
        return self._take_events()

    def discard(self, turn: int) -> None:
        """Throw away what was pushed of this turn's question."""
        if self._buffered is not None and self._buffered[0] == turn:
            self._buffered = None
            self._outgoing.append(codec.clear())

    def cancel(self, turn: int) -> None:
        """Stop this turn's answer, or its question; nothing of it was heard."""
        self.discard(turn)
        self.interrupt(turn, 0)

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """Stop this turn's answer and leave the server with the `heard_ms` of it that were heard."""
        if self._queued is not None and self._queued.turn == turn:
            self._queued = None
        if self._active is not None and self._active.turn == turn and self._active.wanted:
            self._drop(self._active)
            self._outgoing.extend(self._active.settle(heard_ms))
        elif self._finished is not None and self._finished.turn == turn:
            self._outgoing.extend(self._finished.settle(heard_ms))
            self._finished = None

    def connection_lost(self, reason: str) -> list[SessionEvent]:
        """The connection is gone: an answer that had begun to sound is cut. The session is over."""
        if self._active is not None and self._active.received:
            self._end(self._active, Ending.CUT, reason)
        self._phase = Phase.OVER
        self._active = self._queued = self._finished = None
        self._outgoing.clear()
        return self._take_events()

    # What the server says

    def receive(self, text: str | bytes) -> list[SessionEvent]:
        """One message of the server -> what happened. Never raises, whatever the text."""
        if self._phase is not Phase.OVER:
            self._handle(codec.parse(text))
        return self._take_events()

    def _handle(self, event: wire.ServerEvent) -> None:
        match event:
            case wire.AudioDelta():
                self._on_audio(event)
            case wire.ResponseProgress():
                answer = self._answer_of(event.response_id)
                if answer is not None:
                    answer.add_item(event.item_id)
            case wire.SessionCreated() if self._phase is Phase.GREETING:
                self._phase = Phase.SETTING_UP
                self._outgoing.append(
                    codec.session_update(dialects.session_settings(self._settings, self._conversation))
                )
            case wire.SessionUpdated() if self._phase is Phase.SETTING_UP:
                self._phase = Phase.READY
                self._events.append(SessionReady())
            case wire.Committed():
                self._questions.on_committed(event.item_id)
            case wire.ItemAdded():
                self._questions.on_item(event)
            case wire.ResponseCreated():
                self._answer_of(event.response_id, event.turn)
            case wire.ResponseDone():
                self._on_done(event)
            case wire.AnswerTranscript():
                self._on_answer_transcript(event)
            case wire.QuestionTranscript():
                turn = self._questions.on_transcript(event)
                if turn is not None:
                    self._events.append(Transcript(turn, Speaker.VISITOR, event.text))
            case wire.ServerError():
                self._on_error(event)
            case wire.Malformed(reason):
                self._events.append(Oddity(reason))

    def _on_audio(self, event: wire.AudioDelta) -> None:
        answer = self._answer_of(event.response_id)
        if answer is None:
            return
        if not answer.wanted or answer.turn is None:
            answer.add_item(event.item_id)
            return
        pcm = answer.take(event)
        if pcm:
            self._events.append(AnswerAudio(answer.turn, pcm, len(pcm) / codec.BYTES_PER_MS))

    def _on_done(self, event: wire.ResponseDone) -> None:
        if event.response_id is not None and event.response_id in self._foreign_ids:
            self._foreign_ids.remove(event.response_id)
            self._ended_ids.append(event.response_id)
            if self._active is not None and self._active.turn is None and self._active.response_id is None:
                self._finish_active()  # it was the one in our way
            return
        if event.response_id is not None and self._active is None:
            self._ended_ids.append(event.response_id)
        answer = self._answer_of(event.response_id, event.turn) if self._active is not None else None
        if answer is None:
            return
        if answer.turn is not None and event.tokens is not None:
            self._events.append(Usage(answer.turn, *astuple(event.tokens)))
        self._end(answer, *ending_of(event, sounded=answer.received > 0))
        self._finish_active()
        if event.error is not None and meaning_of(event.error) is Meaning.FATAL:
            self._phase = Phase.OVER
            self._events.append(SessionError(name_of(event.error), line_of(event.error), fatal=True))

    def _on_answer_transcript(self, event: wire.AnswerTranscript) -> None:
        answer = self._finished  # it can come after its response's end
        if answer is None or event.response_id is None or answer.response_id != event.response_id:
            answer = self._answer_of(event.response_id)
        if answer is None or answer.turn is None or not answer.wanted or event.item_id in answer.transcribed:
            return
        answer.transcribed.add(event.item_id)
        if event.text:
            self._events.append(Transcript(answer.turn, Speaker.KIOSK, event.text))

    def _on_error(self, error: wire.ServerError) -> None:
        meaning, answer = meaning_of(error), self._active
        if meaning is Meaning.STALE:
            return
        if self._phase is not Phase.READY or meaning is Meaning.FATAL:
            setting_up = self._phase is Phase.SETTING_UP
            self._phase = Phase.OVER
            self._events.append(SessionError(name_of(error), line_of(error), fatal=True, setting_up=setting_up))
        elif meaning is Meaning.NOT_ACTIVE:
            if answer is not None and answer.turn is None and answer.response_id is None:
                self._finish_active()  # what was in our way has ended meanwhile
        elif meaning is Meaning.COMMIT_EMPTY:
            self._fail_question(error)
        elif meaning is Meaning.ALREADY_ACTIVE:
            self._on_create_refused(error)
        elif answer is not None and not answer.begun and answer.turn is not None and may_concern(error, answer.turn):
            self._end(answer, Ending.FAILED, line_of(error))
            self._finish_active()
        else:
            self._events.append(SessionError(name_of(error), line_of(error), fatal=False))

    def _fail_question(self, error: wire.ServerError) -> None:
        """The commit was refused, but the create that followed it wasn't: its answer is to nothing."""
        turn = self._questions.on_refused()
        if turn is None:
            return
        for answer in (self._active, self._queued):
            if answer is not None and answer.turn == turn:
                self._end(answer, Ending.FAILED, line_of(error))
                self.interrupt(turn, 0)

    def _on_create_refused(self, error: wire.ServerError) -> None:
        """A response that we know nothing of is active: stop it, and ask once more when it has ended."""
        refused = self._active
        if refused is None or refused.begun or refused.turn is None:
            return
        self._active = None
        if refused.retried:
            self._end(refused, Ending.FAILED, line_of(error))
            self._start_queued()
            return
        if self._queued is not None:
            self._end(refused, Ending.FAILED, "another question took its place")
        elif refused.wanted:
            refused.retried = True
            self._queued = refused
        self._active = Answer(turn=None, begun=True)
        self._drop(self._active)

    # The races

    def _answer_of(self, response_id: str | None, turn: str | None = None) -> Answer | None:
        """The answer that an event belongs to; the first event of a response opens it, `response.created` or not."""
        answer = self._active
        if response_id is not None and (response_id in self._ended_ids or response_id in self._foreign_ids):
            return None
        ours = answer is not None and (turn is None or answer.turn is None or turn == str(answer.turn))
        if answer is not None and ours and (response_id is None or answer.response_id in (None, response_id)):
            answer.response_id = answer.response_id or response_id
            answer.begun = True
            self._progress += 1
            if not answer.wanted:
                self._drop(answer)
            return answer
        if response_id is not None:
            self._reject(response_id)
        return None

    def _reject(self, response_id: str) -> None:
        """A response that nobody asked for: the server takes turns by itself."""
        if self._active is None:
            self._active = Answer(turn=None, response_id=response_id, begun=True)
            self._drop(self._active)
        else:
            self._foreign_ids.append(response_id)
            self._outgoing.append(codec.cancel_response(response_id))
        self._events.append(Oddity("the server answered without being asked; does it ignore turn_detection: null?"))

    def _drop(self, answer: Answer) -> None:
        """Nobody wants it. A cancel before its begin would do nothing: then it is sent at the begin."""
        answer.wanted = False
        if answer.begun and not answer.cancel_sent:
            answer.cancel_sent = True
            self._outgoing.append(codec.cancel_response(answer.response_id))

    def _end(self, answer: Answer, ending: Ending, reason: str) -> None:
        if answer.wanted and answer.turn is not None:
            self._events.append(AnswerEnded(answer.turn, ending, reason))

    def _finish_active(self) -> None:
        answer, self._active = self._active, None
        if answer is not None:
            if answer.response_id is not None:
                self._ended_ids.append(answer.response_id)
            answer.complete = True
            if answer.wanted:
                self._finished = answer
            else:  # items that came after the cancel: nobody heard them
                self._outgoing.extend(answer.settle(0))
        self._start_queued()

    def _start_queued(self) -> None:
        if self._active is None and self._queued is not None:
            answer, self._queued = self._queued, None
            self._active = answer
            if answer.turn is not None:
                self._outgoing.append(codec.create_response(answer.turn, f"create-{answer.turn}"))

    def _take_events(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events
