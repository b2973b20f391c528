"""The `openai` package's own clients hold a spoken turn with the simulator, which hears, understands and speaks."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Coroutine
from functools import partial
from typing import Any

import openai
import pytest
import trio

from kioskd.config.schema import Dialect
from kioskd.local.speak import synthesise
from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorSettings

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng: apt install espeak-ng")
KEY = "sk-contract"
GUARD_S = 60.0  # a test that hangs fails
QUESTION = "where is the exit"
ANSWER_HAS = "exit"


def client_of(port: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1", websocket_base_url=f"ws://127.0.0.1:{port}/v1"
    )


async def in_asyncio(make: partial[Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine of asyncio's world in a thread of its own."""

    async def guarded() -> Any:
        return await asyncio.wait_for(make(), GUARD_S)

    return await trio.to_thread.run_sync(lambda: asyncio.run(guarded()))


async def ga_turn(port: int, pcm: bytes) -> dict[str, Any]:
    """Ask by push-to-talk with the GA client; what was heard, said and sounded."""
    result: dict[str, Any] = {"sound": b""}
    async with client_of(port).realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(
            session={
                "type": "realtime",
                "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
            }
        )
        await connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        async for event in connection:
            if event.type == "error":
                raise AssertionError(event.error)
            if event.type == "conversation.item.input_audio_transcription.completed":
                result["heard"] = event.transcript
            elif event.type == "response.output_audio.delta":
                result["sound"] += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.done":
                result["said"] = event.transcript
            elif event.type == "response.done":
                result["response"] = event.response
                return result
    raise AssertionError("the connection ended before the response")


async def beta_turn(port: int, pcm: bytes) -> dict[str, Any]:
    """The same with the beta client."""
    result: dict[str, Any] = {"sound": b""}
    async with client_of(port).beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
        await connection.session.update(
            session={"turn_detection": None, "input_audio_transcription": {"model": "whisper-1"}}  # type: ignore[typeddict-item]
        )
        await connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        async for event in connection:
            if event.type == "error":
                raise AssertionError(event.error)
            if event.type == "conversation.item.input_audio_transcription.completed":
                result["heard"] = event.transcript
            elif event.type == "response.audio.delta":
                result["sound"] += base64.b64decode(event.delta)
            elif event.type == "response.audio_transcript.done":
                result["said"] = event.transcript
            elif event.type == "response.done":
                result["response"] = event.response
                return result
    raise AssertionError("the connection ended before the response")


@pytest.mark.parametrize(("dialect", "turn"), [(Dialect.GA, ga_turn), (Dialect.BETA, beta_turn)])
async def test_the_packages_client_asks_and_is_answered(dialect: Dialect, turn: Any) -> None:
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            settings = SimulatorSettings(port=0, key=KEY, dialect=dialect)
            port: int = await nursery.start(partial(serve, settings))
            result = await in_asyncio(partial(turn, port, await synthesise(QUESTION)))
            nursery.cancel_scope.cancel()
    assert result["heard"] == QUESTION
    assert ANSWER_HAS in result["said"]
    assert result["response"].status == "completed"
    assert result["response"].usage.output_tokens > 0
    assert result["sound"] == await synthesise(result["said"])


async def test_the_packages_client_lists_the_models() -> None:
    async def names(port: int) -> list[str]:
        return [model.id async for model in client_of(port).models.list()]

    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(partial(serve, SimulatorSettings(port=0, key=KEY)))
        assert "gpt-realtime" in await in_asyncio(partial(names, port))
        nursery.cancel_scope.cancel()
