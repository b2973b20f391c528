"""Texts of client events, and server events out of texts, in both vocabularies whatever the dialect.

Sources: the types of the `openai` package (`openai/types/realtime`, `openai/types/beta/realtime`) and recorded frames.
Sound is s16le mono at 24 kHz, in base64.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import Any

from kioskd.realtime.wire import (
    AnswerText,
    AnswerTranscript,
    AudioDelta,
    Committed,
    FunctionCall,
    Ignored,
    ItemAdded,
    Malformed,
    QuestionTranscript,
    ResponseCreated,
    ResponseDone,
    ResponseProgress,
    ServerError,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    Tokens,
)

BYTES_PER_MS = 48  # s16le mono at 24 kHz
NAME_LENGTH_MAX = 80  # a server's names go into the log: as much as a log line bears


def append(pcm: bytes) -> str:
    """`input_audio_buffer.append`; the server takes 15 MiB at most, which is for the caller to mind."""
    encoded = binascii.b2a_base64(pcm, newline=False).decode("ascii")
    return '{"type":"input_audio_buffer.append","audio":"' + encoded + '"}'


def commit(event_id: str) -> str:
    """`input_audio_buffer.commit`: what was appended becomes the visitor's item."""
    return json.dumps({"type": "input_audio_buffer.commit", "event_id": event_id})


def clear() -> str:
    """`input_audio_buffer.clear`: what was appended since the last commit is thrown away."""
    return '{"type":"input_audio_buffer.clear"}'


def session_update(session: dict[str, Any], event_id: str | None = None) -> str:
    """`session.update` around a session object (see `dialects`)."""
    marked = {"event_id": event_id} if event_id else {}
    return json.dumps({"type": "session.update", **marked, "session": session}, ensure_ascii=False)


def create_response(turn: int, event_id: str) -> str:
    """`response.create`, marked with the turn so that its answer can be told from others."""
    return json.dumps({"type": "response.create", "event_id": event_id, "response": {"metadata": {"turn": str(turn)}}})


def function_output(call_id: str, output: str) -> str:
    """`conversation.item.create` with what a tool returned."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return json.dumps({"type": "conversation.item.create", "item": item}, ensure_ascii=False)


def cancel_response(response_id: str | None) -> str:
    """`response.cancel` of one response, or of whichever is active."""
    event = {"type": "response.cancel"}
    if response_id is not None:
        event["response_id"] = response_id
    return json.dumps(event)


def truncate(item_id: str, content_index: int, audio_end_ms: int) -> str:
    """`conversation.item.truncate`: the visitor heard so many ms of this item and knows no more."""
    return json.dumps(
        {
            "type": "conversation.item.truncate",
            "item_id": item_id,
            "content_index": content_index,
            "audio_end_ms": audio_end_ms,
        }
    )


def delete(item_id: str) -> str:
    """`conversation.item.delete`."""
    return json.dumps({"type": "conversation.item.delete", "item_id": item_id})


def parse(text: str | bytes) -> ServerEvent:
    """One received message as an event. Never raises: what is no event is `Malformed`."""
    return parse_with_id(text)[0]


def parse_with_id(text: str | bytes) -> tuple[ServerEvent, str | None]:
    """The same, with the server's own `event_id`, where it gives one."""
    try:
        event = json.loads(text)
    except RecursionError:
        return Malformed("JSON nested too deeply"), None
    except ValueError:
        return Malformed("not JSON"), None
    if not isinstance(event, dict):
        return Malformed("JSON, but not an object"), None
    kind, event_id = event.get("type"), event.get("event_id")
    if not isinstance(kind, str):
        return Malformed("an object without a type"), None
    read = _READERS.get(kind)
    if read is None:
        return Ignored(kind[:NAME_LENGTH_MAX]), None
    try:
        return read(event), event_id if isinstance(event_id, str) else None
    except _WrongFieldError as error:
        return Malformed(f"{kind}: {error}"), None


class _WrongFieldError(ValueError):
    """A field has another type than the wire promises."""


def _text(event: dict[str, Any], name: str) -> str | None:
    value = event.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _WrongFieldError(f"{name} is no string")


def _count(event: dict[str, Any], name: str) -> int:
    """A number that is absent or null counts as 0; some gateways write counts as 5.0."""
    value = event.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        raise _WrongFieldError(f"{name} is no count")
    return int(value)


def _object(event: dict[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _WrongFieldError(f"{name} is no object")
    return value


def _turn(response: dict[str, Any]) -> str | None:
    return _text(_object(response, "metadata"), "turn")


def _session_created(event: dict[str, Any]) -> ServerEvent:
    return SessionCreated(_text(_object(event, "session"), "id"))


def _item_added(event: dict[str, Any]) -> ServerEvent:
    item = _object(event, "item")
    return ItemAdded(_text(item, "id"), _text(item, "role"))


def _response_created(event: dict[str, Any]) -> ServerEvent:
    response = _object(event, "response")
    return ResponseCreated(_text(response, "id"), _turn(response))


def _progress(event: dict[str, Any]) -> ServerEvent:
    return ResponseProgress(_text(event, "response_id"), _text(event, "item_id"))


def _output_item(event: dict[str, Any]) -> ServerEvent:
    return ResponseProgress(_text(event, "response_id"), _text(_object(event, "item"), "id"))


def _output_item_done(event: dict[str, Any]) -> ServerEvent:
    call = _call(_object(event, "item"), _text(event, "response_id"))
    return _output_item(event) if call is None else call


def _call(item: dict[str, Any], response_id: str | None) -> FunctionCall | None:
    """A call that is whole; None for an item of another kind, and for one that was broken off."""
    if item.get("type") != "function_call" or item.get("status") not in (None, "completed"):
        return None
    item_id, name = _text(item, "id"), _text(item, "name")
    call_id = _text(item, "call_id") or item_id  # some relays leave it out, and take the item's
    if not call_id or not name:
        raise _WrongFieldError("a function call without a name or an id")
    return FunctionCall(response_id, item_id, call_id, name, _text(item, "arguments") or "")


def _calls_in(response: dict[str, Any]) -> tuple[FunctionCall, ...]:
    output, response_id = response.get("output"), _text(response, "id")
    items = output if isinstance(output, list) else []
    calls = (_call(item, response_id) for item in items if isinstance(item, dict))
    return tuple(call for call in calls if call is not None)


def _audio_delta(event: dict[str, Any]) -> ServerEvent:
    encoded = _text(event, "delta")
    try:
        pcm = binascii.a2b_base64(encoded or "", strict_mode=True)
    except ValueError as error:
        raise _WrongFieldError("delta is no base64") from error
    return AudioDelta(_text(event, "response_id"), _text(event, "item_id"), _count(event, "content_index"), pcm)


def _answer_text(event: dict[str, Any]) -> ServerEvent:
    return AnswerText(_text(event, "response_id"), _text(event, "item_id"), _text(event, "delta") or "")


def _answer_transcript(event: dict[str, Any]) -> ServerEvent:
    return AnswerTranscript(_text(event, "response_id"), _text(event, "item_id"), _text(event, "transcript") or "")


def _question_transcript(event: dict[str, Any]) -> ServerEvent:
    return QuestionTranscript(_text(event, "item_id"), _text(event, "transcript") or "")


def _error_in(error: dict[str, Any]) -> ServerError:
    code = error.get("code")
    if isinstance(code, int):  # seen at relays: {"code": 429}
        code = str(code)
    if code is not None and not isinstance(code, str):
        raise _WrongFieldError("code is no string")
    return ServerError(code, _text(error, "type"), _text(error, "message") or "", _text(error, "event_id"))


def _error(event: dict[str, Any]) -> ServerEvent:
    error = event.get("error")
    if isinstance(error, str):  # flat errors exist: {"type": "error", "error": "text"}
        return ServerError(message=error)
    if error is None:  # ... and so does {"type": "error", "code": ..., "message": ...}
        return _error_in({**event, "type": None, "event_id": None})
    return _error_in(_object(event, "error"))


def _tokens(usage: dict[str, Any]) -> Tokens:
    inputs, outputs = _object(usage, "input_token_details"), _object(usage, "output_token_details")
    cached = _object(inputs, "cached_tokens_details")
    tokens = Tokens(
        input_text=_count(inputs, "text_tokens"),
        input_audio=_count(inputs, "audio_tokens"),
        cached_text=_count(cached, "text_tokens"),
        cached_audio=_count(cached, "audio_tokens"),
        output_text=_count(outputs, "text_tokens"),
        output_audio=_count(outputs, "audio_tokens"),
    )
    if tokens == Tokens():  # totals without details: sound is what a kiosk sends and gets, and the dearer of the two
        tokens = Tokens(input_audio=_count(usage, "input_tokens"), output_audio=_count(usage, "output_tokens"))
    return tokens


def _response_done(event: dict[str, Any]) -> ServerEvent:
    response = _object(event, "response")
    details, usage = _object(response, "status_details"), _object(response, "usage")
    error = _object(details, "error")
    return ResponseDone(
        response_id=_text(response, "id"),
        status=_text(response, "status"),
        reason=_text(details, "reason"),
        turn=_turn(response),
        error=_error_in(error) if error else None,
        tokens=_tokens(usage) if usage else None,
        calls=_calls_in(response),
    )


_READERS: dict[str, Callable[[dict[str, Any]], ServerEvent]] = {
    "session.created": _session_created,
    "session.updated": lambda _: SessionUpdated(),
    "error": _error,
    "input_audio_buffer.committed": lambda event: Committed(_text(event, "item_id")),
    "conversation.item.added": _item_added,
    "conversation.item.created": _item_added,
    "conversation.item.input_audio_transcription.completed": _question_transcript,
    "response.created": _response_created,
    "response.output_item.added": _output_item,
    "response.output_item.done": _output_item_done,
    "response.content_part.added": _progress,
    "response.content_part.done": _progress,
    "response.output_audio.delta": _audio_delta,
    "response.audio.delta": _audio_delta,
    "response.output_audio.done": _progress,
    "response.audio.done": _progress,
    "response.output_audio_transcript.delta": _answer_text,
    "response.audio_transcript.delta": _answer_text,
    "response.output_audio_transcript.done": _answer_transcript,
    "response.audio_transcript.done": _answer_transcript,
    "response.output_text.delta": _progress,
    "response.text.delta": _progress,
    "response.output_text.done": _progress,
    "response.text.done": _progress,
    "response.function_call_arguments.delta": _progress,
    "response.function_call_arguments.done": _progress,
    "response.done": _response_done,
}
