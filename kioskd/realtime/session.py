"""The state machine of one Realtime connection. It owns every id of the wire, and the wire's races.

Sans-io: commands and `receive` queue texts to send (`take_outgoing`); `receive` and `ask` return what happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue.events import AnswerEnded, Ending, Speaker, Transcript
from kioskd.realtime import codec, dialects, replay, wire
from kioskd.realtime.answers import Answers
from kioskd.realtime.errors import Meaning, create_of, line_of, may_concern, meaning_of, name_of
from kioskd.realtime.events import (
    Awaiting,
    ChangeRefused,
    IllegalMove,
    Oddity,
    Phase,
    SessionError,
    SessionEvent,
    SessionReady,
)
from kioskd.realtime.questions import Questions
from kioskd.realtime.repeats import Repeats

CHANGE_ID = "settings"
COMMIT_BYTES_MIN = 100 * codec.BYTES_PER_MS  # the server refuses a commit of less


class Session:
    """One session on one connection. Not reusable. `history` is asked once for what it is to begin with.

    `offers` tells the tools that there are, at the beginning and whenever settings change.
    """

    def __init__(
        self,
        settings: Endpoint,
        conversation: Conversation,
        history: Callable[[], Sequence[replay.Said]] = lambda: (),
        offers: Callable[[], Sequence[dialects.Offer]] = lambda: (),
    ) -> None:
        self._settings = settings
        self._conversation = conversation
        self._history = history
        self._offers = offers
        self._offered: Sequence[dialects.Offer] = ()  # to the server
        self._phase = Phase.GREETING
        self._outgoing: deque[str] = deque()  # bounded by its feeder, who takes what is there before it pushes again
        self._events: list[SessionEvent] = []
        self._buffered: tuple[int, int] | None = None  # turn and bytes in the server's input buffer
        self._questions = Questions()
        self._repeats = Repeats()
        self._answers = Answers(self._outgoing, self._events)
        self._used = False
        self._changes: list[str] = []  # wait until nobody speaks and nothing is awaited
        self._unconfirmed = 0  # changes that the server has said nothing to

    @property
    def phase(self) -> Phase:
        """How far the session is."""
        return self._phase

    @property
    def used(self) -> bool:
        """True once anything a visitor said has gone into it, now or in a session before."""
        return self._used

    @property
    def has_outgoing(self) -> bool:
        """True while there are texts to send."""
        return bool(self._outgoing)

    @property
    def awaiting(self) -> tuple[Awaiting, int]:
        """What the server owes, and a number that changes with each step towards it."""
        return self._answers.awaiting

    def take_outgoing(self) -> list[str]:
        """The texts to send now, in order."""
        texts = list(self._outgoing)
        self._outgoing.clear()
        return texts

    # Commands

    def adjust(self, settings: Endpoint, conversation: Conversation) -> bool:
        """Live by these settings from the next question on. False, and nothing happens, where this session can't.

        A voice that may have been heard is fixed; what is set can't be taken back.
        """
        if self._phase in (Phase.GREETING, Phase.OVER):
            self._settings, self._conversation = settings, conversation
            return True
        offers = self._offers()
        change = dialects.session_change(
            settings.dialect,
            dialects.session_settings(self._settings, self._conversation, self._offered),
            dialects.session_settings(settings, conversation, offers),
        )
        if change is None or (self._used and settings.voice != self._settings.voice):
            return False
        self._settings, self._conversation, self._offered = settings, conversation, offers
        if change:
            self._changes.append(codec.session_update(change, CHANGE_ID))
            self._send_changes()
        return True

    def _send_changes(self) -> None:
        if self._phase is Phase.READY and self._buffered is None and self._answers.awaiting[0] is Awaiting.NOTHING:
            self._unconfirmed += len(self._changes)
            self._outgoing.extend(self._changes)
            self._changes.clear()

    def assume_ready(self) -> list[SessionEvent]:
        """Some gateways never acknowledge `session.update`, and converse all the same."""
        if self._phase is Phase.SETTING_UP:
            self._events.append(Oddity("session.update was never acknowledged; going on as if it had been"))
            self._get_ready()
        return self._take_events()

    def _get_ready(self) -> None:
        self._phase = Phase.READY
        for number, said in enumerate(self._history(), start=1):
            self._used = True
            self._outgoing.append(replay.item(said, number, self._settings.dialect))
        self._events.append(SessionReady())

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
        if self._answers.awaits(turn):
            raise IllegalMove(f"turn {turn} was asked already")
        if self._buffered is None or self._buffered[0] != turn or self._buffered[1] < COMMIT_BYTES_MIN:
            self.discard(turn)
            return [AnswerEnded(turn, Ending.FAILED, "too little sound: under 100 ms were recorded")]
        self._buffered = None
        self._questions.commit(turn)
        self._outgoing.append(codec.commit(f"commit-{turn}"))
        self._answers.request(turn)
        return self._take_events()

    def ask_to_continue(self, turn: int) -> list[SessionEvent]:
        """Ask for the rest of the answer before, which was cut. Raises IllegalMove before the session is ready."""
        if self._phase is not Phase.READY:
            raise IllegalMove(f"ask_to_continue while {self._phase.value}")
        self._used = True
        self._outgoing.append(replay.item(replay.Said(Speaker.VISITOR, replay.CONTINUE), 0, self._settings.dialect))
        self._answers.request(turn)
        return self._take_events()

    def discard(self, turn: int) -> None:
        """Throw away what was pushed of this turn's question."""
        if self._buffered is not None and self._buffered[0] == turn:
            self._buffered = None
            self._outgoing.append(codec.clear())
            self._send_changes()

    def cancel(self, turn: int) -> None:
        """Stop this turn's answer, or its question; nothing of it was heard."""
        self.discard(turn)
        self.interrupt(turn, 0)

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """Stop this turn's answer and leave the server with the `heard_ms` of it that were heard."""
        self._answers.interrupt(turn, heard_ms)

    def take_result(self, turn: int, call_id: str, output: str) -> list[SessionEvent]:
        """What the tool of a `ToolWanted` returned, as JSON. One that nobody wants any more does nothing."""
        if self._phase is Phase.READY:
            self._answers.take_result(turn, call_id, output)
        return self._take_events()

    def connection_lost(self, reason: str) -> list[SessionEvent]:
        """The connection is gone: an answer that had begun to sound is cut. The session is over."""
        self._answers.connection_lost(reason)
        self._phase = Phase.OVER
        self._outgoing.clear()
        return self._take_events()

    # What the server says

    def receive(self, text: str | bytes) -> list[SessionEvent]:
        """One message of the server -> what happened. Never raises, whatever the text."""
        if self._phase is not Phase.OVER:
            event, event_id = codec.parse_with_id(text)
            if not self._repeats.is_repeat(event_id, text):
                self._handle(event)
            if self._changes:
                self._send_changes()
        return self._take_events()

    def _handle(self, event: wire.ServerEvent) -> None:
        match event:
            case wire.AudioDelta():
                self._answers.on_audio(event)
            case wire.ResponseProgress():
                self._answers.on_progress(event)
            case wire.SessionCreated() if self._phase is Phase.GREETING:
                self._phase, self._offered = Phase.SETTING_UP, self._offers()
                self._outgoing.append(
                    codec.session_update(dialects.session_settings(self._settings, self._conversation, self._offered))
                )
            case wire.SessionUpdated() if self._phase is Phase.SETTING_UP:
                self._get_ready()
            case wire.SessionUpdated():
                self._unconfirmed = max(0, self._unconfirmed - 1)
            case wire.Committed():
                self._questions.on_committed(event.item_id)
            case wire.ItemAdded():
                self._questions.on_item(event)
            case wire.ResponseCreated():
                self._answers.on_created(event)
            case wire.ResponseDone():
                self._on_done(event)
            case wire.FunctionCall():
                self._answers.on_call(event)
            case wire.AnswerText():
                self._answers.on_text(event)
            case wire.AnswerTranscript():
                self._answers.on_transcript(event)
            case wire.QuestionTranscript():
                turn = self._questions.on_transcript(event)
                if turn is not None:
                    self._events.append(Transcript(turn, Speaker.VISITOR, event.text))
            case wire.ServerError():
                self._on_error(event)
            case wire.Malformed(reason):
                self._events.append(Oddity(reason))

    def _on_done(self, event: wire.ResponseDone) -> None:
        ours = self._answers.on_done(event)
        if ours and event.error is not None and meaning_of(event.error) is Meaning.FATAL:
            self._phase = Phase.OVER
            self._events.append(SessionError(name_of(event.error), line_of(event.error), fatal=True))

    def _on_error(self, error: wire.ServerError) -> None:
        meaning, unbegun = meaning_of(error), self._answers.unbegun
        if meaning is Meaning.STALE:
            return
        if self._phase is not Phase.READY or meaning is Meaning.FATAL:
            setting_up = self._phase is Phase.SETTING_UP
            self._phase = Phase.OVER
            self._events.append(SessionError(name_of(error), line_of(error), fatal=True, setting_up=setting_up))
        elif self._unconfirmed and error.event_id in ((CHANGE_ID, None) if unbegun is None else (CHANGE_ID,)):
            self._unconfirmed -= 1
            self._events.append(ChangeRefused(line_of(error)))
        elif meaning is Meaning.NOT_ACTIVE:
            self._answers.unblock()
        elif meaning is Meaning.COMMIT_EMPTY:
            turn = self._questions.on_refused()
            if turn is not None:
                self._answers.fail(turn, line_of(error))
        elif meaning is Meaning.ALREADY_ACTIVE:
            self._answers.create_refused(create_of(error), line_of(error))
        elif unbegun is not None and may_concern(error, unbegun):
            self._answers.fail_unbegun(line_of(error))
        else:
            self._events.append(SessionError(name_of(error), line_of(error), fatal=False))

    def _take_events(self) -> list[SessionEvent]:
        events = self._events[:]
        self._events.clear()
        return events
