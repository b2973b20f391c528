"""Servers on loopback sockets for the text models: plain HTTP byte by byte, and WebSockets that follow a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import Factory, define
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)
from wsproto.utilities import LocalProtocolError

from kioskd.config.schema import Endpoint
from kioskd.endpoints.text.model import Message, Request, Role, TextEvent

KEY = "sk-this-is-a-secret-key-1234567890"


@define
class Asked:
    """An HTTP request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Handler = Callable[[Asked, trio.SocketStream], Awaitable[None]]


@define
class HttpServer:
    """Answers each request as `handle` writes it; closes where that returns with `stream` closed."""

    handle: Handler
    asked: list[Asked] = Factory(list)
    port: int = 0
    connections: int = 0

    def endpoint(self, path: str = "/v1/chat/completions", **settings: Any) -> Endpoint:
        return Endpoint("here", f"http://127.0.0.1:{self.port}{path}", "m", **settings)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        number, data = self.connections, b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = await stream.receive_some()
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                while len(data) < int(headers.get("content-length", 0)):
                    data += await stream.receive_some()
                size = int(headers.get("content-length", 0))
                method, target, _ = first.split(" ")
                asked = Asked(method, target, headers, data[:size], number)
                data = data[size:]
                self.asked.append(asked)
                await self.handle(asked, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


@asynccontextmanager
async def http_server(handle: Handler) -> AsyncIterator[HttpServer]:
    server = HttpServer(handle)
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
            await trio.serve_tcp(server.serve, 0, host="127.0.0.1", task_status=task_status)

        listeners = await nursery.start(start)
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


def reply(body: bytes | object, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} So", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(told: object) -> bytes:
    """A server-sent event."""
    return b"data: " + (told.encode() if isinstance(told, str) else json.dumps(told).encode()) + b"\n\n"


def words(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat answer."""
    return {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


def question(text: str = "hello", *before: Message, **more: Any) -> Request:
    """A request with one question at its end."""
    return Request(7, "Be brief.", [*before, Message(Role.VISITOR, text)], **more)


@define
class Taken:
    """What a model gave."""

    events: list[TextEvent] = Factory(list)
    some: trio.Event = Factory(trio.Event)

    def __call__(self, event: TextEvent) -> None:
        self.events.append(event)
        self.some.set()

    @property
    def text(self) -> str:
        return "".join(getattr(event, "text", "") for event in self.events)


Talk = Callable[["Spoken"], Awaitable[None]]


@define
class Spoken:
    """One connection of the socket server."""

    number: int
    path: str
    headers: dict[str, str]
    socket: WebSocketConnection
    heard: list[Any] = Factory(list)

    async def hear(self) -> Any:
        said = json.loads(await self.socket.get_message())
        self.heard.append(said)
        return said

    async def break_off(self) -> None:
        """Without a goodbye."""
        await trio.aclose_forcefully(self.socket._stream)

    async def tell(self, *messages: object) -> None:
        for message in messages:
            await self.socket.send_message(message if isinstance(message, str) else json.dumps(message))


@define
class SocketServer:
    """Follows `talk` on each connection; what it heard is kept."""

    talk: Talk
    refuse: Callable[[int], int] = lambda number: 0
    port: int = 0
    connections: list[Spoken] = Factory(list)
    asked: int = 0

    def endpoint(self, path: str, **settings: Any) -> Endpoint:
        return Endpoint("here", f"ws://127.0.0.1:{self.port}{path}", "m", **settings)

    @property
    def heard(self) -> list[list[Any]]:
        return [connection.heard for connection in self.connections]

    async def serve(self, request: WebSocketRequest) -> None:
        self.asked += 1
        if status := self.refuse(self.asked):
            body = json.dumps({"error": {"message": "no", "code": "invalid_api_key"}}).encode()
            await request.reject(status, body=body)
            return
        socket = await request.accept()
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        spoken = Spoken(len(self.connections) + 1, request.path, headers, socket)
        self.connections.append(spoken)
        try:
            await self.talk(spoken)
            await socket.aclose()
        except ConnectionClosed:
            return


async def _listen(server: SocketServer, task_status: trio.TaskStatus[int]) -> None:
    """trio-websocket 0.12 breaks on a ping that comes while it says goodbye: that ends its one connection, not it."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, stream)
                await server.serve(request)
                nursery.cancel_scope.cancel()
        except* (LocalProtocolError, HandshakeError):
            pass
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        task_status.started(listener.socket.getsockname()[1])


@asynccontextmanager
async def socket_server(talk: Talk, **more: Any) -> AsyncIterator[SocketServer]:
    server = SocketServer(talk, **more)
    async with trio.open_nursery() as nursery:
        server.port = await nursery.start(_listen, server)
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running(model: Any) -> AsyncIterator[Any]:
    """A model that keeps its connections."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(model.run)
        yield model
        nursery.cancel_scope.cancel()
