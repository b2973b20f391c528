"""An endpoint behind the Realtime wire: it connects, stays connected, and keeps the unanswered turn."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable

import trio
from attrs import evolve

from kioskd.config.schema import Conversation, Endpoint
from kioskd.config.secrets import mask_keys
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Transcript
from kioskd.endpoints import dial as dialling
from kioskd.endpoints import way_in
from kioskd.endpoints.alarm import Alarm
from kioskd.endpoints.connection import DEADLINE_GRACE_S, Connection
from kioskd.endpoints.history import History
from kioskd.endpoints.line import Dial, Line
from kioskd.endpoints.loud import LoudOnce
from kioskd.endpoints.pending import PendingTurn, RequestWindow
from kioskd.endpoints.play_out import PlayOut
from kioskd.endpoints.policy import LIMIT_CODES, TROUBLE_CODES, Failure, Kind
from kioskd.endpoints.port import EndpointEvent, LinkStatus, Report, Utterance
from kioskd.endpoints.recovery import Recovery
from kioskd.endpoints.renewal import Renewal
from kioskd.endpoints.toolbox import Toolbox
from kioskd.endpoints.websocket import WebSocket
from kioskd.pulse import Pulse
from kioskd.realtime.events import (
    Awaiting,
    ChangeRefused,
    Oddity,
    Saying,
    SessionError,
    SessionEvent,
    SessionReady,
    ToolWanted,
)
from kioskd.realtime.replay import CONTINUE, Said

log = logging.getLogger(__name__)


class RealtimeEndpoint:
    """The port over a WebSocket. `read_key` is called at each attempt and may raise OSError, ValueError.

    `history` can be shared by endpoints that take turns in one conversation.
    """

    def __init__(
        self,
        settings: Endpoint,
        conversation: Conversation,
        read_key: Callable[[], str],
        *,
        history: History | None = None,
        open_door: Callable[[Endpoint, str], Awaitable[way_in.Door]] = way_in.open_door,
        dial: Dial = dialling.dial,
        jitter: Callable[[], float] = random.random,
        toolbox: Toolbox | None = None,
    ) -> None:
        self._toolbox = toolbox
        self._settings = settings
        self._conversation = conversation
        self._read_key = read_key
        self._history = history or History(conversation)
        self._open_door = open_door
        self._dial = dial
        self._report: Report = _report_to_nobody
        self._nursery: trio.Nursery | None = None
        self._pending: PendingTurn | None = None
        self._play_out = PlayOut()
        self._requests = RequestWindow(settings.requests_per_minute)
        self._turn_alarm = Alarm(self._give_up_turn)
        self._line: Line | None = None  # the one that serves, or tries to
        self._lines: list[Line] = []  # it, a successor that gets ready, and predecessors that say goodbye
        self._renewal = Renewal(self, settings.session_limit_s, settings.name)
        self._recovery = Recovery(
            settings.name,
            lambda change: self._report(change),
            self._has_new_key,
            lambda: self._pending is not None,
            jitter,
        )
        self._key: str | None = None
        self._oddities = LoudOnce(log)

    # The port

    async def run(self, report: Report) -> None:
        """Stay connected until cancelled, then close politely."""
        self._report = report
        self._recovery.begin()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._turn_alarm.run)
                while True:
                    await self._connect_and_serve()
        finally:
            self._report, self._nursery, self._line = _report_to_nobody, None, None

    def begin(self, utterance: Utterance) -> None:
        """See port."""
        if self._pending is not None:
            self._drop_turn(self._pending.turn)
        self._pending = PendingTurn(utterance.turn, utterance)
        utterance.subscribe(self._wake)
        self._recovery.hurry()
        self._wake()

    def ask(self, turn: int) -> None:
        """See port. Over `requests_per_minute` the answer fails at once."""
        pending = self._pending
        if pending is None or pending.turn != turn or pending.asked_at is not None:
            return
        self._history.asked(turn, sound=pending.utterance)
        self._ask_within_limits(pending)

    def continue_answer(self, turn: int) -> None:
        """See port."""
        if self._pending is not None:
            self._drop_turn(self._pending.turn)
        self._pending = PendingTurn(turn)
        self._history.asked(turn, CONTINUE)
        self._ask_within_limits(self._pending)

    def discard(self, turn: int) -> None:
        """See port."""
        self._drop_turn(turn)

    def cancel(self, turn: int) -> None:
        """See port."""
        self._drop_turn(turn)

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """See port."""
        self._play_out.stopped()
        self._history.interrupted(turn, heard_ms)
        for connection in self._connections():
            connection.session.interrupt(turn, heard_ms)
        self._drop_pending(turn)
        self._wake()

    def forget(self) -> None:
        """See port. The one place where a conversation ends: its session goes, and with it all that was said."""
        self._pending = None
        self._turn_alarm.clear()
        self._history.forget()
        for line in list(self._lines):
            if line.connection is not None and line.connection.session.used:
                line.stop()

    def network_changed(self) -> None:
        """See port."""
        for connection in self._connections():
            connection.check_alive()
        line = self._line
        if line is not None and line.connection is None and self._recovery.is_late:
            line.stop()  # it dials into a network that is no more
        self._recovery.network_changed()

    def catch_up(self) -> bool:
        """See port."""
        line = self._line
        if line is None or not line.usable or self.is_fresh(line):
            return True
        line.stop()
        return False

    @property
    def status(self) -> LinkStatus:
        """See port."""
        return self._recovery.status

    @property
    def pulse(self) -> Pulse:
        """See `kioskd.pulse`."""
        line = self._line
        if line is None:
            return self._recovery.pulse()
        return self._recovery.pulse(line.closing_at if line.connection is None else line.connection.heard_at)

    def adjust(self, settings: Endpoint, conversation: Conversation) -> None:
        """Live by these settings, which lead to the same door. What a session can't take over waits for a new one,

        which begins once nobody talks, and knows what was said.
        """
        self._settings, self._conversation = settings, conversation
        self._requests.resize(settings.requests_per_minute)
        for line in self._lines:
            if line.connection is not None and not line.connection.adjust(settings, conversation):
                line.outdated.set()

    def renew(self) -> None:
        """Its key was replaced: a new session as soon as nobody talks, or at once where there is none."""
        for line in self._lines:
            line.outdated.set()
        self._recovery.hurry()

    def reopen(self) -> None:
        """Give up every connection, and whatever is being tried; begin anew."""
        for line in list(self._lines):
            line.stop()

    # The turn

    def _connections(self) -> list[Connection]:
        return [line.connection for line in self._lines if line.connection is not None]

    def _wake(self) -> None:
        if self._line is not None and self._line.connection is not None:
            self._line.connection.wake()

    def _ask_within_limits(self, pending: PendingTurn) -> None:
        now = trio.current_time()
        if not self._requests.admit(now):
            limit = self._settings.requests_per_minute
            self._fail_turn(f"more than {limit} questions in a minute (requests_per_minute of {self._settings.name})")
            return
        pending.asked_at = now
        self._turn_alarm.set(now + self._conversation.answer_timeout_s + DEADLINE_GRACE_S)
        self._wake()

    def _drop_turn(self, turn: int) -> None:
        """Nothing more of this turn is sent, kept, or reported."""
        for connection in self._connections():
            connection.session.cancel(turn)
        self._history.dropped(turn)
        self._drop_pending(turn)
        self._wake()

    def _drop_pending(self, turn: int) -> None:
        if self._pending is not None and self._pending.turn == turn:
            self._pending = None
            self._turn_alarm.clear()

    def _fail_turn(self, reason: str) -> None:
        if self._pending is not None:
            turn = self._pending.turn
            self._drop_turn(turn)
            self._report(AnswerEnded(turn, Ending.FAILED, reason))

    def _give_up_turn(self) -> None:
        """No sound came in time, over whatever connections: the last of them is not to be trusted."""
        reason = f"no answer within {self._conversation.answer_timeout_s:g} s (answer_timeout_s)"
        self._fail_turn(reason)
        if self._line is not None and self._line.connection is not None:
            self._line.connection.fail(Failure(Kind.SILENCE, reason))

    # The lines

    def _open_line(self) -> Line:
        assert self._nursery is not None
        line = Line(self._settings, self._take_key, self._open_door, self._dial, self._connection_on)
        self._lines.append(line)
        self._nursery.start_soon(self._run_line, line)
        return line

    async def _run_line(self, line: Line) -> None:
        try:
            await line.run()
        finally:
            self._lines.remove(line)

    def _take_key(self) -> str:
        self._key = self._read_key()
        return self._key

    def _connection_on(self, line: Line, socket: WebSocket) -> Connection:
        def history() -> list[Said]:
            line.revision = self._history.revision
            lost, said = self._history.lost_questions, self._history.replay()
            if self._history.lost_questions > lost:
                name = self._settings.name
                self._oddities.tell("replay", f"{name}: a question without a transcript is missing in the new session")
            return said

        return Connection(
            socket,
            self._settings,
            self._conversation,
            lambda: self._pending if line is self._line else None,
            lambda event: self._take_event(line, event),
            history,
            self._toolbox,
        )

    def _take_event(self, line: Line, event: SessionEvent) -> None:
        match event:
            case SessionReady():
                line.be_ready()
                if line is self._line:
                    self._begin_service(line)
            case SessionError(code, message, fatal):
                if fatal and line.connection is not None:
                    rejected = event.setting_up and code not in (*LIMIT_CODES, *TROUBLE_CODES)
                    line.connection.fail(Failure(Kind.SETTINGS if rejected else Kind.ERROR, message, code=code))
                else:
                    self._oddities.tell(code, f"{self._settings.name}: {self._clean(line, message)}")
            case ChangeRefused(message):
                log.warning("%s: a new session follows, since this one says %s", self._settings.name, message)
                line.outdated.set()
            case Oddity(reason):
                self._oddities.tell(reason, f"{self._settings.name}: ignored from the endpoint: {reason}")
            case ToolWanted():
                pass  # the connection calls it
            case Saying(turn, text):
                self._history.saying(turn, text)
            case AnswerAudio(turn, _, duration_ms):
                self._recovery.proved_useful()
                self._history.sounded(turn, duration_ms)
                self._play_out.sounded(duration_ms, trio.current_time())
                self._drop_pending(turn)
                self._report(event)
            case AnswerEnded(turn):
                self._drop_pending(turn)
                self._report(evolve(event, reason=self._clean(line, event.reason)))
            case Transcript(turn, speaker, text):
                self._history.said(turn, speaker, text)
                self._report(event)
            case _:
                self._report(event)

    # Renewal: see `renewal.Renewable`

    @property
    def idle(self) -> bool:
        """Nobody speaks, and nobody waits."""
        return self._is_idle()

    def _is_idle(self) -> bool:
        calling = any(each.session.awaiting[0] is Awaiting.TOOLS for each in self._connections())
        return self._pending is None and not calling and self._play_out.over(trio.current_time())

    def is_current(self, line: Line) -> bool:
        """Whether this line serves."""
        return line is self._line

    def is_fresh(self, line: Line) -> bool:
        """Whether this line's session knows all that was said."""
        return line.revision == self._history.revision

    def open_successor(self) -> Line:
        """A line beside the one that serves."""
        return self._open_line()

    def put_in_service(self, line: Line) -> None:
        """The change from one session to the next, in one step: a press comes before it or after it."""
        predecessor, self._line = self._line, line
        self._begin_service(line)
        if predecessor is not None:
            predecessor.stop()
        self._wake()

    def _begin_service(self, line: Line) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._renewal.watch, line)
        self._recovery.connected()

    # The link

    async def _connect_and_serve(self) -> None:
        """One line from its first attempt to its end, and the wait that it earned."""
        line = self._line
        if line is None:
            self._recovery.attempting()
            line = self._line = self._open_line()
        await line.ended.wait()
        if line is not self._line:
            return  # its successor serves
        self._line = None
        if line.failure is not None:
            failure = evolve(line.failure, message=self._clean(line, line.failure.message))
            steady_s = 0.0 if line.ready_at is None else trio.current_time() - line.ready_at
            await self._recovery.recover(failure, steady_s, self._fail_asked)

    def _fail_asked(self, reason: str) -> None:
        """Nobody is kept waiting for an answer that only the owner can bring about."""
        if self._pending is not None and self._pending.asked_at is not None:
            self._fail_turn(reason)

    def _has_new_key(self) -> bool:
        try:
            return self._read_key() != self._key
        except (OSError, ValueError):
            return False

    def _clean(self, line: Line, text: str) -> str:
        """One line without the key: some relays repeat it in their errors."""
        clean = "".join(character if character.isprintable() else " " for character in text)
        if self._key:
            clean = clean.replace(self._key, "***")
        return line.door.hide(clean) if line.door is not None else mask_keys(clean)


def _report_to_nobody(event: EndpointEvent) -> None:
    log.debug("nobody hears %s", type(event).__name__)
