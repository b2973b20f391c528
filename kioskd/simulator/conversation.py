"""One Realtime conversation, over any channel of messages: what each client event does.

Every event is handled at once and in order, and what it causes is queued before the next one is read; hearing and
answering go on in tasks beside it. Source of the rules: REALTIME.md, "Client events" and "Semantics".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

import trio
from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator import errors, schema
from kioskd.simulator.brain import Brain
from kioskd.simulator.errors import ClientError
from kioskd.simulator.events import ClientNotReading, Outbox, new_id
from kioskd.simulator.items import MAX_ID_CHARS, Content, History, item_from
from kioskd.simulator.listener import Listener
from kioskd.simulator.observer import Observer, Unwatched
from kioskd.simulator.responder import Responder
from kioskd.simulator.schema import anything, mapping, nullable, whole
from kioskd.simulator.session import Session
from kioskd.simulator.settings import Pace
from kioskd.simulator.sound import BYTES_PER_MS, decoded

GOING_AWAY = 1001  # RFC 6455; the real server's close after `session_expired`
NOT_READING = 1008
GOODBYE_S = 2.0  # for the last words to a client that may have stopped reading
_ID = schema.text(MAX_ID_CHARS)


class ChannelClosed(Exception):  # noqa: N818 - it is how a conversation ends
    """The other side has gone."""


class Channel(Protocol):
    """Whole messages, in order, both ways."""

    async def send(self, message: str | bytes) -> None:
        """Send one message; bytes as a binary one, which only faults send. Raises `ChannelClosed`."""

    async def receive(self) -> str | bytes:
        """The next message; bytes if it was a binary one. Raises `ChannelClosed`."""

    async def close(self, code: int, reason: str) -> None:
        """Close with a WebSocket close code."""


def _event(**fields: schema.Check) -> schema.Check:
    """The check of an event with these fields; those whose name ends in _ may be absent."""
    named = {name.rstrip("_"): check for name, check in fields.items()}
    required = tuple(name for name in fields if not name.endswith("_"))
    return mapping({"type": anything, "event_id": nullable(schema.text(512)), **named}, required)


@define(eq=False)
class Conversation:
    """`run` it once. `clock` is Unix time, for `expires_at`."""

    channel: Channel
    brain: Brain
    model: str
    dialect: Dialect = Dialect.GA
    pace: Pace = field(factory=Pace)
    observer: Observer = field(factory=Unwatched)
    clock: Callable[[], float] = time.time
    history: History = field(factory=History, init=False)
    session: Session = field(init=False)
    _outbox: Outbox = field(init=False)
    _responder: Responder = field(init=False)
    _listener: Listener = field(init=False)

    def __attrs_post_init__(self) -> None:
        expires_at = int(self.clock() + self.pace.session_s)
        self.session = Session(self.dialect, new_id("sess"), self.model, expires_at)
        self._outbox = Outbox(self.dialect, self.observer)

    async def run(self) -> None:
        """Converse until the client goes, or the session expires (close 1001), or nobody reads (1008)."""
        try:
            async with trio.open_nursery() as nursery:
                self._begin(nursery)
                with trio.move_on_after(self.pace.session_s):
                    await self._read()
                self._outbox.put_error(errors.session_expired(round(self.pace.session_s / 60)))
                with trio.move_on_after(GOODBYE_S):
                    await self._outbox.flush()
                await self._close(GOING_AWAY, "session_expired")
                nursery.cancel_scope.cancel()
        except* ChannelClosed:
            pass
        except* ClientNotReading:
            await self._close(NOT_READING, "the client does not read")

    async def _close(self, code: int, reason: str) -> None:
        with trio.move_on_after(GOODBYE_S):
            await self.channel.close(code, reason)

    def _begin(self, nursery: trio.Nursery) -> None:
        conversation_id = new_id("conv")
        self._responder = Responder(
            self.session,
            self.history,
            self._outbox,
            self.brain,
            self.observer,
            self.pace,
            nursery,
            conversation_id,
        )
        self._listener = Listener(self.session, self.history, self._outbox, self.brain, self.observer, nursery)
        self._outbox.put("session.created", session=self.session.rendered())
        if self.dialect is Dialect.BETA:
            created = {"id": conversation_id, "object": "realtime.conversation"}
            self._outbox.put("conversation.created", conversation=created)
        nursery.start_soon(self._outbox.drain, self.channel.send)

    async def _read(self) -> None:
        while True:
            message = await self.channel.receive()
            event: dict[str, Any] = {}
            try:
                event = _parsed(message)
                self.observer.on_event("client", str(event.get("type")), len(message))
                _EVENT(event, "")
                _ACTIONS[event["type"]](self, event)
            except ClientError as error:
                error.event_id = event_id if isinstance(event_id := event.get("event_id"), str) else None
                self._outbox.put_error(error)

    def _update_session(self, event: dict[str, Any]) -> None:
        self.session.update(event["session"])
        self._outbox.put("session.updated", session=self.session.rendered())
        self._listener.follow_settings()

    def _append(self, event: dict[str, Any]) -> None:
        if self._listener.append(decoded(event["audio"], "audio"), interrupt=self._responder.interrupt):
            self._responder.create_when_free()

    def _commit(self, _event: dict[str, Any]) -> None:
        self._listener.commit()

    def _clear(self, _event: dict[str, Any]) -> None:
        self._listener.clear()

    def _respond(self, event: dict[str, Any]) -> None:
        self._responder.create(event.get("response"))

    def _cancel(self, event: dict[str, Any]) -> None:
        self._responder.cancel(event.get("response_id"))

    def _create_item(self, event: dict[str, Any]) -> None:
        item = item_from(event["item"], self.dialect, new_id("item"))
        previous = self.history.add(item, event.get("previous_item_id"))
        shown = item.rendered(self.dialect)
        self._outbox.put("conversation.item.added", previous_item_id=previous, item=shown)
        self._outbox.put("conversation.item.done", previous_item_id=previous, item=shown)
        for part in item.parts:
            if part.content is Content.INPUT_AUDIO:
                self._listener.understand(item, part)

    def _truncate(self, event: dict[str, Any]) -> None:
        item_id, end_ms, index = event["item_id"], event["audio_end_ms"], event["content_index"]
        item = self.history.get(item_id, "truncate")
        part = item.parts[index] if index < len(item.parts) else None
        # At 0 ms nothing was heard: the real server refuses it in these words, and wants the item deleted.
        if part is None or part.content is not Content.AUDIO or not part.pcm or end_ms == 0:
            raise errors.not_truncatable()
        if end_ms > part.duration_ms:
            raise errors.shorter_already(part.duration_ms, end_ms)
        del part.pcm[end_ms * BYTES_PER_MS :]
        part.text = None
        self._responder.truncated(item_id)
        self._outbox.put("conversation.item.truncated", item_id=item_id, content_index=index, audio_end_ms=end_ms)
        self.observer.on_interrupt(item_id, end_ms)

    def _delete(self, event: dict[str, Any]) -> None:
        self.history.remove(event["item_id"])
        self._outbox.put("conversation.item.deleted", item_id=event["item_id"])

    def _retrieve(self, event: dict[str, Any]) -> None:
        item = self.history.get(event["item_id"], "retrieve")
        self._outbox.put("conversation.item.retrieved", item=item.rendered(self.dialect, with_audio=True))


_TABLE: dict[str, tuple[schema.Check, Callable[[Conversation, dict[str, Any]], None]]] = {
    "session.update": (_event(session=anything), Conversation._update_session),
    "input_audio_buffer.append": (_event(audio=schema.text()), Conversation._append),
    "input_audio_buffer.commit": (_event(), Conversation._commit),
    "input_audio_buffer.clear": (_event(), Conversation._clear),
    "conversation.item.create": (
        _event(item=anything, previous_item_id_=nullable(_ID)),
        Conversation._create_item,
    ),
    "conversation.item.truncate": (
        _event(item_id=_ID, content_index=whole(0), audio_end_ms=whole(0)),
        Conversation._truncate,
    ),
    "conversation.item.delete": (_event(item_id=_ID), Conversation._delete),
    "conversation.item.retrieve": (_event(item_id=_ID), Conversation._retrieve),
    "response.create": (_event(response_=anything), Conversation._respond),
    "response.cancel": (_event(response_id_=nullable(schema.text())), Conversation._cancel),
}

_EVENT = schema.tagged("type", {kind: check for kind, (check, _) in _TABLE.items()})
_ACTIONS = {kind: act for kind, (_, act) in _TABLE.items()}


def _parsed(message: str | bytes) -> dict[str, Any]:
    """The client's event. Raises `ClientError`: it is none."""
    if isinstance(message, bytes):
        raise errors.binary_frame()
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        raise errors.invalid_json() from None
    if not isinstance(event, dict):
        raise errors.invalid_json()
    return event
