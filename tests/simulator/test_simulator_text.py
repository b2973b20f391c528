"""The text doors: who may come in, what may be asked, and what they know of a conversation."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import trio
from attrs import evolve
from simulator_client import MemoryChannel, Witness, tone
from text_client import (
    EXIT,
    FAST,
    KEY,
    QUESTION,
    TOOL,
    ToldBrain,
    chat,
    chunks,
    client_of,
    converse,
    respond,
    said,
    simulator,
    socket,
    user,
    words,
)
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, ConnectionRejected

from kioskd.simulator.faults.replies import Faults
from kioskd.simulator.settings import Pace
from kioskd.simulator.text.prompt import Line, Prompt, Who, fitting, think
from kioskd.simulator.text.sockets import ResponsesSocket
from kioskd.simulator.text.wav import pcm_of, wav_of

BEFORE = "What did I ask before?"
NOT_UNDERSTOOD = "I am sorry, I did not understand that."


@pytest.mark.parametrize("key", ["", "sk-wrong"])
@pytest.mark.parametrize("path", ["chat/completions", "audio/transcriptions", "audio/speech"])
async def test_a_request_without_the_right_key_is_a_401(path: str, key: str) -> None:
    async with simulator() as port, httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = await client.post(f"http://127.0.0.1:{port}/v1/{path}", json={}, headers=headers)
        assert answer.status_code == 401
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key" if key else None)


@pytest.mark.parametrize("key", ["", "Bearer sk-wrong"])
@pytest.mark.parametrize("path", ["responses", "ws", "ws/stream?model=m", "stream", "stream?api_key=sk-wrong"])
async def test_an_upgrade_without_the_right_key_is_a_401(path: str, key: str) -> None:
    async with simulator() as port:
        with pytest.raises(ConnectionRejected) as rejected:
            async with socket(port, path, Authorization=key):
                pass
        assert rejected.value.status_code == 401
        assert "error" in json.loads(rejected.value.body or b"{}")


@pytest.mark.parametrize("path", ["ws", "ws/stream?model=gpt-4.1&stream=true", f"stream?api_key={KEY}"])
async def test_each_chat_socket_answers_again_and_again(path: str) -> None:
    async with (
        simulator() as port,
        socket(port, path, Authorization="" if "api_key" in path else f"Bearer {KEY}") as ws,
    ):
        for _ in range(2):
            events = await converse(ws)
            assert words(events) == EXIT
            assert events[-1] == "[DONE]"
            assert events[-2]["choices"][0]["finish_reason"] == "stop"


async def test_the_model_of_the_url_counts_where_the_request_has_none() -> None:
    async with simulator() as port, socket(port, "ws/stream?model=claude-sonnet-4.5") as ws:
        await ws.send_message(json.dumps({"messages": [user(QUESTION)], "stream": True}))
        await ws.get_message()
        assert json.loads(await ws.get_message())["choices"][0]["delta"] == {"text": "The "}


async def test_the_key_in_the_url_opens_that_one_door_only() -> None:
    async with simulator() as port:
        with pytest.raises(ConnectionRejected):
            async with socket(port, f"ws?api_key={KEY}", Authorization=""):
                pass


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"made_up": 1}, "made_up", "unknown_parameter"),
        ({"model": 7}, "model", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "visitor", "content": "hi"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "text": "hi"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages.[0].role", None),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"modalities": ["text", "audio"]}, "audio", "missing_required_parameter"),
        (
            {"modalities": ["text", "audio"], "audio": {"voice": "marin", "format": "wav"}, "stream": True},
            "audio.format",
            "unsupported_value",
        ),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools[0].function", "missing_required_parameter"),
    ],
)
async def test_a_wrong_chat_request_is_told_by_its_parameter(
    body: dict[str, Any], param: str, code: str | None
) -> None:
    async with simulator() as port, client_of(port) as client:
        whole = {"model": "gpt-4.1", "messages": [user(QUESTION)], **body}
        answer = await client.post("/chat/completions", json=whole)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["param"], error["code"]) == (param, code)


async def test_a_tool_call_without_its_result_is_refused() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [user("x"), {"role": "assistant", "content": None, "tool_calls": [call]}, user("y")]
    async with simulator() as port:
        answer = await chat(port, messages)
        assert answer.status_code == 400
        assert "call_1" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True}, "stream"),
        ({"background": True}, "background"),
        ({"response": {}}, "response"),
        ({"input": 7}, "input"),
        ({"input": [{"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}]}, None),
        ({"max_output_tokens": 1}, "max_output_tokens"),
        ({"previous_response_id": "resp_1", "input": "x"}, "previous_response_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
    ],
)
async def test_a_wrong_responses_request_is_told_and_the_next_one_answered(
    fields: dict[str, Any], param: str | None
) -> None:
    async with simulator() as port, socket(port, "responses") as ws:
        (error,) = await respond(ws, **{"input": "x", **fields})
        assert (error["type"], error["status"]) == ("error", 400)
        assert error["error"]["param"] == (param or "input[0].content[0].type")
        assert said(await respond(ws, input=QUESTION)) == EXIT


async def test_nested_responses_share_a_path_with_realtime() -> None:
    async with simulator() as port, socket(port, "realtime", OpenAI_Beta="realtime=v1") as ws:
        assert said(await respond(ws, nested=True, input=QUESTION)) == EXIT
        (error,) = await respond(ws, nested=True, input="x", store=True)
        assert error["error"]["param"] == "response.store"
        (error,) = await respond(ws, nested=False, input="x")
        assert error["error"]["code"] in ("missing_required_parameter", "unknown_parameter")


async def test_what_is_no_nested_request_means_realtime() -> None:
    async with simulator() as port, socket(port, "realtime", OpenAI_Beta="realtime=v1") as ws:
        await ws.send_message(json.dumps({"type": "session.update", "session": {}}))
        assert json.loads(await ws.get_message())["error"]["code"] == "beta_api_shape_disabled"
        with pytest.raises(ConnectionClosed) as closed:
            await ws.get_message()
        assert closed.value.reason.code == 4000


async def test_chat_knows_what_it_was_told_and_nothing_else() -> None:
    async with simulator() as port:
        messages = [user(QUESTION), {"role": "assistant", "content": EXIT}, user(BEFORE)]
        assert (await chat(port, messages)).json()["choices"][0]["message"]["content"].endswith(f"asked: {QUESTION}.")
        assert (await chat(port, [user(BEFORE)])).json()["choices"][0]["message"]["content"] == NOT_UNDERSTOOD


@pytest.mark.parametrize("store", [False, True])
async def test_what_is_not_stored_is_known_on_its_own_socket_only(store: bool) -> None:
    async with simulator() as port:
        async with socket(port, "responses") as ws:
            first = (await respond(ws, input=QUESTION, store=store))[-1]["response"]["id"]
            events = await respond(ws, input=BEFORE, previous_response_id=first, store=store)
            assert said(events).endswith(f"asked: {QUESTION}.")
        async with socket(port, "responses") as ws:
            (*_, last) = events = await respond(ws, input=BEFORE, previous_response_id=first)
            if store:
                assert said(events).endswith(f"asked: {QUESTION}.")
            else:
                assert last["error"]["code"] == "previous_response_not_found"
            assert said(await respond(ws, input=BEFORE)) == NOT_UNDERSTOOD


async def test_responses_call_a_tool_and_use_its_result() -> None:
    tools = [{"type": "function", **TOOL}]
    async with simulator() as port, socket(port, "responses") as ws:
        response = (await respond(ws, input="make it louder please", tools=tools))[-1]["response"]
        (call,) = response["output"]
        assert (call["type"], json.loads(call["arguments"])) == ("function_call", {"percent": 80})
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"volume": 80}'}
        events = await respond(ws, input=[output], tools=tools, previous_response_id=response["id"])
        assert said(events) == "It is done: volume 80."
        (error,) = await respond(ws, input="x", previous_response_id=response["id"])
        assert "No tool output found" in error["error"]["message"]


async def test_no_tool_is_called_that_was_not_declared() -> None:
    async with simulator() as port:
        answer = (await chat(port, [user("make it louder please")])).json()
        assert answer["choices"][0]["message"]["content"] == NOT_UNDERSTOOD


async def test_a_cut_answer_is_gone_on_with() -> None:
    heard = "The exit is behind you,"
    messages = [user(QUESTION), {"role": "assistant", "content": heard}, user("Continue where you stopped.")]
    async with simulator() as port:
        rest = (await chat(port, messages)).json()["choices"][0]["message"]["content"]
    assert f"{heard} {rest}" == EXIT


async def test_an_answer_by_a_schema_is_json_that_fits() -> None:
    form = {
        "type": "object",
        "properties": {"say": {"type": "string"}, "ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 3}},
    }
    wanted = {"say": EXIT, "ok": True, "n": 3}
    async with simulator() as port, socket(port, "responses") as ws:
        said_form = {"type": "json_schema", "json_schema": {"name": "a", "schema": form, "strict": True}}
        answer = await chat(port, response_format=said_form)
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) == wanted
        text = {"format": {"type": "json_schema", "name": "a", "schema": form}}
        assert json.loads(said(await respond(ws, input=QUESTION, text=text))) == wanted


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 7}, 7),
        ({"enum": ["left", "right"]}, "right"),
        ({"type": "array", "items": {"type": "null"}}, [None]),
        ({"type": "integer", "maximum": 5}, 5),
        ({"type": ["string", "null"], "maxLength": 4}, "it i"),
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert fitting(schema, "it is on the right, 12 steps", True) == value


async def test_an_earlier_sound_can_be_named_until_it_expires() -> None:
    spoken: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "marin", "format": "wav"}}
    async with simulator() as port:
        audio = (await chat(port, **spoken)).json()["choices"][0]["message"]["audio"]
        assert pcm_of(base64.b64decode(audio["data"]), "") == tone(2000)
        messages = [user(QUESTION), {"role": "assistant", "audio": {"id": audio["id"]}}, user("continue")]
        rest = (await chat(port, messages)).json()["choices"][0]["message"]["content"]
        assert rest == "That was all."
        messages[1] = {"role": "assistant", "audio": {"id": "audio_unknown"}}
        assert (await chat(port, messages)).json()["error"]["code"] == "audio_not_found"


async def test_a_spoken_question_is_heard_as_it_came() -> None:
    witness = Witness()
    data = base64.b64encode(wav_of(tone(500))).decode()
    content = [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]
    async with simulator(witness=witness) as port:
        answer = await chat(port, [{"role": "user", "content": content}], stream=True)
        assert words(chunks(answer.text)) == EXIT
        content[0]["input_audio"]["data"] = base64.b64encode(b"no wav").decode()  # type: ignore[index]
        assert (await chat(port, [{"role": "user", "content": content}])).status_code == 400


@pytest.mark.parametrize(
    ("fields", "file", "param"),
    [
        ({"model": "m"}, b"no wav", "file"),
        ({}, wav_of(tone(300)), "model"),
        ({"model": "m", "made_up": "1"}, wav_of(tone(300)), "made_up"),
        ({"model": "m", "response_format": "srt"}, wav_of(tone(300)), "response_format"),
    ],
)
async def test_a_wrong_transcription_is_told_by_its_parameter(fields: dict[str, str], file: bytes, param: str) -> None:
    async with simulator() as port, client_of(port) as client:
        answer = await client.post("/audio/transcriptions", data=fields, files={"file": ("q.wav", file)})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_transcription_of_more_than_25_mib_is_a_413() -> None:
    async with simulator() as port, client_of(port) as client:
        files = {"file": ("q.wav", bytes(25 * 2**20))}
        answer = await client.post("/audio/transcriptions", data={"model": "m"}, files=files)
        assert answer.status_code == 413


async def test_speech_comes_in_chunks_that_end_inside_samples() -> None:
    async with simulator() as port, client_of(port) as client:
        body = {"model": "m", "voice": "marin", "input": "Hello.", "response_format": "pcm", "stream_format": "audio"}
        async with client.stream("POST", "/audio/speech", json=body) as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
        assert b"".join(pieces) == tone(2000)
        assert any(len(piece) % 2 for piece in pieces)
        answer = await client.post("/audio/speech", json={**body, "input": "x" * 4097})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")


@pytest.mark.parametrize(("pace", "told"), [(Pace(idle_s=900), 0), (Pace(session_s=3600, idle_s=1e6), 1)])
async def test_a_socket_ends_when_it_was_idle_or_is_old(autojump_clock: MockClock, pace: Pace, told: int) -> None:
    to_client, receiving = trio.open_memory_channel[Any](1000)
    sending, to_server = trio.open_memory_channel[str | bytes](10)
    channel = MemoryChannel(to_client, to_server)
    began = autojump_clock.current_time()
    faults = Faults(None, Witness())
    await ResponsesSocket(channel, ToldBrain(), pace, Witness(), faults).run()
    assert channel.closed == (1000, "")
    assert autojump_clock.current_time() - began == min(pace.idle_s, pace.session_s)
    events = [event async for event in receiving]
    assert [event["error"]["code"] for event in events] == ["websocket_connection_limit_reached"] * told
    await sending.aclose()


async def test_requests_on_a_socket_are_answered_one_after_the_other() -> None:
    async with simulator() as port, socket(port, "responses") as ws:
        for text in (QUESTION, "how much is a ticket"):
            fields = {"type": "response.create", "model": "m", "store": False, "input": text}
            await ws.send_message(json.dumps(fields))
        kinds: list[str] = []
        while kinds.count("response.completed") < 2:
            kinds.append(json.loads(await ws.get_message())["type"])
        assert kinds[kinds.index("response.completed") + 1] == "response.created"


async def test_a_client_that_goes_in_the_middle_harms_no_other() -> None:
    slow = evolve(FAST, pace=Pace(speed=0.1, created_after_s=0.0))
    async with simulator(slow) as port:
        async with client_of(port) as client:
            body = {"model": "m", "messages": [user(QUESTION)], "stream": True}
            async with client.stream("POST", "/chat/completions", json=body) as answer:
                await anext(answer.aiter_raw())
        async with socket(port, "responses") as ws:
            await ws.send_message(json.dumps({"type": "response.create", "model": "m", "input": QUESTION}))
            await ws.get_message()
        async with client_of(port) as client:
            assert (await client.get("/auth/verify")).json() == {"credits": 100.0}


async def test_a_question_is_the_last_one_that_was_asked() -> None:
    lines = [Line(Who.USER, QUESTION), Line(Who.KIOSK, EXIT), Line(Who.USER, "how much is a ticket")]
    thought = await think(ToldBrain(), Prompt("", lines))
    assert thought.reply == "A ticket costs twelve euros, and six euros for children."
    assert (await think(ToldBrain(), Prompt("", ()))).reply == NOT_UNDERSTOOD
