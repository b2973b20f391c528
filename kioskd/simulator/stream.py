"""An answer on its way to the client: the events of its one item, in bursts, faster than it is spoken."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator
from typing import Any

import trio
from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator.events import Outbox
from kioskd.simulator.items import Content, History, Item, Part
from kioskd.simulator.responses import Response
from kioskd.simulator.settings import Pace
from kioskd.simulator.sound import BYTES_PER_S, encoded
from kioskd.simulator.usage import of_output

# 4 to 8 KB as the real one's; two of them end inside a sample, which the real ones may, too.
DELTA_BYTES = (4801, 6143, 8192, 5120)
BURST = 4  # deltas that come together
LEAD_BYTES = BYTES_PER_S  # how far the transcript runs ahead of the sound


@define(eq=False)
class AnswerStream:
    """Sends `text`, and `pcm` if the response speaks. The item holds what has been sent, never more."""

    outbox: Outbox
    response: Response
    item: Item
    text: str
    pcm: bytes
    pace: Pace
    truncated: bool = field(default=False, init=False)  # the client has cut the item; what follows isn't kept in it
    said: str = field(default="", init=False)
    sent: int = field(default=0, init=False)
    _words: list[str] = field(init=False)
    _told: int = field(default=0, init=False)  # words
    _limited: bool = field(default=False, init=False)
    _sizes: Iterator[int] = field(factory=lambda: itertools.cycle(DELTA_BYTES), init=False)

    def __attrs_post_init__(self) -> None:
        self._words = re.findall(r"\S+\s*|^\s+", self.text)
        self._obey_limit()
        self.item.parts.append(Part(Content.AUDIO if self.response.speaks else Content.TEXT))

    @property
    def part(self) -> Part:
        """The item's one part."""
        return self.item.parts[0]

    @property
    def sound(self) -> bytes:
        """What has been sent."""
        return self.pcm[: self.sent]

    @property
    def sent_ms(self) -> int:
        """How long that is."""
        return self.sent * 1000 // BYTES_PER_S

    def open(self, history: History) -> None:
        """Announce the item."""
        self.response.output.append(self.item)
        self._put("response.output_item.added", item=self.item_so_far(empty=True), at_content=False)
        if self.response.conversation_id is not None:
            previous = history.add(self.item)
            shown = self.item_so_far(empty=True)
            self.outbox.put("conversation.item.added", previous_item_id=previous, item=shown)
        self._put("response.content_part.added", part=self._shown_part(""))

    async def run(self) -> None:
        """Send all of it. Cancelled at any await, it has sent what `sent` and `said` tell."""
        if not self.response.speaks:
            await self._tell_up_to(len(self._words))
            return
        began = trio.current_time()
        for number in itertools.count(1):
            await self._tell_up_to(self._due_words())
            if not self.send_delta():
                break
            if number % BURST == 0:
                await trio.sleep_until(began + self.sent / BYTES_PER_S / self.pace.speed)
            await self.outbox.room()
        await self._tell_up_to(len(self._words))

    def send_delta(self) -> bool:
        """One more piece of sound; False if there is none left."""
        piece = self.pcm[self.sent : self.sent + next(self._sizes)] if self.response.speaks else b""
        if not piece:
            return False
        self.sent += len(piece)
        if not self.truncated:
            self.part.pcm += piece
        self._put("response.output_audio.delta", delta=encoded(piece))
        return True

    def close(self, history: History, whole: bool) -> None:
        """Say that nothing more comes; `whole` unless it was cut by a cancel."""
        self.item.status = "completed" if whole and not self._limited else "incomplete"
        if self.response.speaks:
            self._put("response.output_audio.done")
            self._put("response.output_audio_transcript.done", transcript=self.said)
        else:
            self._put("response.output_text.done", text=self.said)
        self._put("response.content_part.done", part=self._shown_part(self.said))
        if self.item in history:
            previous = history.before(self.item)
            shown = self.item.rendered(self.outbox.dialect)
            self.outbox.put("conversation.item.done", previous_item_id=previous, item=shown)
        self._put("response.output_item.done", item=self.item.rendered(self.outbox.dialect), at_content=False)

    @property
    def limited(self) -> bool:
        """Whether the response's token limit has cut it."""
        return self._limited

    def item_so_far(self, empty: bool) -> dict[str, Any]:
        """The item's JSON; `empty` before its first part."""
        shown = self.item.rendered(self.outbox.dialect)
        return {**shown, "content": []} if empty else shown

    def _obey_limit(self) -> None:
        limit = self.response.max_tokens
        cost = of_output(self.text, len(self.pcm) * 1000 // BYTES_PER_S).total
        if limit is None or cost <= limit:
            return
        self._limited = True
        self._words = self._words[: len(self._words) * limit // cost]
        self.pcm = self.pcm[: len(self.pcm) * limit // cost // 2 * 2]

    def _due_words(self) -> int:
        return min(len(self._words), -(-len(self._words) * (self.sent + LEAD_BYTES) // max(1, len(self.pcm))))

    async def _tell_up_to(self, count: int) -> None:
        kind = "response.output_audio_transcript.delta" if self.response.speaks else "response.output_text.delta"
        while self._told < count:
            await self.outbox.room()
            word = self._words[self._told]
            self._told += 1
            self.said += word
            if not self.truncated:
                self.part.text = self.said
            if self.outbox.dialect is Dialect.GA:  # pads the text against listeners who count bytes
                self._put(kind, delta=word, obfuscation=secrets.token_hex(4))
            else:
                self._put(kind, delta=word)

    def _shown_part(self, text: str) -> dict[str, Any]:
        if self.response.speaks:
            return {"type": "audio", "transcript": text}
        return {"type": "text", "text": text}

    def _put(self, kind: str, at_content: bool = True, **fields: Any) -> None:
        where: dict[str, Any] = {"response_id": self.response.id, "output_index": 0}
        if at_content:
            where |= {"item_id": self.item.id, "content_index": 0}
        self.outbox.put(kind, **where, **fields)
