"""`kioskd talk` while its endpoint is killed: over a real socket, in real time."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from attrs import evolve, frozen

from kioskd.config.schema import Conversation, Endpoint, KeySource, Settings
from kioskd.simulator.brain import Understanding
from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorSettings
from kioskd.talk import talk

pytestmark = pytest.mark.long

MS = 48
LOUD = b"\x00\x20\x00\xe0"


@frozen
class Parrot:
    """Answers with half a second of noise, whatever it hears."""

    async def hear(self, pcm: bytes) -> Understanding:
        return Understanding(f"{len(pcm) // MS} ms", understood=True)

    async def read(self, text: str) -> Understanding:
        return Understanding(text, understood=True)

    async def answer(self, said: Understanding) -> str:
        return "Noise."

    async def speak(self, text: str) -> bytes:
        return LOUD * (500 * MS // len(LOUD))


def question(ms: int) -> bytes:
    return LOUD * (ms * MS // len(LOUD))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> KeySource:
    monkeypatch.setenv("KIOSKD_TEST_KEY", "any-key-will-do")
    return KeySource(environment="KIOSKD_TEST_KEY")


async def test_an_endpoint_that_is_killed_in_mid_utterance_and_comes_back_answers(key: KeySource) -> None:
    simulator = SimulatorSettings(port=0)
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def serve_first(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
            with first:
                await serve(simulator, Parrot(), task_status=task_status)

        port = await nursery.start(serve_first)
        endpoint = Endpoint("lobby", f"ws://127.0.0.1:{port}/v1/realtime", "parrot", key=key)

        async def kill_for_a_while() -> None:
            await trio.sleep(0.7)
            first.cancel()
            await trio.sleep(1.5)
            await nursery.start(partial(serve, evolve(simulator, port=port), Parrot()))

        nursery.start_soon(kill_for_a_while)
        with trio.fail_after(30):
            outcome = await talk(Settings((endpoint,)), endpoint, question(1500))
        nursery.cancel_scope.cancel()
    assert outcome.answered, outcome.trouble
    assert outcome.report is not None and outcome.report.question.endswith("ms")
    assert int(outcome.report.question.split()[0]) >= 1500, "all of it was heard, not what came after the outage only"


async def test_an_endpoint_that_is_killed_for_good_ends_in_a_clear_error(key: KeySource) -> None:
    endpoint = Endpoint("lobby", "ws://127.0.0.1:9/v1/realtime", "parrot", key=key)  # discard: nobody listens there
    with trio.fail_after(30):
        outcome = await talk(
            Settings((endpoint,), conversation=Conversation(answer_timeout_s=2)), endpoint, question(500)
        )
    assert not outcome.answered
    assert "127.0.0.1:9" in outcome.trouble and "refused" in outcome.trouble
