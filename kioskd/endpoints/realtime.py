"""An endpoint behind the Realtime wire: it connects, stays connected, and keeps the unanswered turn."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio
from attrs import evolve
from trio_websocket import WebSocketConnection

from kioskd.config.schema import Conversation, Endpoint
from kioskd.config.secrets import mask_keys
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints import dial as dialling
from kioskd.endpoints.alarm import Alarm
from kioskd.endpoints.connection import DEADLINE_GRACE_S, Connection
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.loud import LoudOnce
from kioskd.endpoints.pending import PendingTurn, RequestWindow
from kioskd.endpoints.policy import Failure, Kind, OwnerMustAct, Renew, Retry, Wait, backoff_s, judge
from kioskd.endpoints.port import EndpointEvent, Report, Utterance
from kioskd.realtime import dialects
from kioskd.realtime.events import Oddity, SessionError, SessionEvent, SessionReady

log = logging.getLogger(__name__)

STEADY_S = 60.0  # a session that held so long was no mere connect: the back-off begins anew
KEY_LOOK_S = 10.0  # while refused: a replaced key is tried at once, not at the next probe
TRANSIENT_CODES = frozenset({"server_error", "internal_error", "internal_server_error", "api_error", "429"})


class Dial(Protocol):
    """How a connection is opened (see `dial.dial`)."""

    def __call__(
        self, settings: Endpoint, headers: list[tuple[bytes, bytes]], url: str, /
    ) -> AbstractAsyncContextManager[WebSocketConnection]:
        """An open WebSocket, closed on leaving. Raises DialError."""


class RealtimeEndpoint:
    """The port over one WebSocket at a time. `read_key` is called at each attempt and may raise OSError, ValueError."""

    def __init__(
        self,
        settings: Endpoint,
        conversation: Conversation,
        read_key: Callable[[], str],
        *,
        dial: Dial = dialling.dial,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._conversation = conversation
        self._read_key = read_key
        self._dial = dial
        self._jitter = jitter
        self._url = dialects.resource_url(settings)
        self._report: Report = _report_to_nobody
        self._pending: PendingTurn | None = None
        self._requests = RequestWindow(settings.requests_per_minute)
        self._turn_alarm = Alarm(self._give_up_turn)
        self._connection: Connection | None = None
        self._link = LinkChanged(Link.DOWN)
        self._key: str | None = None
        self._attempts = 0  # failures since the last useful event
        self._ready_at: float | None = None
        self._outage = LoudOnce(log)
        self._oddities = LoudOnce(log)

    # The port

    async def run(self, report: Report) -> None:
        """Stay connected until cancelled, then close politely."""
        self._report, self._link = report, LinkChanged(Link.DOWN)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._turn_alarm.run)
                while True:
                    await self._connect_and_serve()
        finally:
            self._report = _report_to_nobody

    def begin(self, utterance: Utterance) -> None:
        """See port."""
        if self._pending is not None:
            self._drop_turn(self._pending.turn)
        self._pending = PendingTurn(utterance)
        utterance.subscribe(self._wake)
        self._wake()

    def ask(self, turn: int) -> None:
        """See port. Over `requests_per_minute` the answer fails at once."""
        pending = self._pending
        if pending is None or pending.turn != turn or pending.asked_at is not None:
            return
        now = trio.current_time()
        if not self._requests.admit(now):
            limit = self._settings.requests_per_minute
            self._fail_turn(f"more than {limit} questions in a minute (requests_per_minute of {self._settings.name})")
            return
        pending.asked_at = now
        self._turn_alarm.set(now + self._conversation.answer_timeout_s + DEADLINE_GRACE_S)
        self._wake()

    def discard(self, turn: int) -> None:
        """See port."""
        self._drop_turn(turn)

    def cancel(self, turn: int) -> None:
        """See port."""
        self._drop_turn(turn)

    def interrupt(self, turn: int, heard_ms: int) -> None:
        """See port."""
        if self._connection is not None:
            self._connection.session.interrupt(turn, heard_ms)
        self._drop_pending(turn)
        self._wake()

    def forget(self) -> None:
        """See port. The one place where a conversation ends: its session goes, and with it all that was said."""
        self._pending = None
        self._turn_alarm.clear()
        if self._connection is not None and self._connection.session.used:
            self._connection.stop()

    # The turn

    def _wake(self) -> None:
        if self._connection is not None:
            self._connection.wake()

    def _drop_turn(self, turn: int) -> None:
        """Nothing more of this turn is sent, kept, or reported."""
        if self._connection is not None:
            self._connection.session.cancel(turn)
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
        if self._connection is not None:
            self._connection.fail(Failure(Kind.SILENCE, reason))

    # The link

    async def _connect_and_serve(self) -> None:
        """One attempt, and the wait that it earned."""
        if self._link.link is not Link.REFUSED:  # a probe invites nobody to press the button
            self._change_link(Link.CONNECTING)
        self._ready_at = None
        failure = await self._attempt()
        was_steady = self._ready_at is not None and trio.current_time() - self._ready_at >= STEADY_S
        if was_steady:
            self._link_proved_useful()
        if failure is not None:
            await self._recover(evolve(failure, message=self._clean(failure.message)), was_steady)

    async def _attempt(self) -> Failure | None:
        """Connect and serve until it fails (-> why) or a new conversation is wanted (-> None)."""
        try:
            self._key = self._read_key()
            headers = dialects.headers(self._settings, self._key)
        except (OSError, ValueError) as error:
            return Failure(Kind.KEY, str(error))
        outcome: Failure | None = None
        async with trio.open_nursery() as nursery:
            # Shielded, so that a cancellation ends in a close frame: the library's reader must outlive it for a moment.
            life = trio.CancelScope(shield=True)
            nursery.start_soon(self._end_politely, life)
            with life:
                outcome = await self._serve(headers)
            nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()  # the scope above has taken an outer cancellation for its own
        return outcome

    async def _end_politely(self, life: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if self._connection is not None:
                self._connection.stop()
            else:
                life.cancel()

    async def _serve(self, headers: list[tuple[bytes, bytes]]) -> Failure | None:
        try:
            async with self._dial(self._settings, headers, self._url) as socket:
                connection = Connection(
                    socket, self._settings, self._conversation, lambda: self._pending, self._take_event
                )
                self._connection = connection
                try:
                    return await connection.run()
                finally:
                    self._connection = None
        except DialError as error:
            return error.failure

    def _take_event(self, event: SessionEvent) -> None:
        match event:
            case SessionReady():
                self._ready_at = trio.current_time()
                self._outage.over(f"{self._settings.name}: connected")
                self._change_link(Link.UP)
            case SessionError(code, message, fatal):
                if fatal and self._connection is not None:
                    rejected = event.setting_up and code not in TRANSIENT_CODES
                    kind = Kind.SETTINGS if rejected else Kind.ERROR
                    self._connection.fail(Failure(kind, message, code=code))
                else:
                    self._oddities.tell(code, f"{self._settings.name}: {self._clean(message)}")
            case Oddity(reason):
                self._oddities.tell(reason, f"{self._settings.name}: ignored from the endpoint: {reason}")
            case AnswerAudio(turn):
                self._link_proved_useful()
                self._drop_pending(turn)
                self._report(event)
            case AnswerEnded(turn):
                self._drop_pending(turn)
                self._report(evolve(event, reason=self._clean(event.reason)))
            case _:
                self._report(event)

    def _link_proved_useful(self) -> None:
        """More than a connect, which a flapping link has plenty of: back-off and log begin anew."""
        self._attempts = 0
        self._outage.forget()

    async def _recover(self, failure: Failure, was_steady: bool) -> None:
        verdict = judge(failure, self._attempts, self._jitter())
        told = f"{self._settings.name}: {failure.message}"
        match verdict:
            case OwnerMustAct(remedy, probe_s):
                told = f"{told}; {remedy}"
                self._outage.tell(told, told)
                self._fail_asked(told)
                self._change_link(Link.REFUSED, told)
                await self._sleep_until_new_key(probe_s)
            case Retry(after_s) | Wait(after_s):
                self._outage.tell(failure.kind.value, told)
                self._change_link(Link.DOWN, told)
                await trio.sleep(after_s)
            case Renew():
                log.info("%s; a new session begins", told)
                if not was_steady and self._attempts:  # one that expires at once would be renewed in a circle
                    self._change_link(Link.DOWN, told)
                    await trio.sleep(backoff_s(self._attempts, self._jitter()))
        self._attempts += 1

    def _fail_asked(self, reason: str) -> None:
        """Nobody is kept waiting for an answer that only the owner can bring about."""
        if self._pending is not None and self._pending.asked_at is not None:
            self._fail_turn(reason)

    async def _sleep_until_new_key(self, longest_s: float) -> None:
        with trio.move_on_after(longest_s):
            while True:
                await trio.sleep(KEY_LOOK_S)
                try:
                    if self._read_key() != self._key:
                        return
                except (OSError, ValueError):
                    continue

    def _change_link(self, link: Link, cause: str = "") -> None:
        change = LinkChanged(link, cause)
        if change != self._link:
            self._link = change
            self._report(change)

    def _clean(self, text: str) -> str:
        """One line without the key: some relays repeat it in their errors."""
        line = "".join(character if character.isprintable() else " " for character in text)
        return mask_keys(line.replace(self._key, "***") if self._key else line)


def _report_to_nobody(event: EndpointEvent) -> None:
    log.debug("nobody hears %s", type(event).__name__)
