"""A Responses answer as its events, from response.created to its end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field

from kioskd.simulator.events import new_id
from kioskd.simulator.text.answer import Answer, End
from kioskd.simulator.text.frames import Frame, Place
from kioskd.simulator.text.responses_request import ResponsesRequest

_REASONS = {End.LENGTH: "max_output_tokens", End.FILTER: "content_filter"}


@define
class ResponseEvents:
    """Renders one answer; `answer` None where none was wanted. `clock` is Unix time."""

    request: ResponsesRequest
    answer: Answer | None
    clock: Callable[[], float] = time.time
    id: str = field(factory=lambda: new_id("resp"), init=False)
    item_id: str = field(init=False)
    call_id: str = field(factory=lambda: new_id("call"), init=False)
    said: str = field(default="", init=False)  # what was sent of the text or the arguments
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)
    _created: int = field(init=False)
    _opened: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.item_id = new_id("fc" if self.answer is not None and self.answer.call else "msg")
        self._created = int(self.clock())

    def frames(self) -> Iterator[Frame]:
        """All events; each is made when it is asked for, and then counts as sent."""
        yield self._frame("response.created", Place.OPENING, response=self._response("in_progress"))
        yield self._frame("response.in_progress", Place.OPENING, response=self._response("in_progress"))
        if self.answer is None:
            yield self._frame("response.completed", Place.FINISH, response=self._response("completed"))
            return
        yield from self._open()
        is_call = self.answer.call is not None
        for piece in self.answer.arguments if is_call else self.answer.words:
            self.said += piece
            if is_call:
                yield self._at("response.function_call_arguments.delta", Place.PIECE, delta=piece)
            else:
                where = {"content_index": 0, "logprobs": []}
                yield self._at("response.output_text.delta", Place.PIECE, delta=piece, **where)
        yield from self.last_frames(self.answer.end)

    def last_frames(self, end: End) -> Iterator[Frame]:
        """The events that end the answer."""
        cut = end in _REASONS
        if self._opened:
            yield from self._close("incomplete" if cut else "completed")
        status = "incomplete" if cut else "completed"
        shown = self._response(status)
        if cut:
            shown["incomplete_details"] = {"reason": _REASONS[end]}
        yield self._frame(f"response.{status}", Place.FINISH, response=shown)

    def failed(self, code: str, message: str) -> dict[str, Any]:
        """`response.failed`, in place of the rest."""
        shown = {**self._response("failed"), "error": {"code": code, "message": message}}
        return self._frame("response.failed", Place.FINISH, response=shown).body

    def numbered(self, **fields: Any) -> dict[str, Any]:
        """An event with the next number."""
        return {**fields, "sequence_number": next(self._numbers)}

    def _open(self) -> Iterator[Frame]:
        assert self.answer is not None
        self._opened = True
        shown = self._item("in_progress")
        yield self._frame("response.output_item.added", Place.OPENING, output_index=0, item=shown)
        if self.answer.call is None:
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._at("response.content_part.added", Place.OPENING, content_index=0, part=part)

    def _close(self, status: str) -> Iterator[Frame]:
        assert self.answer is not None
        if self.answer.call is None:
            yield self._at("response.output_text.done", Place.PIECE, content_index=0, text=self.said, logprobs=[])
            yield self._at("response.content_part.done", Place.PIECE, content_index=0, part=self._part())
        else:
            yield self._at("response.function_call_arguments.done", Place.PIECE, arguments=self.said)
        yield self._frame("response.output_item.done", Place.PIECE, output_index=0, item=self._item(status))

    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self.said, "annotations": [], "logprobs": []}

    def _item(self, status: str) -> dict[str, Any]:
        assert self.answer is not None
        if (call := self.answer.call) is not None:
            told = {"call_id": self.call_id, "name": call.name, "arguments": self.said}
            return {"id": self.item_id, "type": "function_call", "status": status, **told}
        content = [] if status == "in_progress" else [self._part()]
        return {"id": self.item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _at(self, kind: str, place: Place, **fields: Any) -> Frame:
        return self._frame(kind, place, item_id=self.item_id, output_index=0, **fields)

    def _frame(self, kind: str, place: Place, **fields: Any) -> Frame:
        return Frame(self.numbered(type=kind, **fields), place)

    def _response(self, status: str) -> dict[str, Any]:
        asked = self.request.fields
        over = status != "in_progress"
        text = asked.get("text", {})
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(self.clock()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "max_tool_calls": None,
            "model": asked["model"],
            "output": [self._item(status)] if over and self._opened and status != "failed" else [],
            "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
            "previous_response_id": self.request.previous,
            "prompt_cache_key": asked.get("prompt_cache_key"),
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": asked.get("safety_identifier"),
            "service_tier": "default",
            "temperature": asked.get("temperature") if asked.get("temperature") is not None else 1.0,
            "text": {"format": text.get("format", {"type": "text"}), "verbosity": text.get("verbosity", "medium")},
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": [_tool(each) for each in asked.get("tools", [])],
            "top_logprobs": 0,
            "top_p": asked.get("top_p") if asked.get("top_p") is not None else 1.0,
            "truncation": asked.get("truncation") or "disabled",
            "usage": self._usage() if over and status != "failed" else None,
            "user": asked.get("user"),
            "metadata": asked.get("metadata") or {},
        }

    def _usage(self) -> dict[str, Any]:
        read = self.answer.read.total if self.answer is not None else 0
        said = self.answer.said.total if self.answer is not None else 0
        cached = self.answer.cached if self.answer is not None else 0
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + said,
        }


def _tool(given: dict[str, Any]) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": True, **given}
