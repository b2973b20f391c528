"""What Responses may be asked over a WebSocket: the strict check in both envelopes, and what the model is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from kioskd.simulator import schema
from kioskd.simulator.errors import ClientError, invalid_json, invalid_type
from kioskd.simulator.schema import (
    anything,
    array,
    boolean,
    decimal,
    either,
    mapping,
    named,
    nullable,
    one_of,
    tagged,
    whole,
)
from kioskd.simulator.text.chat_request import FUNCTION, JSON_SCHEMA, TOOL_CHOICE
from kioskd.simulator.text.prompt import Line, Prompt, Who

_TEXT = schema.text()
_IDS = {"id": nullable(_TEXT), "status": nullable(one_of("in_progress", "completed", "incomplete"))}
_INPUT_TEXT = mapping({"type": anything, "text": _TEXT}, required=("text",))
_OUTPUT_TEXT = mapping(
    {"type": anything, "text": _TEXT, "annotations": array(anything), "logprobs": anything}, required=("text",)
)
_PARTS = array(tagged("type", {"input_text": _INPUT_TEXT, "output_text": _OUTPUT_TEXT}), low=1)


def _content(value: Any, path: str) -> None:
    if not isinstance(value, str):
        _PARTS(value, path)


_MESSAGE = mapping(
    {
        **_IDS,
        "type": one_of("message"),
        "role": one_of("user", "assistant", "system", "developer"),
        "content": _content,
        "phase": anything,
    },
    required=("role", "content"),
)
_TYPED = tagged(
    "type",
    {
        "message": _MESSAGE,
        "function_call": mapping(
            {**_IDS, "type": anything, "call_id": _TEXT, "name": _TEXT, "arguments": _TEXT},
            required=("call_id", "name", "arguments"),
        ),
        "function_call_output": mapping(
            {**_IDS, "type": anything, "call_id": _TEXT, "output": _content}, required=("call_id", "output")
        ),
    },
)


def _item(value: Any, path: str) -> None:
    plain = isinstance(value, dict) and "type" not in value
    (_MESSAGE if plain else _TYPED)(value, path)


_ITEMS = array(_item)


def _input(value: Any, path: str) -> None:
    if not isinstance(value, str | list):
        raise invalid_type(path, "one of a string or array of objects", named(value))
    if isinstance(value, list):
        _ITEMS(value, path)


_FORMAT = tagged(
    "type",
    {
        "text": mapping({"type": anything}),
        "json_object": mapping({"type": anything}),
        "json_schema": mapping({"type": anything, **JSON_SCHEMA}, required=("name", "schema")),
    },
)
_FIELDS: dict[str, schema.Check] = {
    "model": _TEXT,
    "input": nullable(_input),
    "instructions": nullable(_TEXT),
    "previous_response_id": nullable(_TEXT),
    "store": nullable(boolean),
    "generate": nullable(boolean),
    "tools": array(mapping({"type": one_of("function"), **FUNCTION}, required=("type", "name")), high=128),
    "tool_choice": TOOL_CHOICE,
    "parallel_tool_calls": nullable(boolean),
    "text": mapping({"format": _FORMAT, "verbosity": nullable(one_of("low", "medium", "high"))}),
    "max_output_tokens": nullable(whole(16)),
    "temperature": nullable(decimal(0, 2)),
    "top_p": nullable(decimal(0, 1)),
    "metadata": anything,
    "reasoning": nullable(mapping({"effort": anything, "summary": anything})),
    "include": nullable(array(_TEXT)),
    "truncation": nullable(either(one_of("auto"), one_of("auto", "disabled"))),
    "service_tier": nullable(_TEXT),
    "user": _TEXT,
    "prompt_cache_key": nullable(_TEXT),
    "safety_identifier": nullable(_TEXT),
}  # no `stream` and no `background`: neither means anything on a socket
_EVENT = {"type": one_of("response.create"), "event_id": nullable(_TEXT)}
_TOP_LEVEL = mapping({**_EVENT, **_FIELDS}, required=("type", "model"))
_NESTED = mapping({**_EVENT, "response": mapping(_FIELDS, required=("model", "store"))}, required=("type", "response"))


@frozen
class ResponsesRequest:
    """A request that was understood. `fields` are as they came, `lines` all that the model is told."""

    fields: dict[str, Any]
    prompt: Prompt
    previous: str | None = None
    stored: bool = True
    lines: Sequence[Line] = field(factory=tuple)

    @property
    def limit(self) -> int | None:
        """In tokens."""
        limit: int | None = self.fields.get("max_output_tokens")
        return limit

    @property
    def generates(self) -> bool:
        """Whether an answer is wanted; else only the state is made."""
        return self.fields.get("generate") is not False


def fields_of(message: str | bytes, nested: bool) -> dict[str, Any]:
    """The fields of a request in this envelope. Raises `ClientError`."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        raise invalid_json() from None
    if not isinstance(event, dict):
        raise invalid_json()
    (_NESTED if nested else _TOP_LEVEL)(event, "")
    if not nested:
        return {name: value for name, value in event.items() if name not in _EVENT}
    inner: dict[str, Any] = event["response"]
    if inner["store"] is not False:
        raise ClientError("Store must be set to false.", "invalid_value", "response.store")
    return inner


def understood(fields: dict[str, Any], recall: Callable[[str], Sequence[Line] | None]) -> ResponsesRequest:
    """What is asked; `recall(id)` are the lines up to and with an earlier response. Raises `ClientError`."""
    previous = fields.get("previous_response_id")
    before: Sequence[Line] | None = recall(previous) if previous is not None else ()
    if before is None:
        text = f"Previous response with id '{previous}' not found."
        raise ClientError(text, "previous_response_not_found", "previous_response_id")
    given = fields.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    orders = [fields.get("instructions") or "", *(_words(each) for each in items if _orders(each))]
    lines = (*before, *(_line(each) for each in items if not _orders(each)))
    if not lines:
        text = "Missing required parameter: 'input'."
        raise ClientError(text, "missing_required_parameter", "input")
    _check_calls(lines)
    form = fields.get("text", {}).get("format", {})
    tools = frozenset(each["name"] for each in fields.get("tools", []) if fields.get("tool_choice") != "none")
    wanted = form["schema"] if form.get("type") == "json_schema" else None
    prompt = Prompt("\n".join(filter(None, orders)), lines, tools, wanted)
    return ResponsesRequest(fields, prompt, previous, fields.get("store") is not False, lines)


def _orders(item: dict[str, Any]) -> bool:
    return item.get("role") in ("system", "developer")


def _words(item: dict[str, Any], name: str = "content") -> str:
    content = item[name]
    return content if isinstance(content, str) else " ".join(part["text"] for part in content)


def _line(item: dict[str, Any]) -> Line:
    match item.get("type", "message"):
        case "function_call":
            return Line(Who.CALL, item["name"] + item["arguments"], call_id=item["call_id"])
        case "function_call_output":
            return Line(Who.RESULT, _words(item, "output"), call_id=item["call_id"])
    return Line(Who.USER if item["role"] == "user" else Who.KIOSK, _words(item))


def _check_calls(lines: Sequence[Line]) -> None:
    called = {line.call_id for line in lines if line.who is Who.CALL}
    answered = {line.call_id for line in lines if line.who is Who.RESULT}
    for call_id in sorted(answered - called):
        raise ClientError(f"No tool call found for function call output with call_id {call_id}.", None, "input")
    for call_id in sorted(called - answered):
        raise ClientError(f"No tool output found for function call {call_id}.", None, "input")
