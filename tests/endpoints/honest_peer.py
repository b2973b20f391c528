"""A Realtime server by the book over memory streams, in GA or beta. It refuses what a provider refuses.

Its vocabulary is written down here by itself (REALTIME.md), so that a mistake of the client's codec can't cancel out.
"""

import base64
import json
import math
from contextlib import asynccontextmanager

import trio
import trio.testing
from attrs import define, field
from trio_websocket import ConnectionClosed, wrap_server_stream

from kioskd.config.schema import Dialect
from kioskd.endpoints.dial import MAX_MESSAGE_BYTES, REFUSAL_BYTES, DialError
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.websocket import WebSocket

BYTES_PER_MS = 48
COMMIT_BYTES_MIN = 100 * BYTES_PER_MS
PIECE_BYTES = 100 * BYTES_PER_MS

GA_NAMES = {"audio": "response.output_audio", "item": "conversation.item.added", "content": "output_audio"}
BETA_NAMES = {"audio": "response.audio", "item": "conversation.item.created", "content": "audio"}
CONTINUE = "Continue."
NO_CONNECTION = Failure(Kind.CONNECT, "127.0.0.1:1: no connection (Connection refused)")
ONE_AT_A_TIME = Failure(Kind.UPGRADE, "refuses with HTTP 429: one connection at a time", status=429)
BAD_KEY = Failure(Kind.UPGRADE, "refuses with HTTP 401", status=401)


class Refused(Exception):  # noqa: N818
    """What the client sent brings an `error` event."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


@define(eq=False)
class Item:
    """One item of a conversation. `known_ms`: how much of an answer the server believes was heard."""

    item_id: str
    role: str
    pcm: bytes = b""
    known_ms: int | None = None
    text: str = ""
    asked: bool = False  # not replayed


@define(eq=False)
class Conversation:
    """A session: one connection. `asked`: the sound of each question that an answer was asked for; `continued`: how
    often the rest of an answer was.

    `refusals` are the texts of the errors that the client brought about; `deleted` are ids of items.
    """

    number: int
    items: dict[str, Item] = field(factory=dict)
    asked: list[bytes] = field(factory=list)
    refusals: list[str] = field(factory=list)
    deleted: list[str] = field(factory=list)
    changes: list[dict] = field(factory=list)  # of the session's settings, once it was ready
    closed_with: int | None = None
    continued: int = 0
    appended: int = 0  # bytes of sound, committed or not
    socket: object = None

    @property
    def replayed(self):
        """What it began with: role and text (or sound) of each item before its first question."""
        first = next((number for number, item in enumerate(self.items.values()) if item.asked), len(self.items))
        return [(item.role, item.text or item.pcm) for item in list(self.items.values())[:first]]


@define(eq=False)
class HonestPeer:
    """Give its `dial` to a RealtimeEndpoint. `answer`: pcm by question, in pieces of 100 ms, one every `pace_s`.

    Each piece has its word, "w0" and so on. `dials`: when each was tried; `open`, `most_open`: connections at a time.
    """

    dialect: Dialect
    answer: object
    think_s: float = 0.1
    pace_s: float = 0.02
    greet_s: float = 0.01  # long enough for a client that talks before it is greeted to be caught
    up: bool = True
    refusal: Failure = NO_CONNECTION  # while it is not up
    refuse_s: float = 0.0  # it takes so long
    key: str | None = None  # the only one that it takes
    single: bool = False  # a second connection is refused
    limit_s: float = math.inf  # of a session: then `session_expired`, and a close
    holds_s: float = math.inf  # a connection: then it breaks off
    transcribes: bool = False  # what visitors say
    refuses_changes: bool = False  # of a session that is ready
    conversations: list[Conversation] = field(factory=list)
    dials: list[float] = field(factory=list)
    open: int = 0
    most_open: int = 0
    _streams: list = field(factory=list)
    _written: dict[str, bytes] = field(factory=dict)  # sound by its transcript

    @asynccontextmanager
    async def dial(self, settings, headers, url):
        self.dials.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.key is not None and (b"Authorization", f"Bearer {self.key}".encode()) not in headers:
            raise DialError(BAD_KEY)
        if self.single and self.open:
            raise DialError(ONE_AT_A_TIME)
        if not self.up:
            refusal = self.refusal
            await trio.sleep(self.refuse_s)
            raise DialError(refusal)
        assert ((b"OpenAI-Beta", b"realtime=v1") in headers) == (self.dialect is Dialect.BETA)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            async with self._connect(settings, headers, url) as socket:
                yield socket
        finally:
            self.open -= 1

    @asynccontextmanager
    async def _connect(self, settings, headers, url):
        near, far = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, far)
            socket = WebSocket(near, MAX_MESSAGE_BYTES)
            await socket.open("127.0.0.1", url, list(headers), REFUSAL_BYTES)
            try:
                yield socket
            finally:
                with trio.move_on_after(settings.close_timeout_s, shield=True):
                    await socket.aclose()
                nursery.cancel_scope.cancel()

    async def go_down(self, refusal=NO_CONNECTION):
        """Break every connection without a close frame, and refuse new ones."""
        self.up, self.refusal = False, refusal
        await self.drop()

    async def drop(self):
        """Break every connection without a close frame."""
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    def transcript(self, pcm):
        """What a question's sound is in words."""
        text = f"question {pcm[:8].hex()}"
        self._written[text] = pcm
        return text

    def rest(self, items):
        """What an answer that was cut still lacks: its words, replayed or its own, tell how far it came."""
        questions = [number for number, item in enumerate(items) if item.role == "user" and item.text != CONTINUE]
        if not questions or not any(item.role == "assistant" for item in items):
            return b""
        question, *answers = items[questions[-1] :]
        said = " ".join(item.text for item in answers if item.role == "assistant")
        words = [word for word in said.split() if word[:1] == "w" and word[1:].isdigit()]
        return self.answer(question.pcm or self._written[question.text])[len(words) * PIECE_BYTES :]

    async def _expire(self, conversation):
        await trio.sleep(self.limit_s)
        error = {"type": "invalid_request_error", "code": "session_expired", "message": "Your session hit its limit."}
        try:
            await conversation.socket.send_message(json.dumps({"type": "error", "event_id": "x", "error": error}))
            await conversation.socket.aclose(1001, "expired")
        except ConnectionClosed:
            pass

    async def _break_off(self, stream):
        await trio.sleep(self.holds_s)
        await trio.aclose_forcefully(stream)

    async def _serve(self, stream):
        self._streams.append(stream)
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream, max_message_size=2**25)
            socket = await request.accept()
            conversation = Conversation(len(self.conversations) + 1)
            conversation.socket = socket
            self.conversations.append(conversation)
            if self.limit_s < math.inf:
                nursery.start_soon(self._expire, conversation)
            if self.holds_s < math.inf:
                nursery.start_soon(self._break_off, stream)
            try:
                await Server(self, conversation, socket, nursery).talk()
            except ConnectionClosed as closed:
                conversation.closed_with = closed.reason.code
                nursery.cancel_scope.cancel()
            finally:
                self._streams.remove(stream)


@define(eq=False)
class Server:
    """One session's state at the server."""

    peer: HonestPeer
    conversation: Conversation
    socket: object
    nursery: trio.Nursery
    buffer: bytearray = field(factory=bytearray)
    ready: bool = False
    active: str | None = None  # the id of the response that is being given
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _ids: int = 0

    @property
    def names(self):
        return BETA_NAMES if self.peer.dialect is Dialect.BETA else GA_NAMES

    def new_id(self, kind):
        self._ids += 1
        return f"{kind}_{self.conversation.number}_{self._ids}"

    async def send(self, kind, **fields):
        await self.socket.send_message(json.dumps({"type": kind, "event_id": self.new_id("event"), **fields}))

    async def talk(self):
        await trio.sleep(self.peer.greet_s)
        await self.send("session.created", session={"id": self.new_id("sess"), "turn_detection": {"type": "vad"}})
        while True:
            event = json.loads(await self.socket.get_message())
            handler = HANDLERS.get(event["type"])
            try:
                if handler is None:
                    raise Refused("unknown_event", f"unknown type {event['type']}")
                if not self.ready and event["type"] != "session.update":
                    raise Refused("too_early", f"{event['type']} before session.updated")
                await handler(self, event)
            except Refused as refused:
                self.conversation.refusals.append(str(refused))
                error = {"type": "invalid_request_error", "code": refused.code, "message": str(refused)}
                await self.send("error", error={**error, "event_id": event.get("event_id")})

    async def update(self, event):
        session = event["session"]
        if self.ready:
            await self.change(session)
            return
        if self.peer.dialect is Dialect.BETA:
            where, shaped = session, session["input_audio_format"] == "pcm16" and "type" not in session
        else:
            where = session["audio"]["input"]
            shaped = session["type"] == "realtime" and where["format"] == {"type": "audio/pcm", "rate": 24000}
        if not shaped or where.get("turn_detection", "absent") is not None:
            raise Refused("invalid_session", "the session is not shaped for push-to-talk in this dialect")
        self.ready = True
        await self.send("session.updated", session=session)

    async def change(self, session):
        """What is left out stays as it is."""
        beta = self.peer.dialect is Dialect.BETA
        where = session if beta else session["audio"].get("input", {})
        if where.get("turn_detection", "absent") is not None or ("type" in session) is beta:
            raise Refused("invalid_session", "the session is not shaped for push-to-talk in this dialect")
        if self.conversation.asked and "voice" in (session if beta else session["audio"].get("output", {})):
            raise Refused("cannot_update_voice", "the voice is fixed once it was heard")
        if self.peer.refuses_changes:
            raise Refused("invalid_value", "nothing can be changed here")
        self.conversation.changes.append(session)
        await self.send("session.updated", session=session)

    async def append(self, event):
        self.buffer += base64.b64decode(event["audio"], validate=True)
        self.conversation.appended += len(event["audio"]) * 3 // 4

    async def clear(self, _):
        self.buffer.clear()
        await self.send("input_audio_buffer.cleared")

    async def create_item(self, event):
        message = event["item"]
        (content,) = message["content"]
        assistant = "text" if self.peer.dialect is Dialect.BETA else "output_text"
        if content["type"] not in ({"assistant": [assistant]}.get(message["role"], ["input_text", "input_audio"])):
            raise Refused("invalid_value", f"content of type {content['type']} in an item of {message['role']}")
        item = Item(self.new_id("item"), message["role"], base64.b64decode(content.get("audio", "")))
        item.text = content.get("text", "")
        self.conversation.items[item.item_id] = item
        await self.send(self.names["item"], item={"id": item.item_id, **message})

    async def commit(self, _):
        if len(self.buffer) < COMMIT_BYTES_MIN:
            raise Refused("input_audio_buffer_commit_empty", "buffer too small")
        item = self.add_item("user", bytes(self.buffer))
        self.buffer.clear()
        await self.send("input_audio_buffer.committed", previous_item_id=None, item_id=item.item_id)
        await self.send(self.names["item"], item={"id": item.item_id, "type": "message", "role": "user", "content": []})
        if self.peer.transcribes:
            item.text = self.peer.transcript(item.pcm)
            kind = "conversation.item.input_audio_transcription.completed"
            await self.send(kind, item_id=item.item_id, content_index=0, transcript=item.text)

    def add_item(self, role, pcm=b""):
        item = Item(self.new_id("item"), role, pcm, asked=True)
        self.conversation.items[item.item_id] = item
        return item

    async def create(self, event):
        if self.active is not None:
            raise Refused("conversation_already_has_active_response", f"{self.active} is active")
        question = [item for item in self.conversation.items.values() if item.role == "user"][-1]
        if question.pcm:
            self.conversation.asked.append(question.pcm)
            pcm = self.peer.answer(question.pcm)
        else:
            assert question.text == CONTINUE
            self.conversation.continued += 1
            pcm = self.peer.rest(list(self.conversation.items.values()))
        self.active, self._scope = self.new_id("resp"), trio.CancelScope()
        metadata = event.get("response", {}).get("metadata")
        self.nursery.start_soon(self.respond, self.active, pcm, metadata, self._scope)

    async def cancel(self, event):
        if self.active is None or event.get("response_id", self.active) != self.active:
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        self._scope.cancel()

    async def truncate(self, event):
        item = self.conversation.items.get(event["item_id"])
        if item is None or item.role != "assistant":
            raise Refused("item_truncate_invalid_item_id", "no such item")
        length_ms = len(item.pcm) // BYTES_PER_MS
        if not 0 < event["audio_end_ms"] <= length_ms:
            raise Refused("invalid_value", f"of {length_ms}ms is already shorter than {event['audio_end_ms']}ms")
        item.known_ms = event["audio_end_ms"]
        await self.send("conversation.item.truncated", item_id=item.item_id, audio_end_ms=item.known_ms)

    async def delete(self, event):
        if self.conversation.items.pop(event["item_id"], None) is None:
            raise Refused("item_delete_invalid_item_id", "no such item")
        self.conversation.deleted.append(event["item_id"])
        await self.send("conversation.item.deleted", item_id=event["item_id"])

    async def respond(self, response_id, answer, metadata, scope):
        response = {"id": response_id, "metadata": metadata, "output": []}
        try:
            await self.send("response.created", response={**response, "status": "in_progress"})
            with scope:
                await trio.sleep(self.peer.think_s)
                await self.say(response_id, answer)
            self.active = None
            status = "cancelled" if scope.cancelled_caught else "completed"
            await self.send("response.done", response={**response, "status": status})
        except ConnectionClosed:
            pass

    async def say(self, response_id, pcm):
        item = self.add_item("assistant")
        shown = {"id": item.item_id, "type": "message", "role": "assistant", "content": []}
        await self.send("response.output_item.added", response_id=response_id, output_index=0, item=shown)
        await self.send(self.names["item"], item=shown)
        where = {"response_id": response_id, "item_id": item.item_id, "output_index": 0, "content_index": 0}
        for start in range(0, len(pcm), PIECE_BYTES):
            piece = pcm[start : start + PIECE_BYTES]
            item.pcm += piece
            with trio.CancelScope(shield=True):  # half a frame on the wire would break it
                await self.send(f"{self.names['audio']}.delta", delta=base64.b64encode(piece).decode(), **where)
                word = f"w{start // PIECE_BYTES} "
                item.text += word
                await self.send(f"{self.names['audio']}_transcript.delta", delta=word, **where)
            await trio.sleep(self.peer.pace_s)
        await self.send(f"{self.names['audio']}.done", **where)
        await self.send(f"{self.names['audio']}_transcript.done", transcript=item.text.strip(), **where)


HANDLERS = {
    "session.update": Server.update,
    "input_audio_buffer.append": Server.append,
    "input_audio_buffer.clear": Server.clear,
    "input_audio_buffer.commit": Server.commit,
    "conversation.item.create": Server.create_item,
    "response.create": Server.create,
    "response.cancel": Server.cancel,
    "conversation.item.truncate": Server.truncate,
    "conversation.item.delete": Server.delete,
}
