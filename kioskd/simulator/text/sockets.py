"""The text doors on WebSockets: Responses in both envelopes, and chat. Many requests a connection, one at a time."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import trio
from attrs import define, field

from kioskd.simulator.brain import Brain
from kioskd.simulator.conversation import Channel, ChannelClosed
from kioskd.simulator.errors import ClientError, invalid_json
from kioskd.simulator.events import new_id
from kioskd.simulator.faults.catalogue import Phase
from kioskd.simulator.faults.replies import CutOffError, Faults, error_body
from kioskd.simulator.observer import Observer
from kioskd.simulator.settings import Pace
from kioskd.simulator.text.answer import Answer, End, ServerFault, answer
from kioskd.simulator.text.chat_chunks import ChatAnswer
from kioskd.simulator.text.chat_request import chat_request
from kioskd.simulator.text.frames import Delivery
from kioskd.simulator.text.prompt import Line, Who
from kioskd.simulator.text.responses_events import ResponseEvents
from kioskd.simulator.text.responses_request import fields_of, understood

MAX_WAITING = 16  # requests of a client that doesn't wait for its answers
MAX_KEPT = 256  # responses that can be gone on from
NORMAL, BROKEN = 1000, 1011
LIMIT = "websocket_connection_limit_reached"


@define
class Kept:
    """Lines up to and with a response, by its id; the oldest are forgotten."""

    _lines: OrderedDict[str, Sequence[Line]] = field(factory=OrderedDict)

    def keep(self, response_id: str, lines: Sequence[Line]) -> None:
        """Remember these."""
        self._lines[response_id] = lines
        if len(self._lines) > MAX_KEPT:
            self._lines.popitem(last=False)

    def recall(self, response_id: str) -> Sequence[Line] | None:
        """The lines; None if it isn't known."""
        return self._lines.get(response_id)


@define(eq=False)
class TextSocket:
    """One connection. `first` is a message that was read already."""

    channel: Channel
    brain: Brain
    pace: Pace
    observer: Observer
    faults: Faults
    first: str | bytes | None = None

    async def run(self) -> None:
        """Answer until the client has gone, was idle for too long, or the connection is too old."""
        try:
            async with trio.open_nursery() as nursery:
                ends = trio.current_time() + self.pace.session_s
                sending, requests = trio.open_memory_channel[str | bytes](MAX_WAITING)
                nursery.start_soon(self._read, sending, nursery.cancel_scope)
                await self._attend(requests, ends)
                nursery.cancel_scope.cancel()
        except* (ChannelClosed, CutOffError):
            pass

    async def answer(self, message: str | bytes) -> None:
        """Answer one request. Raises `ClientError`, `ChannelClosed`, `CutOffError`."""
        raise NotImplementedError

    async def refuse(self, error: ClientError, status: int) -> None:
        """Say that a request can't be answered."""
        raise NotImplementedError

    async def send(self, body: dict[str, Any] | str) -> None:
        """One message."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.observer.on_event(
            "server", str(body.get("type", "chunk")) if isinstance(body, dict) else "text", len(text)
        )
        await self.channel.send(text)

    async def end(self, done: bool) -> None:
        """A socket that is cut off within an answer closes."""

    async def cut_off(self) -> None:
        """Close 1011, without a word."""
        await self.channel.close(BROKEN, "")
        raise CutOffError

    async def close(self) -> None:
        """Close 1000."""
        await self.channel.close(NORMAL, "")
        raise CutOffError

    async def _read(self, sending: trio.MemorySendChannel[str | bytes], scope: trio.CancelScope) -> None:
        if self.first is not None:
            await sending.send(self.first)
        try:
            while True:
                await sending.send(await self.channel.receive())
        except ChannelClosed:
            scope.cancel()

    async def _attend(self, requests: trio.MemoryReceiveChannel[str | bytes], ends: float) -> None:
        while True:
            message: str | bytes | None = None
            idle_until = trio.current_time() + self.pace.idle_s
            with trio.move_on_at(min(ends, idle_until)):
                message = await requests.receive()
            if message is None:
                if ends <= idle_until:
                    await self.refuse(limit_reached(), 400)
                await self.close()
                return
            self.observer.on_event("client", "request", len(message))
            try:
                await self.answer(message)
            except ClientError as error:
                await self.refuse(error, 500 if isinstance(error, ServerFault) else 400)
            self.faults.over()
            if self.faults.socket(Phase.IDLE) == "idle-close":
                await self.close()

    def tell(self, told: Answer, item_id: str) -> None:
        """The observer hears of an answer."""
        self.observer.on_sent(item_id, None, told.text, b"", told.end.value)


def limit_reached() -> ClientError:
    """The end of every connection."""
    text = "Responses websocket connection limit reached (60 minutes). Create a new websocket connection to continue."
    return ClientError(text, LIMIT)


@define(eq=False)
class ResponsesSocket(TextSocket):
    """Responses. `stored` is the server's memory, of what was sent with store; this connection has one of its own."""

    nested: bool = False
    stored: Kept = field(factory=Kept)
    _own: Kept = field(factory=Kept, init=False)
    _events: ResponseEvents | None = field(default=None, init=False)

    async def answer(self, message: str | bytes) -> None:
        """`response.create`."""
        fields = fields_of(message, self.nested)
        match self.faults.socket(Phase.ASKED):
            case "connection-limit-reached":
                await self.refuse(limit_reached(), 400)
                await self.close()
            case "previous-response-not-found" if fields.get("previous_response_id") is not None:
                understood(fields, lambda _: None)
        request = understood(fields, self._recall)
        told = await answer(self.brain, request.prompt, request.limit) if request.generates else None
        self._events = events = ResponseEvents(request, told)
        await Delivery(self, self.faults, self.pace, lambda end: events.last_frames(End(end))).run(events.frames())
        kept = [*request.lines]
        if told is not None:
            kept.append(Line(Who.CALL if told.call else Who.KIOSK, events.said, call_id=events.call_id))
            self.tell(told, events.item_id)
        (self.stored if request.stored else self._own).keep(events.id, kept)

    async def refuse(self, error: ClientError, status: int) -> None:
        """The error event, as the provider sends it."""
        told = {"type": error.type, "code": error.code, "message": error.message, "param": error.param}
        await self.send({"type": "error", "status": status, "error": told})

    async def end(self, done: bool) -> None:
        """Responses have no other end than their last event: without it, the connection goes."""
        if self.faults.drawn.startswith("cut-"):
            await self.close()

    def failure(self, kind: str) -> list[dict[str, Any]]:
        """Three forms of errors are seen."""
        error = error_body(kind)
        if error is None or self._events is None:
            return []
        if kind == "answer-error":
            return [self._events.failed("server_error", error["message"])]
        if kind == "answer-error-flat":
            return [self._events.numbered(type="error", code=error["code"], message=error["message"], param=None)]
        return [{"type": "error", "status": 429, "error": error}]

    def _recall(self, response_id: str) -> Sequence[Line] | None:
        own = self._own.recall(response_id)
        return self.stored.recall(response_id) if own is None else own


@define(eq=False)
class ChatSocket(TextSocket):
    """Chat. `model` is the URL's, for requests without one; `spoken` finds what was said in an earlier sound."""

    model: str | None = None
    spoken: Callable[[str], str] = field(kw_only=True)

    async def answer(self, message: str | bytes) -> None:
        """A body as of a chat completion."""
        try:
            body = json.loads(message)
        except (ValueError, RecursionError):
            raise invalid_json() from None
        if isinstance(body, dict) and self.model is not None:
            body = {"model": self.model, **body}
        request = chat_request(body, self.spoken)
        told = await answer(self.brain, request.prompt, request.limit)
        chat = ChatAnswer(request.model, told, request.wants_usage)
        if request.stream:
            delivery = Delivery(self, self.faults, self.pace, lambda end: chat.last_frames(End(end)))
            await delivery.run(chat.frames())
        else:
            await self.send(chat.whole())
        self.tell(told, new_id("item"))

    async def refuse(self, error: ClientError, status: int) -> None:
        """The error object."""
        code = error.code
        told = {"message": error.message, "type": error.type, "param": error.param, "code": code}
        await self.send({"error": told, "status": status})

    async def end(self, done: bool) -> None:
        """[DONE]; a cut without it closes the connection."""
        if done:
            await self.send("[DONE]")
        elif self.faults.drawn == "cut-without-done":
            await self.close()

    def failure(self, kind: str) -> list[dict[str, Any]]:
        """As on every chat wire."""
        return chat_failure(kind)


def chat_failure(kind: str) -> list[dict[str, Any]]:
    """An error in mid-answer, nested or flat."""
    error = error_body(kind)
    if error is None:
        return []
    return [
        {"type": "error", "code": error["code"], "message": error["message"]}
        if kind == "answer-error-flat"
        else {"error": error}
    ]
