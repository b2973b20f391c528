"""The Responses wire: `response.create` in both envelopes, and the events of an answer. PURE.

Sources: `openai/types/responses/responses_client_event_param.py`, `responses_server_event.py`; for the nested
envelope a relay's guide (ENDPOINTS: Responses over a WebSocket).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field, frozen

from kioskd.config.schema import Endpoint, Envelope
from kioskd.dialogue.events import Usage
from kioskd.endpoints.text.chat_chunks import ARGUMENTS_MAX, CALLS_MAX, TEXT_MAX, AnswerError, is_error
from kioskd.endpoints.text.chat_messages import SCHEMA_NAME
from kioskd.endpoints.text.model import Delta, Finish, Message, Request, Role, TextEvent
from kioskd.endpoints.text.tokens import usage_of
from kioskd.endpoints.toolbox import ToolCall

LEAST_TOKENS = 16  # the wire takes no smaller max_output_tokens
NOT_FOUND = "previous_response_not_found"
LIMIT_REACHED = frozenset({"websocket_connection_limit_reached", "session_expired"})

_DELTAS = frozenset({"response.output_text.delta", "response.text.delta", "response.refusal.delta"})
_TEXTS = frozenset({"response.output_text.done", "response.text.done", "response.refusal.done"})
_ENDS = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
    "response.done": "",  # its status is inside
}


@frozen
class Known:
    """What the server's side of a connection knows: all up to this response, which nothing may be missing of."""

    response_id: str
    messages: tuple[Message, ...]

    def rest_of(self, messages: Sequence[Message]) -> Sequence[Message] | None:
        """What is new to it; None where it knows something else, such as words that nobody heard."""
        count = len(self.messages)
        if count >= len(messages) or any(not _same(a, b) for a, b in zip(self.messages, messages, strict=False)):
            return None
        return messages[count:]


def create(settings: Endpoint, request: Request, known: Known | None) -> str:
    """`response.create`: only what is new to a server that knows the rest, else everything."""
    rest = known.rest_of(request.messages) if known is not None else None
    asked: dict[str, Any] = {
        "model": request.model or settings.model,
        "store": False,  # what visitors say is kept by nobody
        "previous_response_id": known.response_id if known is not None and rest is not None else None,
        "instructions": request.instructions,  # they count for one response
        "input": [item for message in (request.messages if rest is None else rest) for item in _items(message)],
    }
    if request.tools:
        asked["tools"] = [
            {
                "type": "function",
                "name": offer.name,
                "description": offer.description,
                "parameters": dict(offer.parameters),
                "strict": False,  # the owner's schema needn't be of the strict kind
            }
            for offer in request.tools
        ]
    if request.schema is not None:
        schema = dict(request.schema)
        asked["text"] = {"format": {"type": "json_schema", "name": SCHEMA_NAME, "schema": schema, "strict": False}}
    if settings.max_tokens is not None:
        asked["max_output_tokens"] = max(LEAST_TOKENS, settings.max_tokens)
    if settings.temperature is not None:
        asked["temperature"] = settings.temperature
    nested = settings.envelope is Envelope.NESTED
    event = {"type": "response.create", "response": asked} if nested else {"type": "response.create", **asked}
    return json.dumps(event, ensure_ascii=False)


def _items(message: Message) -> Iterator[dict[str, Any]]:
    if message.answers_call:
        yield {"type": "function_call_output", "call_id": message.answers_call, "output": message.text}
        return
    if message.role is Role.VISITOR:
        content = [{"type": "input_text", "text": message.text}]
        yield {"type": "message", "role": "user", "content": content}
    elif message.text:
        yield {"type": "message", "role": "assistant", "content": message.text}
    for call in message.calls:
        yield {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}


def _same(one: Message, other: Message) -> bool:
    if one.text.split() != other.text.split():
        return False
    if one.answers_call or other.answers_call:
        return one.answers_call == other.answers_call
    return one.role is other.role and one.calls == other.calls


@define(eq=False)
class ResponseAnswer:
    """One response, event by event. What belongs to the response before (`stale_id`) is dropped."""

    turn: int
    stale_id: str = ""
    response_id: str = field(default="", init=False)
    text: str = field(default="", init=False)
    began: bool = field(default=False, init=False)
    status: str = field(default="", init=False)
    """How it ended; empty while it goes on."""
    _of_stale: set[str] = field(factory=set, init=False)  # items of the response before
    _spoken: set[tuple[str, str]] = field(factory=set, init=False)  # parts whose words came piece by piece
    _calls: dict[str, ToolCall] = field(factory=dict, init=False)
    _usage: Usage | None = field(default=None, init=False)

    @property
    def spoke(self) -> bool:
        """Some of its words have come."""
        return bool(self.text)

    def feed(self, message: str) -> list[TextEvent]:
        """One message of the server's. What is no event says nothing. Raises AnswerError."""
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return []
        if not isinstance(event, dict):
            return []
        kind = event.get("type")
        if kind == "error" or not isinstance(kind, str):
            if is_error(event):
                raise AnswerError(event)
            return []
        if self._is_stale(event):
            return []
        return list(self._event(kind, event))

    def end(self) -> tuple[list[TextEvent], Finish]:
        """Nothing more comes: what was kept until now, and how it ended."""
        calls = list(self._calls.values()) if self.status == "completed" else []
        events: list[TextEvent] = [*calls]
        if self._usage is not None:
            events.append(self._usage)
        if calls:
            return events, Finish.TOOL_CALLS
        if self.status == "completed":
            return events, Finish.WHOLE
        return events, Finish.STOPPED if self.status == "incomplete" and not self.spoke else Finish.CUT

    def known(self, request: Request) -> Known | None:
        """What the server knows from now on, where the answer is whole."""
        if self.status != "completed" or not self.response_id:
            return None
        answer = Message(Role.KIOSK, self.text, tuple(self._calls.values()))
        return Known(self.response_id, (*request.messages, answer))

    def _is_stale(self, event: dict[str, Any]) -> bool:
        response, item = event.get("response"), event.get("item")
        said_id = response.get("id") if isinstance(response, dict) else event.get("response_id")
        item_id = item.get("id") if isinstance(item, dict) else event.get("item_id")
        if not isinstance(said_id, str):
            return isinstance(item_id, str) and item_id in self._of_stale
        if self.stale_id and said_id == self.stale_id:
            if isinstance(item_id, str):
                self._of_stale.add(item_id)
            return True
        return bool(self.response_id) and said_id != self.response_id

    def _event(self, kind: str, event: dict[str, Any]) -> Iterator[TextEvent]:
        part = (str(event.get("item_id")), str(event.get("content_index")))
        if kind in _DELTAS:
            self._spoken.add(part)
            yield from self._say(event.get("delta"))
        elif kind in _TEXTS:
            if part not in self._spoken:
                self._spoken.add(part)
                yield from self._say(event.get("text") or event.get("refusal"))
        elif kind == "response.output_item.done":
            self._take_item(event.get("item"))
        elif kind in _ENDS:
            response = event.get("response")
            yield from self._done(kind, response if isinstance(response, dict) else {})
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            response = event.get("response")
            if isinstance(response, dict) and isinstance(response.get("id"), str):
                self.response_id = response["id"]
        self.began = self.began or kind.startswith("response.")

    def _say(self, text: object) -> Iterator[TextEvent]:
        if isinstance(text, str) and text and len(self.text) < TEXT_MAX:
            self.text += text
            yield Delta(text)

    def _take_item(self, item: object) -> None:
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return
        name, arguments, call_id = item.get("name"), item.get("arguments"), item.get("call_id") or item.get("id")
        if not isinstance(name, str) or not name or not isinstance(call_id, str) or not call_id:
            return
        arguments = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        if len(arguments) <= ARGUMENTS_MAX and len(self._calls) < CALLS_MAX:
            self._calls[call_id] = ToolCall(call_id, name, arguments)

    def _done(self, kind: str, response: dict[str, Any]) -> Iterator[TextEvent]:
        status = response.get("status")
        self.status = _ENDS[kind] or (status if isinstance(status, str) else "") or "completed"
        if isinstance(response.get("id"), str):
            self.response_id = response["id"]
        self._usage = usage_of(self.turn, response.get("usage"))
        if self.status == "failed":
            error = response.get("error")
            raise AnswerError({"error": error if isinstance(error, dict) else {"message": "the response failed"}})
        output = response.get("output")
        for item in output if isinstance(output, list) else []:
            self._take_item(item)
            if not self._spoken and isinstance(item, dict) and isinstance(item.get("content"), list):
                for part in item["content"]:
                    yield from self._say(part.get("text") if isinstance(part, dict) else None)
