"""The server that answers from a can, and the floor that talks to it: frames, events, order, outage."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.frames import Frame, Opcode

from kioskd.bench.canned import BYTES_PER_MS, CREATED, THINKING_S, UPDATED, Can, Weather
from kioskd.bench.floor import Floor
from kioskd.bench.frames import PING, TEXT, FrameReader, frame, masked_frame
from kioskd.bench.plan import Plan, chunk_sizes
from kioskd.bench.stub import Stub

EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


@pytest.mark.parametrize("size", SIZES)
def test_frames_are_what_a_library_makes_of_them(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    assert frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    masked = Frame(Opcode.PING, payload[:125]).serialize(mask=True)
    assert list(FrameReader().feed(masked)) == [(PING, payload[:125])]
    assert list(FrameReader().feed(masked_frame(payload))) == [(TEXT, payload)]


def test_frames_come_out_whole_however_the_stream_is_cut() -> None:
    stream = b"".join(frame(b"x" * size) for size in (3, 300)) + masked_frame(b"last")
    reader, found = FrameReader(), []
    for at in range(len(stream)):
        found += reader.feed(stream[at : at + 1])
    assert [payload for _, payload in found] == [b"xxx", b"x" * 300, b"last"]


def test_the_chunks_of_all_clients_are_the_kiosks() -> None:
    sizes = [size // BYTES_PER_MS for size in chunk_sizes(250 * BYTES_PER_MS)]
    assert sizes == [20, 100, 100, 30]
    assert chunk_sizes(0) == [0] and chunk_sizes(10) == [10]


def test_an_answer_is_as_long_as_asked_and_its_events_are_real_ones() -> None:
    can = Can()
    answer = list(can.answer('{"turn":"7"}', Weather(answer_ms=1000, speed=5), 100.0))
    events = [json.loads(text) for _, text, _ in answer]
    for text in (*(text for _, text, _ in answer), *can.committed(), CREATED % "a", UPDATED % "b"):
        EVENT.validate_json(text)
    pcm = b"".join(binascii.a2b_base64(event["delta"]) for event in events if event["type"].endswith("audio.delta"))
    assert len(pcm) == 1000 * BYTES_PER_MS and any(pcm)
    assert [is_sound for _, _, is_sound in answer].count(True) == 10
    assert events[0]["response"]["metadata"] == {"turn": "7"} and events[-1]["response"]["status"] == "completed"
    assert answer[0][0] == 100.0 + THINKING_S
    assert answer[-1][0] == pytest.approx(100.0 + THINKING_S + 0.9 / 5)


def test_ids_never_repeat() -> None:
    can = Can()
    texts = [text for _ in range(2) for _, text, _ in can.answer("null", Weather(), 0.0)] + list(can.committed())
    ids = [json.loads(text)["event_id"] for text in texts]
    assert len(ids) == len(set(ids))


def test_jitter_delays_and_never_reorders() -> None:
    steady = [due for due, _, sound in Can().answer("null", Weather(speed=1), 0.0) if sound]
    late = [due for due, _, sound in Can().answer("null", Weather(speed=1, jitter_ms=150), 0.0) if sound]
    assert late == sorted(late)
    delays = [after - before for before, after in zip(steady, late, strict=True)]
    assert min(delays) >= 0 and 0.1 < max(delays) <= 0.15


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    server = Stub(tmp_path)
    server.weather = Weather(answer_ms=300, speed=100)
    yield server
    server.close()


def floor(stub: Stub, folder: Path) -> Floor:
    return Floor(Plan(stub.port, 0, str(folder / "ca.pem"), ""))


def test_the_floor_says_and_hears_everything(stub: Stub, tmp_path: Path) -> None:
    client = floor(stub, tmp_path)
    for _ in range(2):
        spent = client.turn(0.05)
        assert spent["talk_s"] == 0.05 and spent["answer_s"] == pytest.approx(0.3)
        assert spent["talk_ms"] > 0 and spent["answer_ms"] > 0
    kinds, times = zip(*stub.marks, strict=True)
    assert kinds == ("append", "commit", "sound") * 2 and list(times) == sorted(times)


def test_an_outage_ends_connections_and_refuses_new_ones(stub: Stub, tmp_path: Path) -> None:
    client = floor(stub, tmp_path)
    stub.break_off(3600)
    with pytest.raises(OSError):
        client.turn(0.05)
    with pytest.raises(ConnectionRefusedError):
        floor(stub, tmp_path)
    stub.come_back()
    assert [what for what, _ in stub.marks][-1] == "back"
    assert floor(stub, tmp_path).turn(0.05)["answer_s"] == pytest.approx(0.3)
