"""The conversation's items: what clients may create, what the server keeps, and how both dialects show it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import trio
from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator import schema
from kioskd.simulator.brain import Understanding
from kioskd.simulator.errors import ClientError, duplicate_item, unknown_item, unknown_previous_item
from kioskd.simulator.schema import anything, array, mapping, nullable, one_of, tagged
from kioskd.simulator.sound import BYTES_PER_MS, decoded, encoded

MAX_ID_CHARS = 32
MAX_ITEMS = 4096  # the real one forgets the oldest by tokens; a kiosk's conversation is shorter than any of its limits
BEFORE_ALL = "root"  # the value of previous_item_id that puts an item first


class Content(Enum):
    """What a part of a message is; `input_*` is the user's."""

    INPUT_TEXT = "input_text"
    INPUT_AUDIO = "input_audio"
    TEXT = "output_text"
    AUDIO = "output_audio"


_BETA_NAMES = {Content.TEXT: "text", Content.AUDIO: "audio"}


@define(eq=False)
class Hearing:
    """The attempt to understand a turn: begun at its commit, awaited by the answer."""

    done: trio.Event = field(factory=trio.Event)
    said: Understanding | None = None
    failure: str = ""


@define(eq=False)
class Part:
    """A part of a message. Spoken parts have `pcm`; their `text` is the transcript, None while there is none."""

    content: Content
    text: str | None = None
    pcm: bytearray = field(factory=bytearray)
    hearing: Hearing | None = None

    @property
    def is_audio(self) -> bool:
        """Whether it is spoken."""
        return self.content in (Content.INPUT_AUDIO, Content.AUDIO)

    @property
    def duration_ms(self) -> int:
        """How long its sound is."""
        return len(self.pcm) // BYTES_PER_MS


@define(eq=False)
class Item:
    """One item. `fields` are those of a function call or its output, as the client sent them."""

    id: str
    kind: str = "message"
    role: str = "user"
    status: str = "completed"
    parts: list[Part] = field(factory=list)
    fields: dict[str, Any] = field(factory=dict)

    def rendered(self, dialect: Dialect, with_audio: bool = False) -> dict[str, Any]:
        """The JSON of the item; its sound only where it was asked for (`conversation.item.retrieve`)."""
        common = {"id": self.id, "object": "realtime.item", "type": self.kind, "status": self.status}
        if self.kind != "message":
            return {**common, **self.fields}
        content = [_rendered(part, dialect, with_audio) for part in self.parts]
        return {**common, "role": self.role, "content": content}


def _rendered(part: Part, dialect: Dialect, with_audio: bool) -> dict[str, Any]:
    kind = part.content.value if dialect is Dialect.GA else _BETA_NAMES.get(part.content, part.content.value)
    if not part.is_audio:
        return {"type": kind, "text": part.text or ""}
    rendered: dict[str, Any] = {"type": kind, "transcript": part.text}
    if with_audio:
        rendered["audio"] = encoded(bytes(part.pcm))
    return rendered


@define
class History:
    """The items in their order."""

    _items: list[Item] = field(factory=list, init=False)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._items

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self._items[-1].id if self._items else None

    def before(self, item: Item) -> str | None:
        """The id of the item before this one."""
        place = self._items.index(item)
        return self._items[place - 1].id if place else None

    def add(self, item: Item, previous: str | None = None) -> str | None:
        """Put the item behind `previous` (None: last, "root": first); the id of the item before it.

        Raises `ClientError`: no such previous item, the id exists, or too many items.
        """
        if any(other.id == item.id for other in self._items):
            raise duplicate_item(item.id)
        if len(self._items) >= MAX_ITEMS:
            raise ClientError(f"The conversation is full: it has {MAX_ITEMS} items.", "conversation_full")
        place = self._place(previous)
        self._items.insert(place, item)
        return self._items[place - 1].id if place else None

    def get(self, item_id: str, action: str) -> Item:
        """The item. Raises `ClientError` in the words of `action`: truncate, delete or retrieve."""
        for item in self._items:
            if item.id == item_id:
                return item
        raise unknown_item(action, item_id)

    def remove(self, item_id: str) -> None:
        """Forget the item. Raises `ClientError`: no such item."""
        self._items.remove(self.get(item_id, "delete"))

    def _place(self, previous: str | None) -> int:
        if previous is None:
            return len(self._items)
        if previous == BEFORE_ALL:
            return 0
        for index, item in enumerate(self._items):
            if item.id == previous:
                return index + 1
        raise unknown_previous_item(previous)


def _contents(kinds: dict[str, schema.Check]) -> schema.Check:
    return array(tagged("type", kinds), low=1)


def _message(dialect: Dialect) -> schema.Check:
    text = schema.text()
    reply = "output_text" if dialect is Dialect.GA else "text"
    typed = mapping({"type": anything, "text": text}, required=("text",))
    spoken = mapping({"type": anything, "audio": text, "transcript": nullable(text)}, required=("audio",))
    common = {"id": nullable(schema.text(MAX_ID_CHARS)), "type": anything, "role": anything, "object": anything}
    common["status"] = one_of("completed", "incomplete", "in_progress")

    def of(kinds: dict[str, schema.Check]) -> schema.Check:
        return mapping({**common, "content": _contents(kinds)}, required=("content",))

    roles = {
        "system": of({"input_text": typed}),
        "user": of({"input_text": typed, "input_audio": spoken}),
        "assistant": of({reply: typed}),  # no audio: the server alone can make a voice's items
    }
    return tagged("role", roles)


def _checks(dialect: Dialect) -> schema.Check:
    text = schema.text()
    common = {"id": nullable(schema.text(MAX_ID_CHARS)), "type": anything, "object": anything, "status": anything}
    return tagged(
        "type",
        {
            "message": _message(dialect),
            "function_call": mapping(
                {**common, "call_id": text, "name": text, "arguments": text}, required=("name", "arguments")
            ),
            "function_call_output": mapping(
                {**common, "call_id": text, "output": text}, required=("call_id", "output")
            ),
        },
    )


_CHECKS = {dialect: _checks(dialect) for dialect in Dialect}
_FROM_NAME = {**{content.value: content for content in Content}, "text": Content.TEXT}


def item_from(given: dict[str, Any], dialect: Dialect, item_id: str, path: str = "item") -> Item:
    """The item that a client describes; `item_id` is its id where the client gives none. Raises `ClientError`."""
    _CHECKS[dialect](given, path)
    item = Item(id=given.get("id") or item_id, kind=given["type"], status=given.get("status", "completed"))
    if item.kind != "message":
        item.fields = {name: given[name] for name in ("call_id", "name", "arguments", "output") if name in given}
        return item
    item.role = given["role"]
    for index, content in enumerate(given["content"]):
        part = Part(_FROM_NAME[content["type"]], text=content.get("text", content.get("transcript")))
        if part.is_audio:
            part.pcm += decoded(content["audio"], f"{path}.content[{index}].audio")
        item.parts.append(part)
    return item
