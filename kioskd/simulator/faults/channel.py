"""A channel that does what its faults say to the messages of a conversation."""

from __future__ import annotations

import json
import logging
from collections import deque

import trio
from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator.conversation import Channel, ChannelClosed
from kioskd.simulator.faults import words
from kioskd.simulator.faults.catalogue import Kind, Level, Phase
from kioskd.simulator.faults.edits import Edit, Event, edit_of
from kioskd.simulator.faults.phases import PhaseTracker
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.observer import Observer, Unwatched

SLOW_CANCEL_S = 1.0
_OWN_ID = "asked-by-nobody"  # of the events that the client never sent: it hears no error about them
_AT_CLIENT_EVENT = {"update-rejected": "session.update", "slow-cancel": "response.cancel"}

_log = logging.getLogger(__name__)


@define(eq=False)
class FaultyChannel:
    """Between a conversation and its channel. Opportunities: before each server event, after each client event, and
    when a server event has begun another phase.

    Some faults need a certain event, and wait for it, until the connection ends if need be; until a fault is over,
    none is drawn on this connection. What is reported is what was done, with the phase in which it was drawn. Nothing
    here draws lots but `faults`.
    """

    channel: Channel
    faults: FaultSource
    dialect: Dialect
    observer: Observer = field(factory=Unwatched)
    _tracker: PhaseTracker = field(factory=PhaseTracker, init=False)
    _drawn: tuple[Kind, Phase] | None = field(default=None, init=False)  # and not over
    _edit: Edit | None = field(default=None, init=False)  # the drawn one's
    _at_work: bool = field(default=False, init=False)  # the edit has begun
    _unasked: deque[str] = field(factory=deque, init=False)  # client events of our own
    _receiving: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _sending: trio.Lock = field(factory=trio.Lock, init=False)
    _closing: bool = field(default=False, init=False)  # by a fault
    _has_spoken: bool = field(default=False, init=False)

    @property
    def phase(self) -> Phase:
        """How far the connection is; CONNECT until something was sent, for the upgrade's answer is under way."""
        return self._tracker.phase if self._has_spoken else Phase.CONNECT

    async def send(self, message: str | bytes) -> None:
        """Send a server event, or what the faults make of it. Raises `ChannelClosed`, also where a fault closes."""
        event: Event = json.loads(message)
        if event["type"] == "error" and event["error"].get("event_id") == _OWN_ID:
            return
        await self._give_chance()
        for each in self._edited(event):
            before = self._tracker.phase
            await self._emit(message if each is event else json.dumps(each))
            self._tracker.server(each)
            if self._tracker.phase is not before:
                await self._give_chance()

    async def receive(self) -> str | bytes:
        """The next client event, or one that the client never sent. Raises `ChannelClosed` as `send` does."""
        while True:
            if self._unasked:
                return self._unasked.popleft()
            message: str | bytes | None = None
            with trio.CancelScope() as self._receiving:  # `_ask_unasked` leaves it
                message = await self.channel.receive()
            if message is None:
                continue
            event = _event_in(message)
            self._tracker.client(event)
            await self._give_chance()
            if await self._lets_in(event):
                return message

    async def close(self, code: int, reason: str) -> None:
        """Close."""
        await self.channel.close(code, reason)

    async def _give_chance(self) -> None:
        if self._drawn is not None or self._closing:
            return
        phase = self._tracker.phase
        kind = self.faults.draw(Level.MESSAGE, phase)
        if kind is None:
            return
        if (said := words.words_of(kind.name)) is not None:
            self._closing = said.close is not None
            tell(self.observer, kind, phase)
            await self._say(said)
        elif kind.name == "answers-by-itself":
            tell(self.observer, kind, phase)
            self._ask_unasked()
        else:
            self._drawn = kind, phase
            self._edit, self._at_work = edit_of(kind.name, self.dialect), False

    async def _say(self, said: words.Words) -> None:
        async with self._sending:  # a close and the words before it can't be parted
            for frame in said.frames:
                await self.channel.send(frame)
            if said.close is not None:
                await self.channel.close(*said.close)
                raise ChannelClosed

    async def _emit(self, frame: str | bytes) -> None:
        async with self._sending:
            await self.channel.send(frame)
            self._has_spoken = True

    def _ask_unasked(self) -> None:
        self._unasked.append(json.dumps({"type": "response.create", "event_id": _OWN_ID}))
        self._receiving.cancel()

    def _edited(self, event: Event) -> list[Event]:
        edit = self._edit
        if edit is None or not (self._at_work or edit.begins_at(event)):
            return [event]
        if not self._at_work:
            self._at_work = True
            self._tell_drawn()
        changed = edit.pass_on(event)
        if edit.over:
            self._drawn = self._edit = None
        return changed

    async def _lets_in(self, event: Event) -> bool:
        """Whether the server gets this client event; a fault that waits for it happens here."""
        name = self._drawn[0].name if self._drawn is not None else ""
        if _AT_CLIENT_EVENT.get(name) != event.get("type", ""):
            return True
        self._tell_drawn()
        self._drawn = None
        if name == "slow-cancel":
            await trio.sleep(SLOW_CANCEL_S)
            return True
        await self._emit(words.update_rejected(event.get("event_id")))
        return False

    def _tell_drawn(self) -> None:
        if self._drawn is not None:
            kind, phase = self._drawn
            tell(self.observer, kind, phase)


def tell(observer: Observer, kind: Kind, phase: Phase) -> None:
    """Say that a fault happens now."""
    _log.info("fault %s (%s): %s", kind.name, phase.value, kind.summary)
    observer.on_fault(kind.name, phase.value)


def _event_in(message: str | bytes) -> Event:
    """The client's event; an empty one if it is none: the conversation will say so."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
