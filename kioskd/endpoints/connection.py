"""One connection's life: its reader, its writer, its pings and its deadlines. All of its state goes with it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence

import trio

from kioskd.config.schema import Conversation, Endpoint
from kioskd.endpoints.alarm import Alarm
from kioskd.endpoints.frames import ABNORMAL_CLOSURE, CloseReason
from kioskd.endpoints.gathering import with_sound_joined
from kioskd.endpoints.pending import PendingTurn
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.toolbox import Toolbox, ToolCall
from kioskd.endpoints.websocket import ConnectionClosed, WebSocket
from kioskd.realtime.codec import BYTES_PER_MS
from kioskd.realtime.events import Awaiting, Phase, SessionEvent, SessionReady, ToolWanted
from kioskd.realtime.replay import Said
from kioskd.realtime.session import Session

CHUNK_BYTES = 100 * BYTES_PER_MS  # each message costs two passes of the scheduler: fewer and larger ones
APPEND_BYTES_MAX = 2000 * BYTES_PER_MS  # 128 KB of text: under every relay's limit, and a cancel soon gets its turn
CANCEL_TIMEOUT_S = 10.0  # a cancelled answer ends within a second; one that doesn't would block the next for ever
DEADLINE_GRACE_S = 2.0  # the dialogue gives up first and cancels politely; ours is for a wire that stays silent


class Connection:
    """From an open WebSocket to its loss. `question` gives the turn to be sent, `deliver` takes what happens."""

    def __init__(
        self,
        socket: WebSocket,
        settings: Endpoint,
        conversation: Conversation,
        question: Callable[[], PendingTurn | None],
        deliver: Callable[[SessionEvent], None],
        history: Callable[[], Sequence[Said]] = lambda: (),
        toolbox: Toolbox | None = None,
    ) -> None:
        self._toolbox = toolbox
        self.session = Session(settings, conversation, history, lambda: toolbox.offers if toolbox else ())
        self.heard_at = trio.current_time()  # a pong shows that the other side lives, and that our tasks do
        self._socket = socket
        self._settings = settings
        self._stall_s = conversation.answer_stall_s + DEADLINE_GRACE_S
        self._question = question
        self._deliver = deliver
        self._sending: Callable[[], PendingTurn | None] = lambda: None  # weakly: what was said is kept by who needs it
        self._cursor = 0  # bytes of the question that this connection has had
        self._asked = False
        self._work = trio.Event()
        self._doubt = trio.Event()
        self._alarm = Alarm(self._overdue)
        self._awaiting: tuple[Awaiting, int] | None = None
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._failure: Failure | None = None

    @property
    def stopping(self) -> bool:
        """True once it is to end, for whatever reason."""
        return self._scope.cancel_called

    def adjust(self, settings: Endpoint, conversation: Conversation) -> bool:
        """Live by these settings from now on; False where that takes a new session."""
        if not self.session.adjust(settings, conversation):
            return False
        self._settings = settings
        self._stall_s = conversation.answer_stall_s + DEADLINE_GRACE_S
        if self.session.has_outgoing:
            self.wake()
        return True

    def wake(self) -> None:
        """There may be something to send."""
        self._work.set()

    def check_alive(self) -> None:
        """Send a ping now: something has happened to the network."""
        self._doubt.set()

    def stop(self) -> None:
        """End it as planned; `run` returns None."""
        self._scope.cancel()

    def fail(self, failure: Failure) -> None:
        """End it; `run` returns the first failure."""
        if not self._scope.cancel_called:
            self._failure = failure
            self._scope.cancel()

    async def run(self) -> Failure | None:
        """Serve until it is lost (-> why) or stopped (-> None). An answer that was sounding is reported as cut."""
        self._alarm.set(trio.current_time() + self._settings.setup_timeout_s)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    for task in (self._read, self._write, self._ping, self._alarm.run):
                        nursery.start_soon(task)
        finally:
            self._pass_on(self.session.connection_lost(self._failure.message if self._failure else "a new session"))
        if self._failure is not None and self._failure.kind in (Kind.SILENCE, Kind.LOST):
            with trio.CancelScope() as now:  # nobody there would answer a close frame: don't wait for it
                now.cancel()
                await self._socket.aclose()
        return self._failure

    def _pass_on(self, events: Iterable[SessionEvent]) -> None:
        for event in events:
            if isinstance(event, ToolWanted):
                if self._nursery is not None:
                    self._nursery.start_soon(self._call_tool, event)
                continue
            self._deliver(event)
            if isinstance(event, SessionReady):
                self.wake()
        if self.session.has_outgoing:
            self.wake()
        self._set_deadline()

    async def _call_tool(self, wanted: ToolWanted) -> None:
        result = '{"error": "there are no tools"}'
        if self._toolbox is not None:
            result = await self._toolbox.call(wanted.turn, ToolCall(wanted.call_id, wanted.name, wanted.arguments))
        self._pass_on(self.session.take_result(wanted.turn, wanted.call_id, result))

    def _set_deadline(self) -> None:
        if self.session.phase is not Phase.READY or self.session.awaiting == self._awaiting:
            return
        self._awaiting = self.session.awaiting
        match self._awaiting[0]:
            case Awaiting.MORE_SOUND:
                self._alarm.set(trio.current_time() + self._stall_s)
            case Awaiting.END:
                self._alarm.set(trio.current_time() + CANCEL_TIMEOUT_S)
            case _:
                self._alarm.clear()  # the first sound has the turn's own deadline, whatever the connection

    def _overdue(self) -> None:
        phase, owed = self.session.phase, self.session.awaiting[0]
        if phase is Phase.SETTING_UP:
            self._pass_on(self.session.assume_ready())
            return
        if phase is not Phase.READY:
            waited = f"accepted the connection, then nothing within {self._settings.setup_timeout_s:g} s: {phase.value}"
        else:
            waited = f"nothing within the time, waiting for {owed.value}"
        self.fail(Failure(Kind.SILENCE, waited))

    async def _read(self) -> None:
        """Wait for nothing but the socket: a full queue would stop the pongs. What comes behind the end is nobody's."""
        try:
            while True:
                events = self._understood(await self._socket.get_messages())
                self._pass_on(with_sound_joined(events) if self._socket.gathered else events)
        except ConnectionClosed as closed:
            self.fail(failure_of_close(closed.reason))

    def _understood(self, messages: Iterable[str | bytes]) -> Iterator[SessionEvent]:
        """One by one: what a message brings about may stop all."""
        for message in messages:
            if not self.stopping:
                yield from self.session.receive(message)

    async def _ping(self) -> None:
        timeout_s = self._settings.ping_timeout_s
        while True:
            self._doubt = trio.Event()
            with trio.move_on_after(self._settings.ping_interval_s):
                await self._doubt.wait()
            with trio.move_on_after(timeout_s) as scope:
                try:
                    await self._socket.ping()
                except ConnectionClosed:
                    return  # the reader tells why, after what was said before it
            self.heard_at = trio.current_time()
            if scope.cancelled_caught:
                self.fail(Failure(Kind.LOST, f"no pong within {timeout_s:g} s: the connection is dead"))

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            try:
                await self._flush()
                await self._send_question()
            except ConnectionClosed:
                return  # the reader tells why, after what was said before it

    async def _flush(self) -> None:
        """Send what there is, in one go."""
        while texts := self.session.take_outgoing():
            await self._socket.send_message(*texts)

    def _still_asks(self, question: PendingTurn) -> bool:
        """While the link was stuck it may have been dropped, or the session ended by the server."""
        return question is self._question() and self.session.phase is Phase.READY

    def _start_of(self, question: PendingTurn) -> int:
        """A new connection has had nothing of a question, whatever one before it had."""
        return 0

    async def _send_question(self) -> None:
        question = self._question()
        if question is None or self.session.phase is not Phase.READY:
            return
        if question is not self._sending():
            self._sending, self._cursor, self._asked = weakref.ref(question), self._start_of(question), False
        if self._asked:
            return
        utterance, whole = question.utterance, question.asked_at is not None
        if utterance is None:
            self._asked = True
            self._pass_on(self.session.ask_to_continue(question.turn))
            await self._flush()
            return
        if not whole and self._cursor and utterance.size - self._cursor < CHUNK_BYTES:
            return
        rest = memoryview(utterance.since(self._cursor))
        for start in range(0, len(rest), APPEND_BYTES_MAX):
            if not self._still_asks(question):
                return
            piece = bytes(rest[start : start + APPEND_BYTES_MAX])
            self.session.push(question.turn, piece)
            self._cursor += len(piece)
            if not (whole and self._cursor == utterance.size and self._socket.flows):  # else the commit takes it along
                await self._flush()
        if self._still_asks(question) and question.asked_at is not None:
            if self._cursor < utterance.size:
                self.wake()
                return
            self._asked = True
            self._pass_on(self.session.ask(question.turn))
        await self._flush()


def failure_of_close(reason: CloseReason | None) -> Failure:
    """A closed connection as a failure to judge."""
    if reason is None:
        return Failure(Kind.LOST, "the connection was closed on this side")
    if reason.code == ABNORMAL_CLOSURE:
        return Failure(Kind.LOST, "the connection broke off", close_code=reason.code)
    said = f": {reason.reason}" if reason.reason else ""
    return Failure(Kind.LOST, f"the endpoint closed the connection ({reason.code}{said})", close_code=reason.code)
