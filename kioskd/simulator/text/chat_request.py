"""What a chat completion may be asked: the strict check of a request, and what the model is told of it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from kioskd.simulator import schema
from kioskd.simulator.errors import ClientError
from kioskd.simulator.schema import anything, array, boolean, decimal, either, mapping, nullable, one_of, tagged, whole
from kioskd.simulator.text.prompt import Line, Prompt, Who
from kioskd.simulator.text.wav import pcm_of

_TEXT = schema.text()
_NAME = schema.text(64)
_TEXT_PART = mapping({"type": anything, "text": _TEXT}, required=("text",))
_SOUND = mapping({"data": _TEXT, "format": one_of("wav", "mp3")}, required=("data", "format"))
_SOUND_PART = mapping({"type": anything, "input_audio": _SOUND}, required=("input_audio",))
_CALL = mapping(
    {
        "id": _TEXT,
        "type": one_of("function"),
        "function": mapping({"name": _NAME, "arguments": _TEXT}, required=("name", "arguments")),
    },
    required=("id", "type", "function"),
)


def _content(**kinds: schema.Check) -> schema.Check:
    parts = array(tagged("type", kinds), low=1)
    return lambda value, path: _TEXT(value, path) if isinstance(value, str) else parts(value, path)


def _message(*required: str, **fields: schema.Check) -> schema.Check:
    return mapping({"role": anything, "name": _NAME, **fields}, required)


_PLAIN = _message("content", content=_content(text=_TEXT_PART))
_MESSAGE = tagged(
    "role",
    {
        "system": _PLAIN,
        "developer": _PLAIN,
        "user": _message("content", content=_content(text=_TEXT_PART, input_audio=_SOUND_PART)),
        "assistant": _message(
            content=nullable(_content(text=_TEXT_PART)),
            refusal=nullable(_TEXT),
            tool_calls=array(_CALL, low=1, high=128),
            audio=nullable(mapping({"id": _TEXT}, required=("id",))),
        ),
        "tool": _message("content", "tool_call_id", content=_content(text=_TEXT_PART), tool_call_id=_TEXT),
    },
)
FUNCTION = {"name": _NAME, "description": nullable(_TEXT), "parameters": anything, "strict": nullable(boolean)}
_TOOL = mapping(
    {"type": one_of("function"), "function": mapping(FUNCTION, required=("name",))}, required=("type", "function")
)


def _object(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        mapping({})(value, path)


JSON_SCHEMA = {"name": _NAME, "description": _TEXT, "schema": _object, "strict": nullable(boolean)}
_FORMAT = tagged(
    "type",
    {
        "text": mapping({"type": anything}),
        "json_object": mapping({"type": anything}),
        "json_schema": mapping(
            {"type": anything, "json_schema": mapping(JSON_SCHEMA, required=("name", "schema"))},
            required=("json_schema",),
        ),
    },
)
_AUDIO = mapping(
    {"voice": either(mapping({"id": _TEXT}, ("id",)), _TEXT), "format": one_of("wav", "mp3", "flac", "opus", "pcm16")},
    required=("voice", "format"),
)
TOOL_CHOICE = either(
    mapping({"type": anything, "function": anything, "name": anything}), one_of("none", "auto", "required")
)
_BODY = mapping(
    {
        "model": _TEXT,
        "messages": array(_MESSAGE, low=1),
        "stream": nullable(boolean),
        "stream_options": nullable(mapping({"include_usage": boolean, "include_obfuscation": boolean})),
        "max_tokens": nullable(whole(1)),
        "max_completion_tokens": nullable(whole(1)),
        "temperature": nullable(decimal(0, 2)),
        "top_p": nullable(decimal(0, 1)),
        "n": nullable(whole(1, 1)),
        "stop": anything,
        "presence_penalty": nullable(decimal(-2, 2)),
        "frequency_penalty": nullable(decimal(-2, 2)),
        "seed": nullable(whole()),
        "user": _TEXT,
        "metadata": anything,
        "store": nullable(boolean),
        "tools": array(_TOOL, low=1, high=128),
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": boolean,
        "response_format": _FORMAT,
        "modalities": nullable(array(one_of("text", "audio"), 1, 2)),
        "audio": nullable(_AUDIO),
        "reasoning_effort": nullable(one_of("none", "minimal", "low", "medium", "high", "xhigh")),
        "verbosity": nullable(one_of("low", "medium", "high")),
        "service_tier": nullable(_TEXT),
        "prompt_cache_key": nullable(_TEXT),
        "safety_identifier": nullable(_TEXT),
    },
    required=("model", "messages"),
)


@frozen
class ChatRequest:
    """A request that was understood. `sound` is the format of the spoken answer, "" for a written one."""

    model: str
    prompt: Prompt
    stream: bool
    wants_usage: bool
    limit: int | None
    sound: str


def chat_request(body: Any, spoken: Callable[[str], str]) -> ChatRequest:
    """What is asked; `spoken(id)` is the transcript of an earlier answer's sound. Raises `ClientError` (both)."""
    _BODY(body, "")
    options = body.get("stream_options")
    stream = bool(body.get("stream"))
    if options is not None and not stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ClientError(text, None, "stream_options")
    choice, tools = body.get("tool_choice", "auto"), body.get("tools", [])
    if "tool_choice" in body and not tools:
        raise ClientError("'tool_choice' is only allowed when 'tools' are specified.", None, "tool_choice")
    form = body.get("response_format", {})
    limit = body.get("max_completion_tokens")
    messages = body["messages"]
    _check_calls(messages)
    orders = [_text_of(each["content"]) for each in messages if each["role"] in ("system", "developer")]
    prompt = Prompt(
        "\n".join(orders),
        tuple(line for number, each in enumerate(messages) for line in _lines(each, number, spoken)),
        frozenset(each["function"]["name"] for each in tools if choice != "none"),
        form["json_schema"]["schema"] if form.get("type") == "json_schema" else None,
    )
    return ChatRequest(
        body["model"],
        prompt,
        stream,
        bool(options and options.get("include_usage")),
        body.get("max_tokens") if limit is None else limit,
        _sound_wanted(body, stream),
    )


def _sound_wanted(body: dict[str, Any], stream: bool) -> str:
    if "audio" not in (body.get("modalities") or ()):
        return ""
    if not body.get("audio"):
        raise ClientError("Missing required parameter: 'audio'.", "missing_required_parameter", "audio")
    form: str = body["audio"]["format"]
    allowed = ("pcm16",) if stream else ("pcm16", "wav")
    if form not in allowed:
        text = f"Unsupported value: 'audio.format' does not support '{form}' when stream={str(stream).lower()}."
        raise ClientError(
            f"{text} Supported values are: {', '.join(map(repr, allowed))}.", "unsupported_value", "audio.format"
        )
    return form


def _check_calls(messages: Sequence[dict[str, Any]]) -> None:
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                text = (
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'."
                )
                raise ClientError(text, None, f"messages.[{number}].role")
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            break
        open_calls = [call["id"] for call in message.get("tool_calls", ())]
    if open_calls:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}"
        )
        raise ClientError(text, None, "messages")


def _lines(message: dict[str, Any], number: int, spoken: Callable[[str], str]) -> list[Line]:
    role, content = message["role"], message.get("content")
    if role in ("system", "developer"):
        return []
    if role == "tool":
        return [Line(Who.RESULT, _text_of(content), call_id=message["tool_call_id"])]
    if role == "user":
        return [Line(Who.USER, _text_of(content), _sound_of(content, f"messages[{number}].content"))]
    text = _text_of(content)
    if message.get("audio"):
        text = text or spoken(message["audio"]["id"])
    lines = [Line(Who.KIOSK, text)] if text else []
    for call in message.get("tool_calls", ()):
        told = call["function"]["name"] + call["function"]["arguments"]
        lines.append(Line(Who.CALL, told, call_id=call["id"]))
    return lines


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content or () if part["type"] == "text")


def _sound_of(content: Any, path: str) -> bytes:
    pcm = b""
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if part["type"] != "input_audio":
            continue
        where = f"{path}[{number}].input_audio"
        if part["input_audio"]["format"] != "wav":
            raise ClientError("This server decodes no mp3: send wav.", "unsupported_value", f"{where}.format")
        try:
            data = base64.b64decode(part["input_audio"]["data"], validate=True)
        except (binascii.Error, ValueError):
            raise ClientError(f"Invalid '{where}.data': it is no base64.", "invalid_value", f"{where}.data") from None
        pcm += pcm_of(data, f"{where}.data")
    return pcm
