"""A Realtime server over memory streams: it greets, listens and answers as a test tells it to."""

import base64
import gc
import json
from collections import Counter
from contextlib import asynccontextmanager

import trio
import trio.testing
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from kioskd.config.schema import Conversation, Endpoint
from kioskd.dialogue.events import AnswerAudio
from kioskd.endpoints.dial import MAX_MESSAGE_BYTES, REFUSAL_BYTES
from kioskd.endpoints.failures import DialError
from kioskd.endpoints.websocket import WebSocket

MS = 48
SETTINGS = Endpoint(name="relay", url="ws://127.0.0.1/v1/realtime", model="gpt-realtime")
CONVERSATION = Conversation()
PIECE = 100 * MS
PATIENCE_S = 3600  # on the clock that jumps: what has not come by then never will


@define(eq=False)
class TestUtterance:
    """An utterance that grows by `append`."""

    __test__ = False

    turn: int
    pcm: bytearray = field(factory=bytearray)
    ended: bool = False
    _on_growth: object = None

    @property
    def size(self):
        return len(self.pcm)

    def since(self, cursor):
        return bytes(self.pcm[cursor:])

    def subscribe(self, on_growth):
        self._on_growth = on_growth

    def append(self, pcm):
        self.pcm += pcm
        if self._on_growth:
            self._on_growth()


def utterance(turn, pcm=bytes(300 * MS)):
    """A whole utterance."""
    return TestUtterance(turn, bytearray(pcm), ended=True)


def alive():
    """Our objects and the utterances that somebody still holds, by type."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    ours = ("kioskd.", "fake_peer")
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith(ours))


@define(eq=False)
class PeerConnection:
    """The server's side of one connection. `received`: every event; `questions`: each committed sound."""

    socket: WebSocketConnection
    headers: dict
    path: str
    received: list = field(factory=list)
    questions: list = field(factory=list)
    closed: object = None
    _buffer: bytearray = field(factory=bytearray)
    _news: trio.Event = field(factory=trio.Event)

    @property
    def types(self):
        return [event["type"] for event in self.received]

    @property
    def sound(self):
        """All sound that came, committed or not."""
        return b"".join(
            base64.b64decode(event["audio"]) for event in self.received if event["type"].endswith("buffer.append")
        )

    async def send(self, kind, **fields):
        await self.socket.send_message(json.dumps({"type": kind, **fields}))

    async def until(self, kind, count=1):
        """Wait until so many events of a kind have come; return the last."""
        with trio.fail_after(PATIENCE_S):
            while self.types.count(kind) < count:
                await self._news.wait()
        return [event for event in self.received if event["type"] == kind][-1]

    async def drop(self):
        """Break the connection without a close frame."""
        await trio.aclose_forcefully(self.socket._stream)

    def take(self, event):
        self.received.append(event)
        match event["type"]:
            case "input_audio_buffer.append":
                self._buffer += base64.b64decode(event["audio"])
            case "input_audio_buffer.clear":
                self._buffer.clear()
            case "input_audio_buffer.commit":
                self.questions.append(bytes(self._buffer))
                self._buffer.clear()
        self.tell()

    def tell(self):
        self._news.set()
        self._news = trio.Event()


@define(eq=False)
class FakePeer:
    """Give its `dial` to a RealtimeEndpoint. `refusals`: failures of the next dials, in order.

    `answer`: pcm by question, sent in pieces of 100 ms, one every `pace_s`; None: the test answers by itself.
    """

    answer: object = None
    pace_s: float = 0.02
    greets: bool = True
    sets_up: bool = True
    refusals: list = field(factory=list)
    connections: list = field(factory=list)
    dials: int = 0
    _news: trio.Event = field(factory=trio.Event)

    @asynccontextmanager
    async def dial(self, settings, headers, url):
        self.dials += 1
        if self.refusals:
            await trio.lowlevel.checkpoint()
            raise DialError(self.refusals.pop(0))
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

    async def connection(self, number=1):
        """Wait for the so-many-th connection."""
        with trio.fail_after(PATIENCE_S):
            while len(self.connections) < number:
                await self._news.wait()
        return self.connections[number - 1]

    async def _serve(self, stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream, max_message_size=2**25)
            headers = {name.decode().lower(): value.decode() for name, value in request.headers}
            connection = PeerConnection(await request.accept(), headers, request.path)
            self.connections.append(connection)
            self._news.set()
            self._news = trio.Event()
            try:
                if self.greets:
                    await connection.send("session.created", session={"id": f"sess_{len(self.connections)}"})
                await self._talk(nursery, connection)
            except ConnectionClosed as closed:
                connection.closed = closed.reason
                connection.tell()

    async def _talk(self, nursery, connection):
        answering = trio.CancelScope()
        while True:
            event = json.loads(await connection.socket.get_message())
            connection.take(event)
            match event["type"]:
                case "session.update" if self.sets_up:
                    await connection.send("session.updated", session={})
                case "response.create" if self.answer is not None:
                    answering = trio.CancelScope()
                    response_id = f"resp_{connection.types.count('response.create')}"
                    nursery.start_soon(self._answer, connection, response_id, answering)
                case "response.cancel" if self.answer is not None:
                    answering.cancel()

    async def _answer(self, connection, response_id, scope):
        item = {"response_id": response_id, "item_id": f"item_of_{response_id}"}
        try:
            with scope:
                await connection.send("response.created", response={"id": response_id})
                pcm = self.answer(connection.questions[-1])
                for start in range(0, len(pcm), PIECE):
                    delta = base64.b64encode(pcm[start : start + PIECE]).decode()
                    await connection.send("response.output_audio.delta", delta=delta, content_index=0, **item)
                    await trio.sleep(self.pace_s)
            status = "cancelled" if scope.cancelled_caught else "completed"
            await connection.send("response.done", response={"id": response_id, "status": status})
        except ConnectionClosed:
            pass


class Reports:
    """What an endpoint reported; `until` waits for it."""

    def __init__(self):
        self.events = []
        self._news = trio.Event()

    def __call__(self, event):
        self.events.append(event)
        self._news.set()
        self._news = trio.Event()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def sound(self, turn):
        return b"".join(event.pcm for event in self.of(AnswerAudio) if event.turn == turn)

    async def until(self, kind, after=0, **fields):
        """Wait for an event of a kind, with these fields, not among the first `after` events."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for event in self.events[after:]:
                    if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                        return event
                await self._news.wait()
