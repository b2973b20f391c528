"""The simulator as an ASGI application: WebSockets and requests, each to the door that its path names.

Source of the message formats: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import trio
from attrs import define, field

from kioskd.simulator import door
from kioskd.simulator.brain import Brain
from kioskd.simulator.conversation import GOING_AWAY, Channel, ChannelClosed
from kioskd.simulator.errors import ClientError
from kioskd.simulator.faults.gate import Admission, Gate, stay_silent
from kioskd.simulator.faults.replies import Faults
from kioskd.simulator.faults.upgrade import Rejection
from kioskd.simulator.observer import Observer
from kioskd.simulator.settings import SimulatorSettings
from kioskd.simulator.text import doors
from kioskd.simulator.text.doors import TextDoors

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
MODELS = (
    "gpt-realtime",
    "gpt-realtime-mini",
    "kioskd-demo",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-audio-1.5",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-tts",
    "deepseek-chat",
    "claude-sonnet-4.5",
)  # listed; any other is taken as well


@define(eq=False)
class _SocketChannel:
    """The ASGI side of a WebSocket."""

    _receive: Receive
    _send: Send
    _sending: trio.Lock = field(factory=trio.Lock, init=False)
    _closed: bool = field(default=False, init=False)

    async def send(self, message: str | bytes) -> None:
        async with self._sending:
            if self._closed:
                raise ChannelClosed
            await self._send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def receive(self) -> str | bytes:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._closed = True
            raise ChannelClosed
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return data if text is None else text

    async def close(self, code: int, reason: str) -> None:
        async with self._sending:
            if not self._closed:
                self._closed = True
                await self._send({"type": "websocket.close", "code": code, "reason": reason})


@define(eq=False)
class Application:
    """Callable as ASGI 3 wants it. `stopping` ends every conversation with close 1001. No `gate`, no faults."""

    settings: SimulatorSettings
    brain: Brain
    observer: Observer
    gate: Gate | None = None
    stopping: trio.Event = field(factory=trio.Event)
    _text: TextDoors = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._text = TextDoors(self.settings, self.brain, self.observer, self.gate)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await self._let_in(_request(scope), scope["client"], receive, send)
        else:
            request = _request(scope)
            if scope["method"] == "POST" and request.path in doors.POSTS:
                await self._text.post(request, receive, send, scope["client"], doors.now())
            else:
                await self._answer(scope["method"], request, send)

    async def _let_in(self, request: door.Request, peer: object, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if request.path != door.PATH and request.path not in doors.SOCKETS:
            await _reply(send, 404, _not_found(request.path), prefix="websocket.http")
        elif request.path in doors.SOCKETS and (wrong := self._text.refusal(request)) is not None:
            await _reply(send, 401, _error(wrong), prefix="websocket.http")
        elif request.path == door.PATH and request.key is None and self.settings.key is not None:
            await _reply(send, 401, _wrong_key(), prefix="websocket.http")
        elif isinstance(verdict := self.gate.knock() if self.gate else Admission(), Rejection):
            await _reject(send, verdict)
        else:
            await send({"type": "websocket.accept"})
            channel = _SocketChannel(receive, send)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._say_goodbye, channel, nursery.cancel_scope)
                await self._converse(channel, request, verdict, peer)
                nursery.cancel_scope.cancel()

    async def _converse(self, channel: Channel, request: door.Request, admission: Admission, peer: object) -> None:
        nested = request.path == door.PATH and request.is_beta and not request.model
        if request.path in doors.SOCKETS or (nested and door.is_known(request.key, self.settings)):
            with self._visit(peer, faults := self._text.faults()):
                if admission.silent:
                    await stay_silent(channel)
                elif not nested:
                    await self._text.attend(channel, request, faults)
                elif await self._first_means_realtime(channel, faults):
                    await door.attend(channel, request, self.settings, self.brain, self.observer)
            return
        if self.gate is None:
            await door.attend(channel, request, self.settings, self.brain, self.observer)
            return
        with self.gate.admitted(channel, admission, peer, door.dialect_of(request, self.settings)) as faulty:
            if admission.silent:
                await stay_silent(faulty)
            else:
                await door.attend(faulty, request, self.settings, self.brain, self.observer)

    def _visit(self, peer: object, faults: Faults) -> AbstractContextManager[None]:
        return nullcontext() if self.gate is None else self.gate.visited(peer, faults)

    async def _first_means_realtime(self, channel: Channel, faults: Faults) -> bool:
        try:
            return await self._text.attend_nested(channel, faults) is not None
        except ChannelClosed:
            return False

    async def _say_goodbye(self, channel: _SocketChannel, scope: trio.CancelScope) -> None:
        await self.stopping.wait()
        await channel.close(GOING_AWAY, "the simulator stops")
        scope.cancel()

    async def _answer(self, method: str, request: door.Request, send: Send) -> None:
        if method not in ("GET", "HEAD") or request.path not in ("/v1/models", "/v1/auth/verify"):
            await _reply(send, 404, _not_found(request.path))
        elif not door.is_known(request.key, self.settings):
            await _reply(send, 401, _wrong_key())
        elif request.path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "kioskd"} for name in MODELS]
            await _reply(send, 200, {"object": "list", "data": models})
        else:
            await _reply(send, 200, {"credits": self.settings.credits})


def _request(scope: Any) -> door.Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return door.Request(scope["path"], scope["query_string"].decode("latin-1"), headers)


async def _live(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _reply(send: Send, status: int, body: dict[str, Any], prefix: str = "http") -> None:
    await _respond(send, status, {"content-type": "application/json"}, json.dumps(body).encode(), prefix)


async def _reject(send: Send, rejection: Rejection) -> None:
    await _respond(send, rejection.status, rejection.headers, rejection.body, "websocket.http")


async def _respond(send: Send, status: int, headers: Mapping[str, str], payload: bytes, prefix: str) -> None:
    told = {**headers, "content-length": str(len(payload))}
    encoded = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": f"{prefix}.response.start", "status": status, "headers": encoded})
    await send({"type": f"{prefix}.response.body", "body": payload})


def _wrong_key() -> dict[str, Any]:
    return _error(door.wrong_key())


def _error(error: ClientError) -> dict[str, Any]:
    return {"error": {"message": error.message, "type": error.type, "param": None, "code": error.code}}


def _not_found(path: str) -> dict[str, Any]:
    return {"error": {"message": f"There is nothing at {path}", "type": "invalid_request_error", "code": "not_found"}}
