"""The text doors: the `openai` package's own clients are answered, and all that is sent is of its types, strictly."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trio
from openai.types.audio import Transcription, TranscriptionStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from simulator_client import tone
from test_contract_events import TYPES, UNTYPED, untyped_fields
from text_client import EXIT, KEY, QUESTION, ToldBrain, user
from trio_websocket import open_websocket_url

from kioskd.config.schema import Dialect
from kioskd.local.speak import synthesise
from kioskd.simulator.server import serve
from kioskd.simulator.settings import Pace, SimulatorSettings
from kioskd.simulator.text.wav import wav_of

GUARD_S = 60.0  # a test that hangs fails
FAST = SimulatorSettings(port=0, key=KEY, pace=Pace(speed=1000.0, created_after_s=0.0))
FAQ = Path(__file__).parents[1] / "simulator" / "conversation-faq.yaml"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
TOOL = {"name": "set_volume", "description": "", "parameters": {"type": "object", "properties": {}}}
ASKED: Any = [user(QUESTION)]
BEFORE = "What did I ask before?"
SOUND: Any = {"data": base64.b64encode(wav_of(tone(500))).decode(), "format": "wav"}
SPOKEN_QUESTION: Any = [{"role": "user", "content": [{"type": "input_audio", "input_audio": SOUND}]}]
SPOKEN: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "marin", "format": "pcm16"}}
LOUDER: dict[str, Any] = {
    "messages": [user("make it louder please")],
    "tools": [{"type": "function", "function": TOOL}],
}


@asynccontextmanager
async def simulator(settings: SimulatorSettings = FAST, brain: ToldBrain | bool | None = True) -> AsyncIterator[int]:
    """The port of a running simulator; `brain` None is the real one."""
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(partial(serve, settings, ToldBrain() if brain else None))
            nursery.cancel_scope.cancel()


async def with_client(
    do: Callable[[openai.AsyncOpenAI], Awaitable[Any]],
    key: str = KEY,
    settings: SimulatorSettings = FAST,
    brain: bool = True,
) -> Any:
    """Run this with the package's client, in asyncio's world, against a simulator."""
    async with simulator(settings, brain) as port:

        async def run() -> Any:
            host = f"127.0.0.1:{port}/v1"
            urls = {"base_url": f"http://{host}", "websocket_base_url": f"ws://{host}"}
            async with openai.AsyncOpenAI(api_key=key, max_retries=0, **urls) as client:  # type: ignore[arg-type]
                return await asyncio.wait_for(do(client), GUARD_S)

        return await trio.to_thread.run_sync(lambda: asyncio.run(run()))


async def test_the_packages_client_streams_a_chat() -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        text, last, usage = "", None, None
        stream = await client.chat.completions.create(
            model="gpt-4.1", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
                last = chunk.choices[0].finish_reason or last
            usage = chunk.usage
        return text, last, usage

    text, last, usage = await with_client(do)
    assert (text, last) == (EXIT, "stop")
    assert usage.completion_tokens == 17
    assert usage.prompt_tokens > 0


async def test_the_packages_client_calls_a_tool_and_gives_back_its_result() -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        messages: list[Any] = [user("Make it louder, please!")]
        tools: list[Any] = LOUDER["tools"]
        first = await client.chat.completions.create(model="gpt-4.1", messages=messages, tools=tools)
        message = first.choices[0].message
        assert message.tool_calls is not None
        call = message.tool_calls[0]
        messages += [message.model_dump(exclude_none=True, exclude={"annotations"})]
        messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"percent": 80}'}]
        second = await client.chat.completions.create(model="gpt-4.1", messages=messages, tools=tools)
        return first.choices[0].finish_reason, call, second.choices[0].message.content

    finish, call, text = await with_client(do)
    assert finish == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == ("set_volume", {"percent": 80})
    assert text == "It is done: percent 80."


async def test_the_packages_client_hears_and_is_heard_over_chat() -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        pcm, text, audio_id = b"", "", ""
        stream: Any = await client.chat.completions.create(
            model="gpt-audio-1.5", messages=SPOKEN_QUESTION, stream=True, **SPOKEN
        )
        async for chunk in stream:
            audio = chunk.choices[0].delta.audio if chunk.choices else None
            if audio is not None:
                audio_id = audio.id or audio_id
                text += audio.transcript or ""
                pcm += base64.b64decode(audio.data or "")
        later: Any = [*SPOKEN_QUESTION, {"role": "assistant", "audio": {"id": audio_id}}, user(BEFORE)]
        plain = await client.chat.completions.create(model="gpt-audio-1.5", messages=later)
        return text, pcm, plain.choices[0].message.content

    text, pcm, follow_up = await with_client(do)
    assert text == EXIT
    assert pcm == tone(2000)
    assert follow_up == f"Before this, you asked: {QUESTION}."


async def test_the_packages_client_transcribes_and_speaks() -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        file, model = ("q.wav", wav_of(tone(700))), "gpt-4o-mini-transcribe"
        plain = await client.audio.transcriptions.create(file=file, model=model)
        stream = await client.audio.transcriptions.create(file=file, model=model, stream=True)
        events: Any = [event async for event in stream]
        async with client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="marin", input="Hello.", response_format="pcm"
        ) as response:
            sound = b"".join([chunk async for chunk in response.iter_bytes()])
        return plain.text, events, sound

    text, events, sound = await with_client(do)
    assert text == QUESTION
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == text
    assert sound == tone(2000)


async def test_the_packages_client_asks_responses_over_a_socket() -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        texts: list[str] = []
        async with client.responses.connect() as connection:
            more: dict[str, Any] = {}
            for text in (QUESTION, BEFORE):
                await connection.response.create(model="gpt-4.1-mini", store=False, input=text, **more)
                async for event in connection:
                    assert event.type != "error", event
                    if event.type == "response.completed":
                        more = {"previous_response_id": event.response.id}
                        texts.append(event.response.output_text)
                        break
        return texts

    assert await with_client(do) == [EXIT, f"Before this, you asked: {QUESTION}."]


@pytest.mark.parametrize("wrong", [{"temperature": 3}, {"extra_body": {"made_up": 1}}])
async def test_a_wrong_request_is_the_packages_error(wrong: dict[str, Any]) -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(model="gpt-4.1", messages=ASKED, **wrong)
        return raised.value.param

    assert await with_client(do) == ("made_up" if "extra_body" in wrong else "temperature")


async def test_a_wrong_key_is_the_packages_error() -> None:
    async def do(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(model="gpt-4.1", messages=ASKED)
        return raised.value.code

    assert await with_client(do, key="sk-wrong") == "invalid_api_key"


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng: apt install espeak-ng")
async def test_a_spoken_question_is_recognised_answered_and_spoken() -> None:
    """Hearing, text and speech by three requests: what a kiosk does around a text model."""
    question = wav_of(await synthesise("how much is a ticket"))

    async def do(client: openai.AsyncOpenAI) -> Any:
        heard = await client.audio.transcriptions.create(file=("q.wav", question), model="gpt-4o-mini-transcribe")
        asked: Any = [user(heard.text)]
        answer = await client.chat.completions.create(model="gpt-4.1", messages=asked)
        text = answer.choices[0].message.content or ""
        spoken = await client.audio.speech.create(model="m", voice="marin", input=text, response_format="pcm")
        return heard.text, text, spoken.content

    settings = SimulatorSettings(port=0, key=KEY, faq=FAQ)
    heard, text, sound = await with_client(do, settings=settings, brain=False)
    assert heard == "how much is a ticket"
    assert text == "A ticket costs twelve euros, and six euros for children."
    assert sound == await synthesise(text)


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: Any, body: dict[str, Any]) -> None:
    parsed = adapter_of(kind).validate_python(body, strict=True)
    assert untyped_fields(parsed) == set(), body
    assert parsed.model_dump(exclude_unset=True) == body


async def chat_bodies(port: int, **more: Any) -> list[dict[str, Any]]:
    """What a chat request brings: the chunks, or the one body."""
    body = {"model": "gpt-4.1", "messages": ASKED, **more}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", timeout=GUARD_S) as client:
        answer = await client.post("/chat/completions", json=body, headers=AUTHORIZED)
    assert answer.status_code == 200, answer.text
    if not more.get("stream"):
        return [answer.json()]
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("more", [{}, SPOKEN, LOUDER, {"max_tokens": 3}])
async def test_every_chat_body_is_of_the_packages_types(more: dict[str, Any]) -> None:
    async with simulator() as port:
        for body in await chat_bodies(port, **more):
            checked(ChatCompletion, body)
        for body in await chat_bodies(port, **more, stream=True, stream_options={"include_usage": True}):
            checked(ChatCompletionChunk, body)


@pytest.mark.parametrize("nested", [False, True])
async def test_every_responses_event_is_of_the_packages_types(nested: bool) -> None:
    headers = [*AUTHORIZED.items()] + [("OpenAI-Beta", "realtime=v1")] * nested
    asked: tuple[dict[str, Any], ...] = (
        {"input": QUESTION},
        {"input": "make it louder please", "tools": [{"type": "function", **TOOL}]},
        {"input": QUESTION, "max_output_tokens": 16},
        {"input": QUESTION, "generate": False},
        {"input": "x", "previous_response_id": "resp_unknown"},
        {"input": "x", "made_up": 1},
    )
    events: list[dict[str, Any]] = []
    async with simulator() as port:
        url = f"ws://127.0.0.1:{port}/v1/{'realtime' if nested else 'responses'}"
        async with open_websocket_url(url, extra_headers=headers) as socket:
            for more in asked:
                fields = {"model": "gpt-4.1-mini", "store": False, **more}
                event = {"type": "response.create", **({"response": fields} if nested else fields)}
                await socket.send_message(json.dumps(event))
                while not events or events[-1]["type"] not in ENDS or len(ended(events)) <= asked.index(more):
                    events.append(json.loads(await socket.get_message()))
    for event in events:
        checked(ResponsesServerEvent, event)
    assert ended(events) == ["response.completed"] * 2 + ["response.incomplete", "response.completed"] + ["error"] * 2
    assert [event["error"]["code"] for event in events[-2:]] == ["previous_response_not_found", "unknown_parameter"]


ENDS = ("error", "response.completed", "response.incomplete")


def ended(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events if event["type"] in ENDS]


@pytest.mark.parametrize("model", ["gpt-4o-mini-transcribe", "whisper-1"])
async def test_every_transcription_is_of_the_packages_types(model: str) -> None:
    async with simulator() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1") as client:
        for stream in ("false", "true"):
            answer = await client.post(
                "/audio/transcriptions",
                data={"model": model, "stream": stream},
                files={"file": ("q.wav", wav_of(tone(700)))},
                headers=AUTHORIZED,
            )
            is_stream = answer.headers["content-type"].startswith("text/event-stream")
            assert is_stream == (stream == "true" and model != "whisper-1")
            if is_stream:
                for line in filter(None, answer.text.splitlines()):
                    checked(TranscriptionStreamEvent, json.loads(line.removeprefix("data: ")))
            else:
                checked(Transcription, answer.json())


async def function_call_events(dialect: Dialect) -> list[dict[str, Any]]:
    """A function call at the Realtime door, its result, and the answer that uses it."""
    is_ga = dialect is Dialect.GA
    settings = SimulatorSettings(port=0, dialect=dialect, pace=FAST.pace)
    headers = [] if is_ga else [("OpenAI-Beta", "realtime=v1")]
    events: list[dict[str, Any]] = []
    async with simulator(settings) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime"
        async with open_websocket_url(url, extra_headers=headers) as socket:

            async def send(kind: str, **fields: Any) -> None:
                await socket.send_message(json.dumps({"type": kind, **fields}))

            async def done() -> dict[str, Any]:
                await send("response.create")
                while not events or events[-1]["type"] != "response.done":
                    events.append(json.loads(await socket.get_message()))
                    assert events[-1]["type"] != "error", events[-1]
                response: dict[str, Any] = events[-1]["response"]
                return response

            tools = {"tools": [{"type": "function", **TOOL}]}
            await send("session.update", session={"type": "realtime", **tools} if is_ga else tools)
            content = [{"type": "input_text", "text": "make it louder please"}]
            await send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
            (call,) = (await done())["output"]
            events.append({"type": "between"})
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": '"eighty"'}
            await send("conversation.item.create", item=output)
            await done()
    return [event for event in events if event["type"] != "between"]


@pytest.mark.parametrize("dialect", Dialect)
async def test_a_function_call_at_the_realtime_door(dialect: Dialect) -> None:
    events = await function_call_events(dialect)
    for event in events:
        parsed = adapter_of(TYPES[dialect].RealtimeServerEvent).validate_python(event, strict=True)
        assert untyped_fields(parsed) <= UNTYPED[dialect], event
    called = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    assert json.loads(called["arguments"]) == {"percent": 80}
    (message,) = events[-1]["response"]["output"]
    assert message["content"][0]["transcript"] == "It is done: eighty."
