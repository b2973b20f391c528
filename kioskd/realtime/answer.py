"""One response of the server, and the arithmetic of what was heard of it."""

from __future__ import annotations

from attrs import define, field

from kioskd.realtime import codec
from kioskd.realtime.wire import AudioDelta, FunctionCall

CALLS_MAX = 16  # of tools, in one response; a model that wants more is out of its mind
ITEMS_MAX = 64  # one answer has one or two items; beyond this its later items are played but never touched


@define(eq=False, repr=False)
class SpokenItem:
    """The sound of one item of an answer."""

    item_id: str
    content_index: int = 0
    received: int = 0  # bytes
    complete: bool = False  # nothing more of it comes


@define(eq=False, repr=False)
class Answer:
    """A response from its create to its done. `turn` is None for one that nobody asked."""

    turn: int | None
    response_id: str | None = None
    begun: bool = False  # the server has named it, or sent something of it
    wanted: bool = True
    cancel_sent: bool = False
    retried: bool = False
    complete: bool = False  # all of it has come: what was heard to its end needs no truncate (it wipes the transcript)
    received: int = 0  # bytes of sound passed on
    transcribed: set[str | None] = field(factory=set)
    rounds: int = 1  # so many responses were asked for in this turn: one more after each that called tools
    calls: dict[str, FunctionCall] = field(factory=dict)  # by call id
    results: dict[str, str] = field(factory=dict)
    _items: dict[str, SpokenItem] = field(factory=dict)
    _settled: set[str] = field(factory=set)
    _carry: bytes = b""

    def add_item(self, item_id: str | None) -> SpokenItem | None:
        """Know an item of this answer; None where the server doesn't name it, or names too many."""
        if item_id is None:
            return None
        item = self._items.get(item_id)
        if item is None and len(self._items) < ITEMS_MAX:
            item = self._items[item_id] = SpokenItem(item_id)
        return item

    def take(self, delta: AudioDelta) -> bytes:
        """The whole samples of a delta; an odd byte is carried over to the next."""
        pcm = self._carry + delta.pcm
        whole = len(pcm) & ~1
        self._carry = pcm[whole:]
        self.received += whole
        item = self.add_item(delta.item_id)
        if item is not None:
            item.received += whole
            item.content_index = delta.content_index
        return pcm[:whole]

    def add_call(self, call: FunctionCall) -> None:
        """The model wants a tool; said twice (in an event of its own, and at the end) it counts once."""
        self.add_item(call.item_id)
        if len(self.calls) < CALLS_MAX:
            self.calls.setdefault(call.call_id, call)

    def go_on(self) -> list[str]:
        """The client events that give the results to the server. What follows is another response of this answer."""
        for call in self.calls.values():  # a call that was made stays in the conversation, whatever is heard
            if call.item_id is not None:
                self._settled.add(call.item_id)
        for item in self._items.values():
            item.complete = True
        texts = [codec.function_output(call_id, output) for call_id, output in self.results.items()]
        self.calls, self.results, self._carry = {}, {}, b""
        self.response_id, self.begun, self.complete, self.retried = None, False, False, False
        self.rounds += 1
        return texts

    def settle(self, heard_ms: int) -> list[str]:
        """The client events that leave the server with what was heard: each item stays, is truncated, or is deleted."""
        left = min(max(0, heard_ms) * codec.BYTES_PER_MS, self.received)
        texts = []
        for item in self._items.values():
            if item.item_id in self._settled:
                continue
            self._settled.add(item.item_id)
            heard = min(left, item.received)
            left -= heard
            if heard // codec.BYTES_PER_MS == 0:
                texts.append(codec.delete(item.item_id))
            elif heard < item.received or not (self.complete or item.complete):
                texts.append(codec.truncate(item.item_id, item.content_index, heard // codec.BYTES_PER_MS))
        return texts
