"""Settings read anew by a whole kiosk while it speaks: what its speaker's monitor recorded is the judge."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from monitor import place, recorded, silence_after, speech
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from kioskd.audio.arrays import Floats, np, pcm_of
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.volume import gain_of
from kioskd.composition import serve
from kioskd.config.load import load
from kioskd.control.client import ControlError, ask
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

PATIENCE_S = 60
ANSWER_S = 6
WINDOW = RATE_HZ // 10
MOMENT = RATE_HZ // 100
SLACK = RATE_HZ // 500  # what a resampler drifts
SETTINGS = """
endpoints: [{{name: lobby, url: "ws://127.0.0.1:{port}/v1/realtime", model: m, key: {{environment: KIOSKD_TEST_KEY}}}}]
conversation: {{instructions: "{instructions}"}}
audio:
  microphone: {microphone}
  speaker: {speaker}
  volume: {volume}
  buffer_ms: {buffer_ms}
  signs: false
panel: {{lamp: {{kind: none, pins: []}}}}
"""


@define(eq=False)
class Answerer:
    """A server that answers each question with the same sound, faster than it is heard."""

    pcm: bytes
    received: list[list[dict[str, Any]]] = field(factory=list)  # one list a connection

    async def talk(self, request: WebSocketRequest) -> None:
        socket = await request.accept()
        mine: list[dict[str, Any]] = []
        self.received.append(mine)

        async def send(kind: str, **fields: Any) -> None:
            await socket.send_message(json.dumps({"type": kind, **fields}))

        try:
            await send("session.created", session={"id": "sess"})
            while True:
                event = json.loads(await socket.get_message())
                mine.append(event)
                if event["type"] == "session.update":
                    await send("session.updated", session={})
                elif event["type"] == "response.create":
                    response = {"id": f"resp_{len(mine)}", "metadata": event["response"]["metadata"]}
                    await send("response.created", response=response)
                    for start in range(0, len(self.pcm), bytes_of(100)):
                        delta = base64.b64encode(self.pcm[start : start + bytes_of(100)]).decode()
                        place = {"response_id": response["id"], "item_id": f"item_{len(mine)}", "content_index": 0}
                        await send("response.output_audio.delta", delta=delta, **place)
                        await trio.sleep(0.05 if start >= bytes_of(1000) else 0)
                    await send("response.done", response={**response, "status": "completed"})
        except ConnectionClosed:
            return

    def updates(self) -> list[dict[str, Any]]:
        return [event["session"] for event in self.received[0] if event["type"] == "session.update"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("KIOSKD_TEST_KEY", "key-of-nobody-0123456789")
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    yield tmp_path


async def status() -> dict[str, Any]:
    try:
        return await trio.to_thread.run_sync(partial(ask, None, "status"))
    except ControlError:
        return {"link": {"state": ""}, "state": "", "settings": {"version": "", "waiting": []}}


async def until(reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    with trio.fail_after(PATIENCE_S):
        while not reached(now := await status()):
            await trio.sleep(0.1)
    return now


async def press() -> dict[str, Any]:
    return await trio.to_thread.run_sync(partial(ask, None, "press", ms=600, timeout_s=PATIENCE_S))


def likeness(one: Floats, other: Floats) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def gains(heard: Floats, answer: Floats) -> tuple[list[float], list[float]]:
    """Of each tenth of a second of the answer: how loud it is heard, and how truly its least true moment, in place."""
    start, match = place(heard, answer[: RATE_HZ // 2])
    assert match > 0.9
    loudness, truth = [], []
    for at in range(0, len(answer) - WINDOW, WINDOW):
        piece, begin = answer[at : at + WINDOW], max(0, start + at - SLACK)
        offset, match = place(heard[begin : begin + WINDOW + 2 * SLACK], piece)
        if (
            match > 0.9
        ):  # else it is heard neither as loud as before nor as after: where it belongs, its neighbour tells
            start = begin + offset - at
        window = heard[start + at : start + at + WINDOW]
        loudness.append(float(np.dot(window, piece) / np.dot(piece, piece)))
        truth.append(min(likeness(window[m : m + MOMENT], piece[m : m + MOMENT]) for m in range(0, WINDOW, MOMENT)))
    return loudness, truth


async def test_the_volume_changes_in_mid_answer_without_a_gap_and_the_conversation_goes_on(
    pulse: PrivatePulse, folder: Path
) -> None:
    answer = speech(ANSWER_S, seed=91)
    server, file = Answerer(pcm_of(answer)), folder / "kioskd.yaml"
    values = {"microphone": PrivatePulse.MICROPHONE, "speaker": PrivatePulse.SPEAKER}
    async with trio.open_nursery() as nursery:
        door = await nursery.start(serve_websocket, server.talk, "127.0.0.1", 0, None)
        values |= {"port": door.port, "instructions": "Be brief.", "volume": 80, "buffer_ms": 320}
        file.write_text(SETTINGS.format(**values))
        nursery.start_soon(serve, load(file), partial(load, file))
        before = await until(lambda now: now["link"]["state"] == "up" and now["state"] == "ready")
        async with recorded(pulse, folder) as record:
            reports: list[dict[str, Any]] = []

            async def visit() -> None:
                reports.append(await press())

            nursery.start_soon(visit)
            await until(lambda now: now["state"] == "speaking")
            while len(record()) < 2 * RATE_HZ:  # some of the answer is heard as loud as it was
                await trio.sleep(0.2)
            file.write_text(SETTINGS.format(**values | {"volume": 40, "instructions": "Be long.", "buffer_ms": 240}))
            os.kill(os.getpid(), signal.SIGHUP)
            during = await until(lambda now: now["settings"]["version"] != before["settings"]["version"])
            assert during["state"] == "speaking" and during["settings"]["waiting"] == ["audio.buffer_ms"]
            assert len(server.updates()) == 1, "the endpoint is told between two questions"
            heard = await silence_after(record, 3 * RATE_HZ)
            await until(lambda now: now["state"] == "ready" and not now["settings"]["waiting"])
        loudness, truth = gains(heard, answer)
        assert min(truth) > 0.9, f"a gap, or a click: {truth}"
        softer = gain_of(40) / gain_of(80)
        first = loudness[0]
        loud = [each for each in loudness if each > 0.9 * first]
        soft = [each for each in loudness if each < 1.1 * softer * first]
        assert len(loud) >= 3 and len(soft) >= 3 and len(loud) + len(soft) >= len(loudness) - 3, "within a block"
        assert loudness[len(loud) - 1 : -len(soft)] == sorted(loudness[len(loud) - 1 : -len(soft)], reverse=True)
        assert loudness[: len(loud)] == loud and loudness[-len(soft) :] == soft, "it went down once, and stayed there"
        assert min(soft) > 0.9 * softer * first
        print("loudness by tenths of a second:", [round(each / first, 2) for each in loudness])
        assert server.updates()[1:] == [
            {"instructions": "Be long.", "type": "realtime", "audio": {"input": {"turn_detection": None}}}
        ]
        assert (await press())["outcome"] == "answered", "on the device that was opened anew"
        assert len(server.received) == 1, "the same session all the time"
        assert reports[0]["outcome"] == "answered" and not reports[0]["interrupted"]
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda now: now["state"] == "")
        nursery.cancel_scope.cancel()
