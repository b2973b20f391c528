"""One HTTP request and its answer: bodies within bounds, errors in the provider's form, server-sent events."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field

from kioskd.simulator import door
from kioskd.simulator.errors import ClientError, invalid_json
from kioskd.simulator.events import new_id
from kioskd.simulator.faults.replies import SPLIT_PACKET_BYTES, Faults
from kioskd.simulator.text.sockets import chat_failure

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_JSON = "application/json"


class GoneError(Exception):
    """The client went away while it was still sending."""


@define(eq=False)
class Exchange:
    """Reads the request and writes the answer. As a `Wire` it writes server-sent events."""

    request: door.Request
    faults: Faults
    _receive: Receive
    _send: Send
    started: bool = field(default=False, init=False)  # the answer's head was sent

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `ClientError` where it is longer than `limit`, `GoneError`."""
        data = bytearray()
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            data += message.get("body", b"")
            more = message.get("more_body", False)
            if len(data) > limit:
                text = f"413: Maximum content size limit ({limit}) exceeded ({len(data)} bytes read)"
                raise ClientError(text, "request_too_large")
        return bytes(data)

    async def json_body(self, limit: int) -> Any:
        """The body as JSON. Raises as `body` does, and `ClientError` where it is none."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _JSON:
            text = f"Unsupported content type: '{kind}'. This API method only accepts '{_JSON}' requests."
            raise ClientError(text, "unsupported_content_type")
        try:
            return json.loads(await self.body(limit))
        except (ValueError, RecursionError):
            raise invalid_json() from None

    async def reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """A whole JSON answer."""
        await self.respond(status, {"content-type": _JSON, **(headers or {})}, json.dumps(body).encode())

    async def respond(self, status: int, headers: Mapping[str, str], payload: bytes) -> None:
        """Any whole answer."""
        await self.start(status, {**headers, "content-length": str(len(payload))})
        await self._send({"type": "http.response.body", "body": payload})

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of an answer whose body comes by and by."""
        self.started = True
        told = {"x-request-id": new_id("req"), **headers}
        encoded = [(name.encode(), value.encode()) for name, value in told.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, data: bytes, more: bool = True) -> None:
        """A piece of the body; the last one unless there is `more`."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def refuse(self, error: ClientError, status: int) -> None:
        """An error in place of an answer."""
        told = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
        await self.reply(status, {"error": told})

    async def stream(self) -> None:
        """Begin server-sent events."""
        wrong = self.faults.stream() == "sse-wrong-type"
        kind = "text/html" if wrong else "text/event-stream; charset=utf-8"
        await self.start(200, {"content-type": kind, "cache-control": "no-cache"})

    async def send(self, body: dict[str, Any] | str) -> None:
        """One event."""
        form = self.faults.form
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        line = f"data:{text}" if form == "sse-no-space" else f"data: {text}"
        event = f": keep-alive\n\n:\n{line}\n\n" if form == "sse-comments" else f"{line}\n\n"
        if form == "sse-crlf":
            event = event.replace("\n", "\r\n")
        data = event.encode()
        step = SPLIT_PACKET_BYTES if form == "sse-split-lines" else len(data)
        for start in range(0, len(data), step):
            await self.write(data[start : start + step])

    async def end(self, done: bool) -> None:
        """[DONE], where it is said, and the end of the body."""
        if done:
            await self.send("[DONE]")
        await self.write(b"", more=False)

    async def cut_off(self) -> None:
        """Nothing: a body that has no end is cut off by who serves it."""

    def failure(self, kind: str) -> list[dict[str, Any]]:
        """As on every chat wire."""
        return chat_failure(kind)
