"""The server of a run: real conversations of the simulator over wires in memory, with a brain that echoes marks."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable

import trio
from attrs import define
from trio_websocket import ConnectionClosed, HandshakeError, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from kioskd.chaos import record as r
from kioskd.chaos.brain import Answers, EchoBrain
from kioskd.chaos.channel import SocketChannel
from kioskd.chaos.trace import Trace
from kioskd.config.schema import Dialect
from kioskd.simulator.brain import Understanding
from kioskd.simulator.conversation import Channel, ChannelClosed, Conversation
from kioskd.simulator.faults.gate import Gate, stay_silent
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.faults.upgrade import Rejection
from kioskd.simulator.settings import Pace

HANDSHAKE_S = 10.0
MAX_MESSAGE_BYTES = 16 * 2**20
QUEUED_MESSAGES = 64
RECEIVE_BYTES = 65_536
GONE = (
    HandshakeError,
    ConnectionClosed,
    ChannelClosed,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    LocalProtocolError,  # the library's reader answers a ping, and finds the connection closing
)
_EPOCH = 1_800_000_000.0  # Unix time is no part of a run


class Server:
    """Takes connections. `poke` gives the faults of the newest session a chance, by an event that means nothing."""

    def __init__(
        self,
        trace: Trace,
        rng: random.Random,
        faults: FaultSource,
        dialect: Dialect,
        pace: Pace,
        on_strike: Callable[[str, str], None],
    ) -> None:
        self.serving = 0
        self._trace = trace
        self._answers = Answers(rng)
        self._dialect = dialect
        self._pace = pace
        self._on_strike = on_strike
        self._sessions = 0
        self._parts: dict[int, int] = {}
        self._newest: Channel | None = None
        self._gate = Gate(faults, dialect, FaultWatch(on_strike), clock=lambda: _EPOCH)

    async def serve(
        self,
        stream: trio.abc.Stream,
        stamps: deque[float] | None = None,
        on_upgrade: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve one client until it has gone."""
        self.serving += 1
        try:
            async with trio.open_nursery() as nursery:
                await self._serve(nursery, stream, stamps, on_upgrade)
                nursery.cancel_scope.cancel()
        except* GONE:
            pass
        finally:
            self.serving -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def poke(self) -> None:
        """Let the newest session say something."""
        if self._newest is not None:
            try:
                await self._newest.send(json.dumps({"type": "ping", "event_id": f"ping-{self._trace.now}"}))
            except GONE:
                return

    async def hang_up(self) -> None:
        """Close the newest session, as a server does that is started anew."""
        if self._newest is not None:
            self._on_strike("close-1012", "")
            await self._newest.close(1012, "")

    async def _serve(
        self,
        nursery: trio.Nursery,
        stream: trio.abc.Stream,
        stamps: deque[float] | None,
        on_upgrade: Callable[[], None],
    ) -> None:
        with trio.fail_after(HANDSHAKE_S):
            upgrade = await wrap_server_stream(
                nursery,
                stream,
                max_message_size=MAX_MESSAGE_BYTES,
                message_queue_size=QUEUED_MESSAGES,
                receive_buffer_size=RECEIVE_BYTES,
            )
        found = self._gate.knock()
        if isinstance(found, Rejection):
            headers = [(name.encode(), value.encode()) for name, value in found.headers.items()]
            await upgrade.reject(found.status, extra_headers=headers, body=found.body)
            return
        on_upgrade()
        channel = SocketChannel(await upgrade.accept(), stamps)
        with self._gate.admitted(channel, found, object()) as faulty:
            if found.silent:
                await stay_silent(channel)
            else:
                await self._converse(channel, faulty)
        await channel.close(1000, "")

    async def _converse(self, channel: SocketChannel, faulty: Channel) -> None:
        self._sessions += 1
        self._trace.add(r.Opened(self._trace.now, self._sessions))
        brain = EchoBrain(self._sessions, self._trace, self._answers, self._parts, self._on_strike, channel)
        if hasattr(faulty, "observer"):
            faulty.observer = brain
        brain.conversation = Conversation(faulty, brain, "echo", self._dialect, self._pace, brain, clock=lambda: _EPOCH)
        self._newest = faulty
        try:
            await brain.conversation.run()
        finally:
            brain.conversation = None
            if self._newest is faulty:
                self._newest = None


@define(eq=False)
class FaultWatch:
    """An observer (see `Observer`) of faults alone."""

    on_fault: Callable[[str, str], None]

    def on_event(self, sender: str, kind: str, size: int) -> None:
        """See `Observer`."""

    def on_heard(self, item_id: str, pcm: bytes, said: Understanding) -> None:
        """See `Observer`."""

    def on_sent(self, item_id: str, question_id: str | None, text: str, pcm: bytes, status: str) -> None:
        """See `Observer`."""

    def on_interrupt(self, item_id: str, audio_end_ms: int) -> None:
        """See `Observer`."""
