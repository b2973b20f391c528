"""The chunks of a chat answer, in the shapes of OpenAI, DeepSeek and Anthropic, and how the answer ended. PURE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from kioskd.dialogue.events import Usage
from kioskd.endpoints.text.model import Delta, Finish, TextEvent
from kioskd.endpoints.text.tokens import usage_of
from kioskd.endpoints.toolbox import ToolCall

DONE = "[DONE]"
MORE_S = 0.25  # for what may follow the last chunk: its tokens, and [DONE]
CALLS_MAX = 32  # of one answer: no model means more
ARGUMENTS_MAX = 64 * 1024  # characters of one call's
TEXT_MAX = 200_000  # characters: hours of speech

_WHOLE = frozenset({"stop", "end_turn", "stop_sequence", "eos"})
_CALLS = frozenset({"tool_calls", "function_call", "tool_use"})


class AnswerError(Exception):
    """The model's side tells an error in place of (more of) an answer. `told` is the object it came in."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__("the answer is an error")
        self.told = told


@define(eq=False)
class _Call:
    call_id: str = ""
    name: str = ""
    arguments: str = ""


@define(eq=False)
class ChatAnswer:
    """One answer, piece by piece. What belongs to the answer before (`stale_id`) is dropped."""

    turn: int
    stale_id: str = ""
    answer_id: str = field(default="", init=False)
    began: bool = field(default=False, init=False)  # something of it has come
    spoke: bool = field(default=False, init=False)  # some of its words have
    done: bool = field(default=False, init=False)  # `[DONE]`: nothing follows
    has_usage: bool = field(default=False, init=False)
    _reason: str = field(default="", init=False)
    _usage: Usage | None = field(default=None, init=False)
    _calls: dict[int, _Call] = field(factory=dict, init=False)
    _characters: int = field(default=0, init=False)

    @property
    def finished(self) -> bool:
        """The model has said how it ended. Its usage may still follow."""
        return bool(self._reason)

    @property
    def over(self) -> bool:
        """Nothing follows that would count."""
        return self.done or (self.finished and self.has_usage)

    def feed(self, data: str) -> list[TextEvent]:
        """One chunk: an event's data, or a socket's message. What is no chunk says nothing. Raises AnswerError."""
        data = data.strip().removeprefix("data:").strip()
        if data == DONE:
            self.done = self.began or not self.stale_id
            return []
        chunk = _object(data)
        if chunk is not None:
            return list(self._chunk(chunk))
        if "\n" in data:  # events without an empty line between them
            return [event for line in data.splitlines() for event in self.feed(line)]
        return []

    def whole(self, body: str) -> list[TextEvent]:
        """The answer to a request that wanted no stream. Raises AnswerError, also for what is no answer at all."""
        answer = _object(body)
        if answer is None:
            raise AnswerError({"error": {"message": "its answer is no JSON object"}})
        events = list(self._chunk(answer))
        self.done = True
        if not self.began:
            raise AnswerError({"error": {"message": "its answer holds no choices"}})
        return events

    def end(self) -> tuple[list[TextEvent], Finish]:
        """Nothing more comes: what was kept until now, and how it ended."""
        calls = [
            ToolCall(c.call_id or f"call_{n}", c.name, c.arguments) for n, c in sorted(self._calls.items()) if c.name
        ]
        wants = self._reason in _CALLS or self._reason in _WHOLE
        events: list[TextEvent] = [*calls] if wants else []
        if self._usage is not None:
            events.append(self._usage)
        if calls and wants:
            return events, Finish.TOOL_CALLS
        if self._reason in _WHOLE:
            return events, Finish.WHOLE
        return events, Finish.STOPPED if self._reason and not self.spoke else Finish.CUT

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[TextEvent]:
        if is_error(chunk):
            raise AnswerError(chunk)
        chunk_id = chunk.get("id")
        if isinstance(chunk_id, str) and chunk_id:
            if chunk_id == self.stale_id:
                return
            self.answer_id = self.answer_id or chunk_id
        message = chunk.get("message")  # Anthropic's first event tells the input's tokens in it
        self._count(chunk.get("usage") or (message.get("usage") if isinstance(message, dict) else None))
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            choice: object = chunk  # Anthropic's own: everything at the top
        elif choices:
            choice = next((c for c in choices if isinstance(c, dict) and c.get("index") in (None, 0)), None)
        else:
            choice = None
        if isinstance(choice, dict):
            yield from self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> Iterator[TextEvent]:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            whole = choice.get("message")
            delta = whole if isinstance(whole, dict) and not self.spoke else choice
        found = False
        for name in ("content", "text", "refusal"):
            text = _text(delta.get(name))
            found = found or name in delta
            if text and self._characters < TEXT_MAX:
                self._characters += len(text)
                self.spoke = True
                yield Delta(text)
                break
        self._take_calls(delta)
        for reason in (choice.get("finish_reason"), choice.get("stop_reason"), delta.get("stop_reason")):
            if isinstance(reason, str) and reason:
                self._reason = reason
        self.began = self.began or found or bool(self._calls) or self.finished or "delta" in choice

    def _take_calls(self, delta: dict[str, Any]) -> None:
        pieces = delta.get("tool_calls")
        if not isinstance(pieces, list):
            old = delta.get("function_call")
            pieces = [{"index": 0, "function": old}] if isinstance(old, dict) else []
        for piece in pieces:
            if isinstance(piece, dict):
                self._take_call(piece)

    def _take_call(self, piece: dict[str, Any]) -> None:
        call_id, number = piece.get("id"), piece.get("index")
        if not isinstance(number, int):  # some leave it out: then an id that is new begins a call
            known = [n for n, call in self._calls.items() if call.call_id == call_id]
            last = max(self._calls, default=-1)
            number = known[0] if call_id and known else last + 1 if call_id or last < 0 else last
        if number not in self._calls and len(self._calls) >= CALLS_MAX:
            return
        call = self._calls.setdefault(number, _Call())
        if isinstance(call_id, str):
            call.call_id = call.call_id or call_id
        function = piece.get("function")
        if not isinstance(function, dict):
            return
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str):
            call.name = call.name or name
        if isinstance(arguments, dict):  # some write it as an object
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, str) and len(call.arguments) + len(arguments) <= ARGUMENTS_MAX:
            call.arguments += arguments

    def _count(self, told: object) -> None:
        """The latest that was told counts; Anthropic tells input and output apart."""
        usage = usage_of(self.turn, told)
        if usage is None:
            return
        before = self._usage or usage
        names = ("input_text", "input_audio", "cached_text", "cached_audio", "output_text", "output_audio")
        self._usage = Usage(self.turn, **{name: getattr(usage, name) or getattr(before, name) for name in names})
        self.has_usage = True


def is_error(told: dict[str, Any]) -> bool:
    """Whether an object is an error, nested or flat, and no piece of an answer."""
    if told.get("error") or told.get("type") == "error":
        return True
    parts = ("choices", "delta", "content", "response", "item")
    return isinstance(told.get("message"), str) and "code" in told and not any(name in told for name in parts)


def _object(data: str) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))
