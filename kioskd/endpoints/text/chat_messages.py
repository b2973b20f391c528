"""A question as the body of a chat request. PURE.

Source: `openai/types/chat/completion_create_params.py`; DeepSeek's and the relays' are parts of it.
"""

from __future__ import annotations

from typing import Any

from kioskd.config.schema import Endpoint
from kioskd.endpoints.text.model import Message, Request, Role

SCHEMA_NAME = "answer"


def body(settings: Endpoint, request: Request, *, stream: bool, count: bool = False) -> dict[str, Any]:
    """What is asked. `count`: the stream is to tell its tokens in a chunk of its own, which not every relay knows."""
    asked: dict[str, Any] = {"model": request.model or settings.model, "messages": messages(request)}
    if stream:
        asked["stream"] = True
        if count:
            asked["stream_options"] = {"include_usage": True}
    if request.tools:
        asked["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": offer.name,
                    "description": offer.description,
                    "parameters": dict(offer.parameters),
                },
            }
            for offer in request.tools
        ]
    if request.schema is not None:
        schema = {"name": SCHEMA_NAME, "schema": dict(request.schema)}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    if settings.max_tokens is not None:
        asked["max_tokens"] = settings.max_tokens
    if settings.temperature is not None:
        asked["temperature"] = settings.temperature
    return asked


def messages(request: Request) -> list[dict[str, Any]]:
    """The conversation, behind what the model is told to be."""
    told = [{"role": "system", "content": request.instructions}] if request.instructions else []
    return [*told, *map(_message, request.messages)]


def _message(message: Message) -> dict[str, Any]:
    if message.answers_call:
        return {"role": "tool", "tool_call_id": message.answers_call, "content": message.text}
    if message.role is Role.VISITOR or not message.calls:
        return {"role": message.role.value, "content": message.text}
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.calls
    ]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}
