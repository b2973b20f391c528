"""A Realtime server in one object, without clock or socket. Its vocabulary is its own: see REALTIME.md."""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from kioskd.chaos import marks
from kioskd.config.schema import Dialect

COMMIT_BYTES_MIN = 100 * marks.BYTES_PER_MS
NOBODY = 9999  # whose sound an answer has that nobody asked for
GA = ("response.output_audio", "conversation.item.added")
BETA = ("response.audio", "conversation.item.created")
_TURN_IN_TEXT = re.compile(r"\b[qa](\d+)\b")


def answer_ms(turn: int, part: int) -> int:
    """How long the answer to a turn's question is, or a continuation of it."""
    return 150 + 70 * ((turn + part) % 5)


@frozen
class Manners:
    """What a server does its own way."""

    dialect: Dialect = Dialect.GA
    names_responses: bool = True  # sends response.created
    echoes: bool = True  # our metadata, and the event_id that an error is about
    acknowledges: bool = True  # session.update
    names_questions: bool = True  # item_id in committed
    transcribes: bool = True
    takes_turns: bool = False  # answers each question by itself, whatever turn_detection says


@define(eq=False)
class Item:
    """One item of the conversation; sound in bytes. `known_ms`: how much of it the server believes was heard."""

    turn: int
    role: str
    size: int = 0
    truncated_ms: int | None = None
    deleted: bool = False
    text: str = ""

    @property
    def known_ms(self) -> int:
        if self.deleted:
            return 0
        return self.size // marks.BYTES_PER_MS if self.truncated_ms is None else self.truncated_ms


@define(eq=False)
class Reply:
    """A response. `asked_as`: the turn whose create asked for it; None if it began by itself."""

    reply_id: str
    item_id: str
    asked_as: int | None
    turn: int
    part: int
    sound: bytes
    sent: int = 0
    begun: bool = False
    cancelled: bool = False
    over: bool = False


@frozen
class Heard:
    """A question was committed. `sent` is the moment its commit was sent at; `known` are the turns of other items."""

    session: int
    sound: bytes
    sent: int
    known: frozenset[int]


@define(eq=False)
class ModelServer:
    """One session. `take` what the client sends; what the server says is in `out`."""

    session: int
    manners: Manners
    next_part: Callable[[int], int]  # of a turn's answer: the first that has not sounded
    on_heard: Callable[[Heard], bool]  # -> whether it is still wanted
    out: deque[str] = field(factory=deque)
    items: dict[str, Item] = field(factory=dict)
    replies: list[Reply] = field(factory=list)
    active: Reply | None = None
    trusted: bool = True  # until it breaks its promises: then a turn may end without an answer
    has_echoed: bool = False
    shortened: set[int] = field(factory=set)  # turns whose answer it ended early by its own limit
    _buffer: bytes = b""
    _events: int = 0

    def say(self, kind: str, **fields: Any) -> None:
        self._events += 1
        self.out.append(json.dumps({"type": kind, "event_id": f"event_{self._events}", **fields}))

    def complain(self, code: str, cause: str | None = None) -> None:
        echo = cause if self.manners.echoes else None
        self.say("error", error={"type": "invalid_request_error", "code": code, "message": code, "event_id": echo})

    def known(self) -> frozenset[int]:
        """The turns that it knows anything of."""
        return frozenset(item.turn for item in self.items.values() if not item.deleted and item.turn not in (0, NOBODY))

    def take(self, text: str, sent: int) -> None:
        """One event of the client."""
        event = json.loads(text)
        cause = event.get("event_id")
        match event["type"]:
            case "session.update":
                if self.manners.acknowledges:
                    self.say("session.updated", session={})
            case "input_audio_buffer.append":
                self._buffer += base64.b64decode(event["audio"])
            case "input_audio_buffer.clear":
                self._buffer = b""
            case "input_audio_buffer.commit":
                self._commit(sent, cause)
            case "response.create":
                self._create(int(event["response"]["metadata"]["turn"]), cause)
            case "response.cancel":
                if self.active is None or event.get("response_id", self.active.reply_id) != self.active.reply_id:
                    self.complain("response_cancel_not_active")
                else:
                    self.active.cancelled = True
            case "conversation.item.truncate":
                item = self.items[event["item_id"]]
                assert event["audio_end_ms"] * marks.BYTES_PER_MS <= item.size, "truncated beyond its sound"
                item.truncated_ms = event["audio_end_ms"]
            case "conversation.item.delete":
                self.items[event["item_id"]].deleted = True
            case "conversation.item.create":
                self._add(event["item"])
            case other:
                raise AssertionError(f"no such client event: {other}")

    def _commit(self, sent: int, cause: str | None) -> None:
        sound, self._buffer = self._buffer, b""
        if len(sound) < COMMIT_BYTES_MIN:
            self.complain("input_audio_buffer_commit_empty", cause)
            return
        wanted = self.on_heard(Heard(self.session, sound, sent, self.known()))
        item_id = f"item_{len(self.items)}"
        turn = marks.owner(sound) or 0
        self.items[item_id] = Item(turn, "user")
        self.say("input_audio_buffer.committed", **({"item_id": item_id} if self.manners.names_questions else {}))
        self.say(self._names[1], item={"id": item_id, "type": "message", "role": "user"})
        if self.manners.transcribes:
            kind = "conversation.item.input_audio_transcription.completed"
            self.say(kind, item_id=item_id, transcript=f"q{turn}")
        # An answer to a question that was taken back before its create can't be told from the answer to the next.
        if self.manners.takes_turns and self.active is None and wanted:
            self._begin(None, turn, 0)
            self.trusted = False

    def _add(self, item: dict[str, Any]) -> None:
        content = item["content"][0]
        text = content.get("text", "")
        found = _TURN_IN_TEXT.findall(text)
        turn = int(found[0]) if found else marks.owner(base64.b64decode(content.get("audio", ""))) or 0
        self.items[f"item_{len(self.items)}"] = Item(turn, item["role"], text=text)

    def _create(self, asked_as: int, cause: str | None) -> None:
        if self.active is not None:
            self.trusted = False
            self.complain("conversation_already_has_active_response", cause)
            return
        questions = [item.turn for item in self.items.values() if item.role == "user"] or [NOBODY]
        if questions[-1]:
            self._begin(asked_as, questions[-1], 0)
        else:  # "Continue.": with the latest turn that it knows of
            turn = max(self.known(), default=0)
            self._begin(asked_as, turn, self.next_part(turn))

    def _begin(self, asked_as: int | None, turn: int, part: int) -> None:
        number = len(self.replies)
        sound = marks.marked(turn, part, 0, answer_ms(turn, part))
        self.active = Reply(f"resp_{number}", f"answer_{number}", asked_as, turn, part, sound)
        self.replies.append(self.active)

    @property
    def _names(self) -> tuple[str, str]:
        return BETA if self.manners.dialect is Dialect.BETA else GA

    def answer_unasked(self) -> None:
        """Begin an answer to nothing."""
        self.trusted = False
        self._begin(None, NOBODY, 0)
        self.speak(0, 0)

    def speak(self, pieces: int, size: int) -> None:
        """So many pieces of the active answer, of `size` bytes; after the last of its sound its end."""
        reply = self.active
        if reply is None:
            return
        if not reply.begun:
            reply.begun = True
            if self.manners.names_responses:
                self.say("response.created", response=self._response(reply, "in_progress"))
            self.items[reply.item_id] = Item(reply.turn, "assistant")
            self.say("response.output_item.added", response_id=reply.reply_id, item={"id": reply.item_id})
            self._about(reply, "_transcript.delta", delta=f"a{reply.turn} and so on ")
        for _ in range(pieces):
            if reply.sent < len(reply.sound):
                piece = reply.sound[reply.sent : reply.sent + size]
                reply.sent += len(piece)
                self.items[reply.item_id].size += len(piece)
                self._about(reply, ".delta", content_index=0, delta=base64.b64encode(piece).decode())
        if reply.cancelled:
            self.end("cancelled")
        elif reply.sent == len(reply.sound):
            self._about(reply, "_transcript.done", transcript=f"a{reply.turn} and so on, in {reply.sent} bytes")
            self.end("completed")

    def end(self, status: str) -> None:
        """`response.done` of the active answer."""
        reply, self.active = self.active, None
        if reply is not None:
            reply.over = True
            if status == "incomplete" and reply.asked_as is not None:
                self.shortened.add(reply.asked_as)
            self.say("response.done", response=self._response(reply, status))

    def say_late(self) -> None:
        """More of an answer that is over."""
        reply = next((reply for reply in reversed(self.replies) if reply.over and reply.begun), None)
        if reply is not None:
            late = marks.marked(reply.turn, reply.part, answer_ms(reply.turn, reply.part), 20)
            self._about(reply, ".delta", content_index=0, delta=base64.b64encode(late).decode())

    def _about(self, reply: Reply, kind: str, **fields: Any) -> None:
        self.say(self._names[0] + kind, response_id=reply.reply_id, item_id=reply.item_id, **fields)

    def _response(self, reply: Reply, status: str) -> dict[str, Any]:
        response: dict[str, Any] = {"id": reply.reply_id, "status": status}
        if self.manners.echoes and reply.asked_as is not None:
            self.has_echoed = self.has_echoed or self.manners.names_responses
            response["metadata"] = {"turn": str(reply.asked_as)}
        if status == "failed":
            response["status_details"] = {"error": {"type": "server_error", "code": "x", "message": "it broke"}}
        return response
