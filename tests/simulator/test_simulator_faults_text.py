"""The faults of the text doors: each is made, and is what it says."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from simulator_client import Witness
from text_client import (
    EXIT,
    FAST,
    QUESTION,
    ToldBrain,
    chat,
    chunks,
    client_of,
    converse,
    once,
    respond,
    said,
    simulator,
    socket,
    user,
    words,
)
from trio_websocket import ConnectionClosed, ConnectionRejected

from kioskd.simulator.faults.catalogue import KINDS, TEXT_KINDS, Level, Phase
from kioskd.simulator.faults.replies import SPLIT_PACKET_BYTES, WAIT_S
from kioskd.simulator.faults.script import FaultScript, Rule
from kioskd.simulator.server import serve

ANSWERING = Phase.ANSWERING
REQUEST_KINDS = [name for name, kind in TEXT_KINDS.items() if kind.level is Level.REQUEST]
STARTED = "The "  # what came of the answer before a fault in its second piece


def test_the_example_names_every_fault() -> None:
    text = (Path(__file__).parents[2] / "config" / "demo-faults.yaml").read_text()
    assert [name for name in TEXT_KINDS if name not in text] == []


def test_no_name_means_two_faults() -> None:
    assert not KINDS.keys() & TEXT_KINDS.keys()
    assert all(kind.name == name and kind.phases and kind.summary for name, kind in TEXT_KINDS.items())


@pytest.mark.parametrize("kind", REQUEST_KINDS)
async def test_a_request_is_refused_once(kind: str) -> None:
    witness = Witness()
    async with simulator(faults=once(kind), witness=witness) as port:
        answer = await chat(port)
        assert answer.status_code == int(kind.split("-")[1])
        wait = (answer.headers.get("retry-after"), "reset_seconds" in answer.text, "Retry after" in answer.text)
        if kind == "request-429-header":
            assert wait == (str(WAIT_S), False, False)
        elif kind in ("request-429-body", "request-429-text"):
            assert wait == (None, kind.endswith("body"), kind.endswith("text"))
        assert (await chat(port)).status_code == 200
    assert witness.faults == [(kind, "connect")]


async def test_a_firewall_blocks_every_socket_and_no_request() -> None:
    async with simulator(faults=FaultScript([Rule("upgrade-blocked")])) as port:
        for path in ("responses", "ws", "realtime?model=m"):
            with pytest.raises(ConnectionRejected) as rejected:
                async with socket(port, path):
                    pass
            assert rejected.value.status_code == 403
        assert (await chat(port)).status_code == 200


def ends(events: list[Any]) -> list[str]:
    """The finish reasons of chunks."""
    found = [
        event["choices"][0]["finish_reason"] for event in events if isinstance(event, dict) and event.get("choices")
    ]
    return [reason for reason in found if reason]


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        ("answer-error", {"error": "server_error"}),
        ("answer-error-flat", {"code": "overloaded"}),
        ("answer-rate-limit", {"error": "rate_limit_exceeded"}),
        ("answer-429-integer", {"error": 429}),
        ("cut-with-done", "[DONE]"),
        ("cut-without-done", STARTED),
    ],
)
async def test_an_answer_over_sse_ends_early(kind: str, last: Any) -> None:
    async with simulator(faults=once(kind, ANSWERING)) as port:
        events = chunks((await chat(port, stream=True)).text)
        assert words(events) == STARTED
        assert ends(events) == []
        if kind == "cut-without-done":
            assert words(events[-1:]) == last
        elif isinstance(last, str):
            assert events[-1] == last
        elif "error" in last:
            assert events[-1]["error"]["code"] == last["error"]
        else:
            assert events[-1]["code"] == last["code"]
        assert words(chunks((await chat(port, stream=True)).text)) == EXIT


@pytest.mark.parametrize(("kind", "reason"), [("finish-length", "length"), ("finish-filter", "content_filter")])
async def test_an_answer_over_sse_finishes_otherwise(kind: str, reason: str) -> None:
    async with simulator(faults=once(kind, ANSWERING)) as port:
        events = chunks((await chat(port, stream=True)).text)
        assert (words(events), ends(events), events[-1]) == (STARTED, [reason], "[DONE]")
        assert (await chat(port)).json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("phase", [Phase.ASKED, ANSWERING])
async def test_an_answer_over_sse_is_cut_off_by_its_connection(phase: Phase) -> None:
    async with simulator(faults=once("answer-disconnect", phase)) as port:
        with pytest.raises(httpx.RemoteProtocolError):
            await chat(port, stream=True)
        assert words(chunks((await chat(port, stream=True)).text)) == EXIT


async def test_an_answer_over_sse_stalls() -> None:
    async with simulator(faults=once("answer-stall", ANSWERING)) as port, client_of(port, timeout_s=0.5) as client:
        body = {"model": "m", "messages": [user(QUESTION)], "stream": True}
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/chat/completions", json=body)


@pytest.mark.parametrize("kind", ["unknown-frame", "garbage-frame"])
async def test_an_answer_over_sse_has_what_must_be_ignored(kind: str) -> None:
    async with simulator(faults=once(kind, ANSWERING)) as port:
        lines = [line[6:] for line in (await chat(port, stream=True)).text.splitlines() if line.startswith("data: {")]
        sane = [line for line in lines if line.endswith("}") and "mood" not in line]
        assert len(lines) == len(sane) + 1
        assert words([json.loads(line) for line in sane]) == EXIT


@pytest.mark.parametrize("kind", [name for name, kind in TEXT_KINDS.items() if kind.level is Level.STREAM])
async def test_the_stream_has_another_form_and_says_the_same(kind: str) -> None:
    async with simulator(faults=once(kind)) as port, client_of(port) as client:
        body = {"model": "m", "messages": [user(QUESTION)], "stream": True}
        async with client.stream("POST", "/chat/completions", json=body) as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
    raw = b"".join(pieces)
    assert words(chunks(raw.decode())) == EXIT
    assert (b"data: " not in raw) == (kind == "sse-no-space")
    assert raw.startswith(b":") == (kind == "sse-comments")
    assert (b"\r\n" in raw) == (kind == "sse-crlf")
    assert (answer.headers["content-type"] == "text/html") == (kind == "sse-wrong-type")
    if kind == "sse-split-lines":
        assert len(pieces) > len(raw) / SPLIT_PACKET_BYTES / 100


async def test_a_buffered_stream_comes_after_its_end() -> None:
    async with simulator(faults=once("sse-buffered")) as port, client_of(port) as client:
        body = {"model": "m", "messages": [user(QUESTION)], "stream": True}
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/chat/completions", json=body, timeout=0.5)
        assert (await client.post("/chat/completions", json=body, timeout=0.5)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("answer-error", 500, None),
        ("answer-rate-limit", 429, None),
        ("finish-length", 200, "length"),
    ],
)
async def test_a_plain_answer_fails_too(kind: str, status: int, reason: str | None) -> None:
    async with simulator(faults=once(kind)) as port:
        answer = await chat(port)
        assert answer.status_code == status
        if reason:
            assert answer.json()["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        ("answer-error", {"error": "server_error"}),
        ("answer-429-integer", {"error": 429}),
        ("cut-with-done", "[DONE]"),
        ("cut-without-done", 1000),
        ("answer-disconnect", 1011),
        ("finish-length", "[DONE]"),
    ],
)
async def test_an_answer_over_a_chat_socket_ends_early(kind: str, last: Any) -> None:
    async with simulator(faults=once(kind, ANSWERING)) as port:
        async with socket(port, "ws") as ws:
            events = await converse(ws)
        assert words(events) == STARTED
        assert ends(events) == (["length"] if kind == "finish-length" else [])
        if isinstance(last, dict):
            assert events[-1]["error"]["code"] == last["error"]
        else:
            assert events[-1] == last


@pytest.mark.parametrize("phase", [Phase.ASKED, ANSWERING])
@pytest.mark.parametrize(
    ("kind", "end", "code"),
    [
        ("answer-error", "response.failed", "server_error"),
        ("answer-error-flat", "error", "overloaded"),
        ("answer-rate-limit", "error", "rate_limit_exceeded"),
        ("answer-429-integer", "error", 429),
        ("finish-length", "response.incomplete", "max_output_tokens"),
        ("finish-filter", "response.incomplete", "content_filter"),
    ],
)
async def test_an_answer_of_responses_ends_early_and_the_next_is_whole(
    kind: str, end: str, code: Any, phase: Phase
) -> None:
    async with simulator(faults=once(kind, phase)) as port, socket(port, "responses") as ws:
        events = await respond(ws, input=QUESTION)
        assert said(events) == (STARTED if phase is ANSWERING else "")
        last = events[-1]
        assert last["type"] == end
        if end == "response.incomplete":
            assert last["response"]["incomplete_details"] == {"reason": code}
        elif end == "response.failed":
            assert last["response"]["error"]["code"] == code
        else:
            assert last.get("code", last.get("error", {}).get("code")) == code
        assert said(await respond(ws, input=QUESTION)) == EXIT


@pytest.mark.parametrize(
    ("kind", "code"), [("answer-disconnect", 1011), ("cut-with-done", 1000), ("cut-without-done", 1000)]
)
async def test_an_answer_of_responses_is_cut_off_by_its_connection(kind: str, code: int) -> None:
    async with simulator(faults=once(kind, ANSWERING)) as port, socket(port, "responses") as ws:
        with pytest.raises(ConnectionClosed) as closed:
            await respond(ws, input=QUESTION)
        assert closed.value.reason.code == code


async def test_the_limit_of_a_responses_connection_is_told_before_its_close() -> None:
    async with simulator(faults=once("connection-limit-reached")) as port, socket(port, "responses") as ws:
        (error,) = await respond(ws, input=QUESTION)
        assert error["error"]["code"] == "websocket_connection_limit_reached"
        with pytest.raises(ConnectionClosed) as closed:
            await ws.get_message()
        assert closed.value.reason.code == 1000


async def test_the_response_before_is_forgotten() -> None:
    faults = once("previous-response-not-found", after=1)
    async with simulator(faults=faults) as port, socket(port, "responses") as ws:
        first = (await respond(ws, input=QUESTION))[-1]["response"]["id"]
        (error,) = await respond(ws, input="x", previous_response_id=first)
        assert error["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize("path", ["responses", "ws"])
async def test_an_idle_socket_is_closed_after_an_answer(path: str) -> None:
    async with simulator(faults=once("idle-close")) as port, socket(port, path) as ws:
        if path == "ws":
            assert words(await converse(ws)) == EXIT
        else:
            assert said(await respond(ws, input=QUESTION)) == EXIT
        with pytest.raises(ConnectionClosed) as closed:
            await ws.get_message()
        assert closed.value.reason.code == 1000


@pytest.mark.parametrize("kind", ["answer-disconnect", "answer-stall", "cut-without-done"])
async def test_speech_breaks_off(kind: str) -> None:
    async with simulator(faults=once(kind, ANSWERING)) as port, client_of(port, timeout_s=0.5) as client:
        sound = b""
        try:
            body = {"model": "m", "voice": "marin", "input": "Hello."}
            async with client.stream("POST", "/audio/speech", json=body) as answer:
                async for piece in answer.aiter_raw():
                    sound += piece
        except (httpx.RemoteProtocolError, httpx.ReadTimeout) as error:
            assert isinstance(error, httpx.ReadTimeout) == (kind == "answer-stall")
        else:
            assert kind == "cut-without-done"
        assert len(sound) == 4801


async def test_a_slow_answer_is_a_second_a_piece() -> None:
    async with simulator(faults=once("answer-slow", ANSWERING)) as port, socket(port, "ws") as ws:
        began = trio.current_time()
        await ws.send_message(json.dumps({"model": "m", "messages": [user(QUESTION)], "stream": True}))
        for _ in range(4):
            await ws.get_message()
        assert trio.current_time() - began >= 1.0


async def test_faults_of_the_network_strike_requests_too() -> None:
    witness = Witness()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(
            partial(serve, FAST, ToldBrain(), witness, once("rst-mid-frame", ANSWERING), proxied=True)
        )
        with trio.fail_after(30), pytest.raises(httpx.TransportError):
            await chat(port, stream=True)
        nursery.cancel_scope.cancel()
    assert witness.faults == [("rst-mid-frame", "answering")]
