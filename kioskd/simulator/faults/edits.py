"""Faults that change what the server says: an event left out, doubled, held back, split, or a whole answer remade.

An edit waits for an event that it can change, and then has every server event until it is over.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator.events import new_id
from kioskd.simulator.faults.phases import AUDIO_DELTAS
from kioskd.simulator.sound import encoded

Event = dict[str, Any]


class Edit(Protocol):
    """A change to the stream of server events."""

    over: bool

    def begins_at(self, event: Event) -> bool:
        """Whether this is the event that it has waited for."""

    def pass_on(self, event: Event) -> list[Event]:
        """What the client gets in place of this event; from the one where it begins on, until it is over."""


@define
class _Once:
    """Changes one event of these types; of any type if there are none."""

    kinds: frozenset[str]
    change: Callable[[Event], list[Event]]
    over: bool = field(default=False, init=False)

    def begins_at(self, event: Event) -> bool:
        return not self.kinds or event["type"] in self.kinds

    def pass_on(self, event: Event) -> list[Event]:
        self.over = True
        return self.change(event)


@define
class _Silence:
    """Nothing, ever again."""

    over: bool = field(default=False, init=False)

    def begins_at(self, event: Event) -> bool:
        return True

    def pass_on(self, event: Event) -> list[Event]:
        return []


@define
class _Late:
    """Holds an event of this type back until after the next one."""

    kind: str
    over: bool = field(default=False, init=False)
    _held: Event | None = field(default=None, init=False)

    def begins_at(self, event: Event) -> bool:
        return bool(event["type"] == self.kind)

    def pass_on(self, event: Event) -> list[Event]:
        if self._held is None:
            self._held = event
            return []
        self.over = True
        return [event, self._held]


@define
class _Cut:
    """Nothing more comes of the response; its `response.done` says why."""

    status: str
    reason: Event
    over: bool = field(default=False, init=False)
    _response: str | None = field(default=None, init=False)
    _items: set[str] = field(factory=set, init=False)
    _begun_with_nothing: bool = field(default=False, init=False)

    def begins_at(self, event: Event) -> bool:
        # Not at its end: it must lose something by it.
        return event["type"] == "response.created" or event["type"] in AUDIO_DELTAS

    def pass_on(self, event: Event) -> list[Event]:
        if self._response is None:
            self._begun_with_nothing = event["type"] == "response.created"
            self._response = _response_of(event)
            self._items |= {event["item_id"]} if "item_id" in event else set()
            return [event] if self._begun_with_nothing else []
        if event["type"] == "response.done" and _response_of(event) == self._response:
            self.over = True
            return [{**event, "response": self._ended(event["response"])}]
        item = event.get("item", {})
        if _response_of(event) == self._response:
            self._items |= {item["id"]} if item else set()
            return []
        return [] if item and item["id"] in self._items else [event]

    def _ended(self, response: Event) -> Event:
        output = [] if self._begun_with_nothing else [{**item, "status": "incomplete"} for item in response["output"]]
        details = {"type": self.status, **self.reason}
        usage = response["usage"] if self.status == "incomplete" else None
        return {**response, "status": self.status, "status_details": details, "output": output, "usage": usage}


@define
class _TextOnly:
    """The next answer as text: its words are kept, its sound is not."""

    dialect: Dialect
    over: bool = field(default=False, init=False)
    _response: str | None = field(default=None, init=False)
    _item: str | None = field(default=None, init=False)

    def begins_at(self, event: Event) -> bool:
        return bool(event["type"] == "response.content_part.added")

    def pass_on(self, event: Event) -> list[Event]:
        if self._response is None:
            self._response, self._item = event["response_id"], event["item_id"]
        item = event.get("item")
        if item and item["id"] == self._item:
            return [{**event, "item": self._remade(item)}]
        if _response_of(event) != self._response:
            return [event]
        if event["type"] == "response.done":
            self.over = True
            response = event["response"]
            output = [self._remade(item) for item in response["output"]]
            return [{**event, "response": {**response, "output": output}}]
        return self._of_answer(event)

    def _of_answer(self, event: Event) -> list[Event]:
        kind = event["type"]
        if "part" in event:
            return [{**event, "part": {"type": "text", "text": event["part"].get("transcript") or ""}}]
        if "audio_transcript" not in kind:
            return []
        renamed = "response.output_text" if self.dialect is Dialect.GA else "response.text"
        changed = {**event, "type": f"{renamed}.{kind.rpartition('.')[2]}"}
        if "transcript" in changed:
            changed["text"] = changed.pop("transcript")
        return [changed]

    def _remade(self, item: Event) -> Event:
        kind = "output_text" if self.dialect is Dialect.GA else "text"
        return {**item, "content": [{"type": kind, "text": part.get("transcript") or ""} for part in item["content"]]}


def edit_of(kind: str, dialect: Dialect) -> Edit | None:
    """The change that the fault of this name makes; None: it makes none."""
    make = _MAKERS.get(kind)
    return make(dialect) if make is not None else None


def _response_of(event: Event) -> str | None:
    response: str | None = event.get("response_id") or event.get("response", {}).get("id")
    return response


def _nothing(_event: Event) -> list[Event]:
    return []


def _twice(event: Event) -> list[Event]:
    return [event, event]


def _again(event: Event) -> list[Event]:
    return [event, {**event, "event_id": new_id("event")}]


def _bad_then_good(event: Event) -> list[Event]:
    return [{**event, "event_id": new_id("event"), "delta": "@@ not base64 @@"}, event]


def _split_oddly(event: Event) -> list[Event]:
    pcm = base64.b64decode(event["delta"])
    pieces = (pcm[:1], pcm[1:-1], pcm[1:][-1:])
    return [{**event, "event_id": new_id("event"), "delta": encoded(piece)} for piece in pieces if piece]


def _without_item(event: Event) -> list[Event]:
    return [{name: value for name, value in event.items() if name != "item_id"}]


def _failed(code: str, message: str) -> Event:
    return {"error": {"type": code, "code": code, "message": message}}


_DONE = frozenset({"response.done"})
_MAKERS: dict[str, Callable[[Dialect], Edit]] = {
    "bad-base64": lambda _: _Once(AUDIO_DELTAS, _bad_then_good),
    "odd-bytes": lambda _: _Once(AUDIO_DELTAS, _split_oddly),
    "duplicate-event": lambda _: _Once(frozenset(), _twice),
    "late-rate-limits": lambda _: _Late("rate_limits.updated"),
    "no-response-created": lambda _: _Once(frozenset({"response.created"}), _nothing),
    "no-response-done": lambda _: _Once(_DONE, _nothing),
    "second-response-done": lambda _: _Once(_DONE, _again),
    "update-unacknowledged": lambda _: _Once(frozenset({"session.updated"}), _nothing),
    "item-id-missing": lambda _: _Once(frozenset({"input_audio_buffer.committed"}), _without_item),
    "silent-upstream": lambda _: _Silence(),
    "text-only-answer": _TextOnly,
    "failed-rate-limit": lambda _: _Cut(
        "failed", _failed("rate_limit_exceeded", "Rate limit reached. Please try again in 2s.")
    ),
    "failed-server-error": lambda _: _Cut(
        "failed", _failed("server_error", "The server had an error while processing your request.")
    ),
    "incomplete-max-tokens": lambda _: _Cut("incomplete", {"reason": "max_output_tokens"}),
    "incomplete-content-filter": lambda _: _Cut("incomplete", {"reason": "content_filter"}),
}
