"""The glue of `endpoints.realtime` and `endpoints.connection`, without trio: what is kept, what is sent, and when.

Times are ms of the model's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from attrs import define, field
from server_model import ModelServer

from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged, Transcript
from kioskd.endpoints.history import History
from kioskd.endpoints.pending import PendingTurn
from kioskd.endpoints.policy import Failure, Kind, OwnerMustAct, Renew, judge
from kioskd.endpoints.port import EndpointEvent, Utterance
from kioskd.realtime.events import Awaiting, Phase, Saying, SessionError, SessionEvent, SessionReady
from kioskd.realtime.replay import CONTINUE, Said
from kioskd.realtime.session import Session

CANCEL_TIMEOUT_MS = 10_000
GRACE_MS = 2000
PLAY_OUT_MS = 2000
RECENT = 6  # what came last from the server, to come again


@define
class Clock:
    """`ms` is the time; `moment` counts what happened, for what happens at the same time."""

    ms: int = 0
    moment: int = 0

    @property
    def s(self) -> float:
        return self.ms / 1000


@define(eq=False)
class Connection:
    """A session, the server at its other end, and what is on its way between them."""

    session: Session
    server: ModelServer
    clock: Clock
    revision: int = -1
    sending: PendingTurn | None = None
    cursor: int = 0
    asked: bool = False
    overdue_at: int | None = None
    awaiting: tuple[Awaiting, int] | None = None
    to_server: deque[tuple[str, int]] = field(factory=deque)
    recent: deque[str] = field(factory=lambda: deque(maxlen=RECENT))

    def flush(self) -> None:
        self.to_server.extend((text, self.clock.moment) for text in self.session.take_outgoing())

    @property
    def quiet(self) -> bool:
        """Nothing is on its way, and the server has said all it wants to."""
        return not (self.to_server or self.server.out or self.session.has_outgoing)


@define(eq=False)
class PortModel:
    """See `endpoints.port`. `open_server` gives the server that a new connection ends at; None: no network."""

    settings: Endpoint
    conversation: Conversation
    clock: Clock
    report: Callable[[EndpointEvent], None]
    open_server: Callable[[], ModelServer | None]
    on_ready: Callable[[Connection], None]
    history: History = field(init=False)
    pending: PendingTurn | None = None
    current: Connection | None = None
    successor: Connection | None = None
    blocked: bool = False  # the wire takes no more sound for now
    link: Link = Link.DOWN
    retry_at: int | None = 0
    hurries: bool = True
    give_up_at: int | None = None
    plays_until: int = 0
    attempts: int = 0

    def __attrs_post_init__(self) -> None:
        self.history = History(self.conversation)

    # The port

    def begin(self, utterance: Utterance) -> None:
        if self.pending is not None:
            self.drop_turn(self.pending.turn)
        self.pending = PendingTurn(utterance.turn, utterance)
        utterance.subscribe(self.pump)
        if self.retry_at is not None and self.hurries:
            self.retry_at = self.clock.ms
        self.pump()

    def ask(self, turn: int) -> None:
        if self.pending is not None and self.pending.turn == turn and self.pending.asked_at is None:
            self.history.asked(turn, sound=self.pending.utterance)
            self._ask(self.pending)

    def continue_answer(self, turn: int) -> None:
        if self.pending is not None:
            self.drop_turn(self.pending.turn)
        self.pending = PendingTurn(turn)
        self.history.asked(turn, CONTINUE)
        self._ask(self.pending)

    def _ask(self, pending: PendingTurn) -> None:
        pending.asked_at = self.clock.s
        self.give_up_at = self.clock.ms + int(self.conversation.answer_timeout_s * 1000) + GRACE_MS
        self.pump()

    def drop_turn(self, turn: int) -> None:
        for connection in self.connections:
            connection.session.cancel(turn)
        self.history.dropped(turn)
        self._drop_pending(turn)
        self.pump()

    def interrupt(self, turn: int, heard_ms: int) -> None:
        self.plays_until = 0
        self.history.interrupted(turn, heard_ms)
        for connection in self.connections:
            connection.session.interrupt(turn, heard_ms)
        self._drop_pending(turn)
        self.pump()

    def forget(self) -> None:
        self.pending = self.give_up_at = None
        self.history.forget()
        for connection in self.connections:
            if connection.session.used:
                self.lose(connection, None)

    def _drop_pending(self, turn: int) -> None:
        if self.pending is not None and self.pending.turn == turn:
            self.pending = self.give_up_at = None

    def _fail_turn(self, reason: str) -> None:
        if self.pending is not None:
            turn = self.pending.turn
            self.drop_turn(turn)
            self.report(AnswerEnded(turn, Ending.FAILED, reason))

    # Its connections

    @property
    def connections(self) -> list[Connection]:
        return [one for one in (self.current, self.successor) if one is not None]

    @property
    def idle(self) -> bool:
        """Nobody speaks, and nobody waits."""
        return self.pending is None and self.clock.ms >= self.plays_until + PLAY_OUT_MS

    def _dial(self) -> Connection | None:
        server = self.open_server()
        if server is None:
            return None

        def history() -> list[Said]:
            connection.revision = self.history.revision
            return self.history.replay()

        connection = Connection(Session(self.settings, self.conversation, history), server, self.clock)
        connection.overdue_at = self.clock.ms + int(self.settings.setup_timeout_s * 1000)
        return connection

    def connect(self) -> None:
        """One attempt to be connected."""
        self.retry_at = None
        if self.link is not Link.REFUSED:
            self._change(Link.CONNECTING)
        self.current = self._dial()
        if self.current is None:
            self._recover(Failure(Kind.CONNECT, "no network"))

    def renew(self) -> None:
        """A successor, beside the session that serves."""
        if self.successor is None:
            self.successor = self._dial()

    def lose(self, connection: Connection, failure: Failure | None) -> None:
        """It is over: it failed, or was stopped (None)."""
        serves = connection is self.current
        self.pass_on(connection, connection.session.connection_lost("lost"), lost=True)
        if connection is self.successor:
            self.successor = None
        elif serves and connection is self.current:
            self.current = None
            if failure is None:
                self.connect()
            else:
                self._recover(failure)

    def _recover(self, failure: Failure) -> None:
        verdict = judge(failure, self.attempts, 0.5, self.pending is not None)
        self.attempts += 1
        match verdict:
            case OwnerMustAct():
                self._change(Link.REFUSED)
                self.retry_at, self.hurries = None, False
                if self.pending is not None and self.pending.asked_at is not None:
                    self._fail_turn("the owner must act")
            case Renew():
                self.retry_at = self.clock.ms
            case _:
                self._change(Link.DOWN)
                self.retry_at, self.hurries = self.clock.ms + int(verdict.after_s * 1000), True

    def _change(self, link: Link) -> None:
        if link is not self.link:
            self.link = link
            self.report(LinkChanged(link))

    # What is sent

    def pump(self) -> None:
        """Send what there is to send."""
        for connection in self.connections:
            connection.flush()
        serving, question = self.current, self.pending
        if serving is None or question is None or serving.session.phase is not Phase.READY or self.blocked:
            return
        if question is not serving.sending:
            serving.sending, serving.cursor, serving.asked = question, 0, False
        if serving.asked:
            return
        if question.utterance is None:
            serving.asked = True
            self.pass_on(serving, serving.session.ask_to_continue(question.turn))
            return
        rest = question.utterance.since(serving.cursor)
        serving.session.push(question.turn, rest)
        serving.cursor += len(rest)
        serving.flush()
        if question.asked_at is not None:
            serving.asked = True
            self.pass_on(serving, serving.session.ask(question.turn))

    # What comes

    def hear(self, connection: Connection, text: str) -> None:
        """One text of the server."""
        connection.recent.append(text)
        self.pass_on(connection, connection.session.receive(text))

    def pass_on(self, connection: Connection, events: Iterable[SessionEvent], lost: bool = False) -> None:
        failure = None
        for event in events:
            if isinstance(event, SessionError) and event.fatal:
                failure = failure or Failure(Kind.ERROR, event.message, code=event.code)
            else:
                self._take(connection, event)
        connection.flush()
        if not lost:
            self._set_deadline(connection)
            if failure is not None and connection in self.connections:
                self.lose(connection, failure)
        self.pump()

    def _take(self, connection: Connection, event: SessionEvent) -> None:
        match event:
            case SessionReady():
                self.on_ready(connection)
                if connection is self.current:
                    self._change(Link.UP)
                elif self.current is not None and self.idle and connection.revision == self.history.revision:
                    self.current, self.successor, predecessor = connection, None, self.current
                    self._change(Link.UP)
                    self.pass_on(predecessor, predecessor.session.connection_lost("a new session"), lost=True)
                else:
                    self.lose(connection, None)
            case Saying(turn, text):
                self.history.saying(turn, text)
            case AnswerAudio(turn, _, duration_ms):
                self.attempts = 0
                self.history.sounded(turn, duration_ms)
                self.plays_until = max(self.plays_until, self.clock.ms) + int(duration_ms) + 1
                self._drop_pending(turn)
                self.report(event)
            case AnswerEnded(turn):
                self._drop_pending(turn)
                self.report(event)
            case Transcript(turn, speaker, text):
                self.history.said(turn, speaker, text)
                self.report(event)

    # Time

    def _set_deadline(self, connection: Connection) -> None:
        session = connection.session
        if session.phase is not Phase.READY or session.awaiting == connection.awaiting:
            return
        connection.awaiting = session.awaiting
        stall_ms = int(self.conversation.answer_stall_s * 1000) + GRACE_MS
        limits = {Awaiting.MORE_SOUND: stall_ms, Awaiting.END: CANCEL_TIMEOUT_MS}
        limit = limits.get(session.awaiting[0])
        connection.overdue_at = None if limit is None else self.clock.ms + limit

    @property
    def timers(self) -> list[int]:
        due = [self.retry_at, self.give_up_at, *(one.overdue_at for one in self.connections)]
        return [at for at in due if at is not None]

    def tick(self) -> None:
        """Do what is due."""
        now = self.clock.ms
        if self.give_up_at is not None and now >= self.give_up_at:
            self._fail_turn("no answer")
            if self.current is not None:
                self.lose(self.current, Failure(Kind.SILENCE, "no answer"))
        if self.retry_at is not None and now >= self.retry_at:
            self.connect()
        for connection in self.connections:
            if connection.overdue_at is not None and now >= connection.overdue_at:
                connection.overdue_at = None
                if connection.session.phase is Phase.SETTING_UP:
                    self.pass_on(connection, connection.session.assume_ready())
                else:
                    self.lose(connection, Failure(Kind.SILENCE, "overdue"))
