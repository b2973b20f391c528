"""How a question leaves: on a link that flows, and on one that is stuck. Counted on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing
from fake_peer import CONVERSATION, MS, SETTINGS, FakePeer, Reports, TestUtterance, utterance
from frames import TEXT, frame, parsed, upgraded

from kioskd.dialogue.events import Link, LinkChanged
from kioskd.endpoints.connection import APPEND_BYTES_MAX, Connection
from kioskd.endpoints.pending import PendingTurn
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.websocket import WebSocket
from kioskd.realtime.events import Phase, SessionEvent, SessionReady

APPEND, COMMIT, CREATE = "input_audio_buffer.append", "input_audio_buffer.commit", "response.create"
ENOUGH = Failure(Kind.ERROR, "enough")
EXPIRED = {"type": "invalid_request_error", "code": "session_expired", "message": "Your session hit its limit."}


def said(kind: str, **fields: Any) -> bytes:
    return frame(TEXT, json.dumps({"type": kind, **fields}).encode())


class Writes:
    """What the client writes: the types of each write's messages. A write waits while it is `stuck`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.types: list[list[str]] = []
        self.free = trio.Event()
        self.free.set()
        send_all = trio.StapledStream.send_all

        async def watched(stream: Any, data: bytes) -> None:
            if data[:1] in (b"\x81", b"\x82") and data[1] & 0x80:  # the server's frames are not masked
                self.types.append([json.loads(payload)["type"] for _, payload in parsed(bytes(data))])
                with trio.CancelScope(shield=True):  # the kernel takes the last of it as the cancellation comes
                    await self.free.wait()
            await send_all(stream, data)

        monkeypatch.setattr(trio.StapledStream, "send_all", watched)

    def stick(self) -> None:
        self.free = trio.Event()


async def connected(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, flows: bool
) -> tuple[RealtimeEndpoint, FakePeer, Reports, Writes]:
    monkeypatch.setattr(WebSocket, "flows", flows)  # a memory stream has no kernel to ask
    peer, reports = FakePeer(), Reports()
    endpoint = RealtimeEndpoint(SETTINGS, CONVERSATION, lambda: "key", dial=peer.dial, jitter=lambda: 1.0)
    nursery.start_soon(endpoint.run, reports)
    await reports.until(LinkChanged, link=Link.UP)
    writes = Writes(monkeypatch)
    return endpoint, peer, reports, writes


async def test_the_end_of_a_question_leaves_in_one_write(autojump_clock: Any, nursery: Any, monkeypatch: Any) -> None:
    endpoint, peer, _, writes = await connected(nursery, monkeypatch, flows=True)
    growing = TestUtterance(1, bytearray(200 * MS))
    endpoint.begin(growing)
    await trio.testing.wait_all_tasks_blocked()
    growing.append(b"\1\0" * 24 * 30)  # too little for a message of its own
    growing.ended = True
    endpoint.ask(1)
    await peer.connections[0].until(CREATE)
    assert writes.types == [[APPEND], [APPEND, COMMIT, CREATE]]
    assert peer.connections[0].questions == [bytes(growing.pcm)]


async def test_of_a_long_question_only_the_last_piece_waits_for_the_commit(
    autojump_clock: Any, nursery: Any, monkeypatch: Any
) -> None:
    endpoint, peer, _, writes = await connected(nursery, monkeypatch, flows=True)
    endpoint.begin(utterance(1, bytes(2 * APPEND_BYTES_MAX + MS)))
    endpoint.ask(1)
    await peer.connections[0].until(CREATE)
    assert writes.types == [[APPEND], [APPEND], [APPEND, COMMIT, CREATE]]


async def test_a_link_that_does_not_flow_has_the_sound_alone(
    autojump_clock: Any, nursery: Any, monkeypatch: Any
) -> None:
    endpoint, peer, _, writes = await connected(nursery, monkeypatch, flows=False)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    await peer.connections[0].until(CREATE)
    assert writes.types == [[APPEND], [COMMIT, CREATE]]


@pytest.mark.parametrize("command", ["cancel", "discard"])
async def test_a_question_that_is_dropped_while_the_link_is_stuck_is_not_asked(
    autojump_clock: Any, nursery: Any, monkeypatch: Any, command: str
) -> None:
    endpoint, peer, _, writes = await connected(nursery, monkeypatch, flows=False)
    writes.stick()
    endpoint.begin(utterance(1, bytes(3 * APPEND_BYTES_MAX)))
    endpoint.ask(1)
    await trio.testing.wait_all_tasks_blocked()
    getattr(endpoint, command)(1)
    writes.free.set()
    await peer.connections[0].until("input_audio_buffer.clear")
    assert writes.types == [[APPEND], ["input_audio_buffer.clear"]]
    endpoint.begin(utterance(2, b"\1\2" * 7200))
    endpoint.ask(2)
    await peer.connections[0].until(CREATE)
    assert peer.connections[0].questions == [b"\1\2" * 7200]


async def test_a_session_that_ends_while_a_question_is_on_its_way_is_asked_nothing_more(
    autojump_clock: Any, nursery: Any
) -> None:
    """The kernel takes the last of a piece as the server ends the session: no cancellation tells the writer."""
    socket, wire = await upgraded(said("session.created"))
    question = PendingTurn(1, utterance(1, bytes(3 * APPEND_BYTES_MAX)), asked_at=0.0)

    def see(event: SessionEvent) -> None:
        if isinstance(event, SessionReady):
            wire.stick()

    connection = Connection(socket, SETTINGS, CONVERSATION, lambda: question, see)
    nursery.start_soon(connection.run)
    await trio.testing.wait_all_tasks_blocked()
    wire.say(said("session.updated"))
    await trio.testing.wait_all_tasks_blocked()
    wire.say(said("error", error=EXPIRED))
    await trio.testing.wait_all_tasks_blocked()
    assert connection.session.phase is Phase.OVER
    wire.free.set()
    await trio.testing.wait_all_tasks_blocked()
    assert [json.loads(text)["type"] for _, text in wire.frames] == ["session.update", APPEND]


async def test_what_comes_behind_the_end_in_one_packet_is_nobodys(autojump_clock: Any) -> None:
    socket, _ = await upgraded(said("session.created"), said("session.updated") + said("error", error=EXPIRED))
    seen: list[SessionEvent] = []

    def see(event: SessionEvent) -> None:
        seen.append(event)
        connection.fail(ENOUGH)

    connection = Connection(socket, SETTINGS, CONVERSATION, lambda: None, see)
    assert await connection.run() is ENOUGH
    assert seen == [SessionReady()]
