"""Chat and Responses over WebSockets against scripted servers on loopback sockets."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from attrs import evolve
from text_servers import KEY, Spoken, Taken, question, running, socket_server, words

from kioskd.config.schema import Auth, Envelope, Http
from kioskd.dialogue.events import Usage
from kioskd.endpoints.policy import Kind
from kioskd.endpoints.text.chat_socket import ChatOverSocket
from kioskd.endpoints.text.model import Delta, Finish, Message, ModelError, Request, Role
from kioskd.endpoints.text.responses_socket import ResponsesOverSocket
from kioskd.endpoints.toolbox import ToolCall

CHAT, RESPONSES = "/v1/ws", "/v1/responses"
USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}


async def chats(spoken: Spoken) -> None:
    """A chat server that answers for ever: with its connection's number and the question's."""
    while True:
        asked = await spoken.hear()
        name = f"{spoken.number}.{len(spoken.heard)}"
        chunks = [words(f"{name} "), words(asked["messages"][-1]["content"]), words("", "stop"), USAGE, "[DONE]"]
        await spoken.tell(*({**chunk, "id": name} if isinstance(chunk, dict) else chunk for chunk in chunks))


def fields(event: dict[str, Any]) -> dict[str, Any]:
    found = event.get("response", event)
    assert isinstance(found, dict)
    return found


def response(response_id: str, *pieces: str, end: str = "completed", **more: Any) -> list[dict[str, Any]]:
    deltas = [
        {"type": "response.output_text.delta", "item_id": f"msg_{response_id}", "content_index": 0, "delta": piece}
        for piece in pieces
    ]
    return [
        {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}},
        *deltas,
        {"type": f"response.{end}", "response": {"id": response_id, "status": end, **more}},
    ]


async def responds(spoken: Spoken) -> None:
    """A Responses server that answers for ever, and knows what it said on this connection."""
    while True:
        await spoken.hear()
        name = f"{spoken.number}.{len(spoken.heard)}"
        await spoken.tell(*response(name, f"{name} ", "said."))


async def say(model: Any, request: Request) -> str:
    taken = Taken()
    with trio.fail_after(20):
        assert await model.answer(request, taken) is Finish.WHOLE
    return taken.text


async def fail(model: Any, request: Request | None = None) -> ModelError:
    taken = Taken()
    with trio.fail_after(20), pytest.raises(ModelError) as caught:
        await model.answer(request or question(), taken)
    assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("path", "settings", "reached", "bearer"),
    [
        ("/v1/ws", {}, "/v1/ws", True),
        ("/v1/ws/stream", {}, "/v1/ws/stream?model=m&stream=true", True),
        ("/v1/ws/stream?stream=false", {"query": {"tier": "2"}}, "/v1/ws/stream?stream=false&model=m&tier=2", True),
        ("/v1/stream", {"auth": Auth.QUERY}, f"/v1/stream?api_key={KEY}", False),
    ],
)
async def test_chat_takes_both_ways_of_passing_the_key(
    path: str, settings: dict[str, Any], reached: str, bearer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        socket_server(chats) as server,
        running(ChatOverSocket(server.endpoint(path, max_tokens=50, **settings), lambda: KEY)) as model,
    ):
        taken = Taken()
        assert await model.answer(question(), taken) is Finish.WHOLE
        (spoken,) = server.connections
        assert spoken.path == reached
        assert ("authorization" in spoken.headers) is bearer
        assert taken.events == [Delta("1.1 "), Delta("hello"), Usage(7, input_text=12, output_text=3)]
        (asked,) = spoken.heard
        assert (asked["model"], asked["stream"], asked["max_tokens"]) == ("m", True, 50)
        assert "stream_options" not in asked
    ours = [record for record in caplog.records if record.name.startswith("kioskd")]
    assert not any(KEY in record.getMessage() for record in ours)


@pytest.mark.parametrize(
    ("kind", "path", "talk"), [(ChatOverSocket, CHAT, chats), (ResponsesOverSocket, RESPONSES, responds)]
)
async def test_the_connection_is_kept_between_questions(kind: Any, path: str, talk: Any) -> None:
    async with socket_server(talk) as server, running(kind(server.endpoint(path), lambda: KEY)) as model:
        await model.check()
        assert [await say(model, question("x")) for _ in range(3)] == (
            ["1.1 x", "1.2 x", "1.3 x"] if talk is chats else ["1.1 said.", "1.2 said.", "1.3 said."]
        )
        await model.check()
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("kind", "path", "talk"), [(ChatOverSocket, CHAT, chats), (ResponsesOverSocket, RESPONSES, responds)]
)
@pytest.mark.parametrize("how", ["closed while idle", "broken off at the question", "too old", "another key"])
async def test_a_stale_connection_is_replaced_in_silence(kind: Any, path: str, talk: Any, how: str) -> None:
    keys = [KEY]

    async def handle(spoken: Spoken) -> None:
        if spoken.number > 1 or how in ("too old", "another key"):
            await talk(spoken)
        await spoken.hear()
        await spoken.tell(*(response("r0", "one") if talk is responds else [words("one", "stop"), "[DONE]"]))
        if how == "broken off at the question":
            await spoken.hear()
            await spoken.break_off()
        await spoken.socket.aclose(1000, "idle")

    settings: dict[str, Any] = {"session_limit_s": 0.0001} if how == "too old" else {}
    async with (
        socket_server(handle) as server,
        running(kind(server.endpoint(path, **settings), lambda: keys[0])) as model,
    ):
        await say(model, question())
        if how == "another key":
            keys[0] = "sk-another-key-0123456789"
        if how == "closed while idle":
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await say(model, question("x"))).startswith("2.1 ")
        assert len(server.connections) == 2
        assert server.connections[1].headers["authorization"] == f"Bearer {keys[0]}"


@pytest.mark.parametrize(
    ("told", "closes", "finish", "text"),
    [
        ([words("Hel"), words("lo", "stop"), "[DONE]"], False, Finish.WHOLE, "Hello"),
        ([words("Hel"), words("lo", "stop")], False, Finish.WHOLE, "Hello"),
        ([words("Hel"), words("lo", "stop")], True, Finish.WHOLE, "Hello"),
        ([words("Hel"), "[DONE]"], False, Finish.CUT, "Hel"),
        ([words("Hel")], True, Finish.CUT, "Hel"),
        ([words("Hel", "length")], False, Finish.CUT, "Hel"),
        ([words("Hel", "length")], True, Finish.CUT, "Hel"),
        (['data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}'], False, Finish.WHOLE, "Hello"),
    ],
)
async def test_whole_and_cut_chat_answers_are_told_apart(
    told: list[object], closes: bool, finish: Finish, text: str
) -> None:
    async def handle(spoken: Spoken) -> None:
        if spoken.number > 1:
            await chats(spoken)
        await spoken.hear()
        await spoken.tell(*told)
        if not closes:
            await chats(spoken)

    async with socket_server(handle) as server, running(ChatOverSocket(server.endpoint(CHAT), lambda: KEY)) as model:
        taken = Taken()
        with trio.fail_after(20):
            assert await model.answer(question(), taken) is finish
        assert taken.text == text
        assert (await say(model, question("next"))).endswith("next")


async def test_what_comes_late_is_not_the_next_answer() -> None:
    async def handle(spoken: Spoken) -> None:
        await spoken.hear()
        await spoken.tell({**words("one", "stop"), "id": "a"})
        await spoken.hear()
        await spoken.tell("[DONE]", {**words("late"), "id": "a"}, {**words("two", "stop"), "id": "b"}, "[DONE]")
        await spoken.hear()

    async with socket_server(handle) as server, running(ChatOverSocket(server.endpoint(CHAT), lambda: KEY)) as model:
        assert [await say(model, question()) for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("kind", "path", "talk"), [(ChatOverSocket, CHAT, chats), (ResponsesOverSocket, RESPONSES, responds)]
)
async def test_a_cancelled_answer_leaves_a_clean_socket(kind: Any, path: str, talk: Any) -> None:
    gone = trio.Event()

    async def handle(spoken: Spoken) -> None:
        if spoken.number > 1:
            await talk(spoken)
        try:
            await spoken.hear()
            await spoken.tell(*(response("r0", "old ")[:2] if talk is responds else [words("old ")]))
            await spoken.hear()
        finally:
            gone.set()

    async with socket_server(handle) as server, running(kind(server.endpoint(path), lambda: KEY)) as model:
        taken = Taken()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(model.answer, question(), taken)
                await taken.some.wait()
                nursery.cancel_scope.cancel()
            await gone.wait()  # it is stopped at the model, too
            assert (await say(model, question("x"))).startswith("2.1 ")
        assert taken.text == "old "
        assert len(server.connections) == 2  # opened once: the question found it


@pytest.mark.parametrize(("kind", "path"), [(ChatOverSocket, CHAT), (ResponsesOverSocket, RESPONSES)])
async def test_an_upgrade_that_is_refused_is_told_and_tried_again(kind: Any, path: str) -> None:
    talk = chats if kind is ChatOverSocket else responds
    async with (
        socket_server(talk, refuse=lambda number: 401 if number < 3 else 0) as server,
        running(kind(server.endpoint(path), lambda: "hsa-0123456789abcdef")) as model,
    ):
        with pytest.raises(ModelError) as caught:
            await model.check()
        assert caught.value.failure.status == 401 and "HolySheep" in caught.value.failure.message
        assert (await fail(model)).failure.status == 401
        await say(model, question())


@pytest.mark.parametrize(("kind", "path"), [(ChatOverSocket, CHAT), (ResponsesOverSocket, RESPONSES)])
async def test_a_key_that_cant_be_read_is_a_failure_of_the_key(kind: Any, path: str) -> None:
    def read_key() -> str:
        raise ValueError("no key found")

    async with socket_server(chats) as server, running(kind(server.endpoint(path), read_key)) as model:
        assert (await fail(model)).failure.kind is Kind.KEY


@pytest.mark.parametrize(("kind", "path"), [(ChatOverSocket, CHAT), (ResponsesOverSocket, RESPONSES)])
async def test_a_server_that_closes_at_once_is_lost_and_not_dialled_for_ever(kind: Any, path: str) -> None:
    async def handle(spoken: Spoken) -> None:
        return

    async with socket_server(handle) as server, running(kind(server.endpoint(path), lambda: KEY)) as model:
        assert (await fail(model)).failure.kind is Kind.LOST
        assert len(server.connections) <= 2


@pytest.mark.parametrize(("kind", "path"), [(ChatOverSocket, CHAT), (ResponsesOverSocket, RESPONSES)])
@pytest.mark.parametrize("began", [False, True])
async def test_silence_has_a_deadline(kind: Any, path: str, began: bool) -> None:
    async def handle(spoken: Spoken) -> None:
        await spoken.hear()
        if began:
            await spoken.tell(*([words("Hel")] if kind is ChatOverSocket else response("r1", "Hel")[:2]))
        await spoken.hear()

    http = Http(answer_timeout_s=0.3, stream_timeout_s=0.3)
    async with socket_server(handle) as server, running(kind(server.endpoint(path, http=http), lambda: KEY)) as model:
        if began:
            assert await model.answer(question(), Taken()) is Finish.CUT
        else:
            assert (await fail(model)).failure.kind is Kind.SILENCE


async def test_a_dead_connection_is_found_out_by_its_pings() -> None:
    dead = trio.Event()

    async def handle(spoken: Spoken) -> None:
        if spoken.number == 1:
            stream = spoken.socket._stream
            receive_some = stream.receive_some

            async def until_dead(*how: Any) -> bytes | bytearray:
                data = await receive_some(*how)
                if dead.is_set():  # nobody there reads any more
                    await trio.sleep_forever()
                return data

            stream.receive_some = until_dead
            await spoken.hear()
            await spoken.tell(words("one", "stop"), "[DONE]")
            dead.set()
            await trio.sleep_forever()
        await chats(spoken)

    async with (
        socket_server(handle) as server,
        running(ChatOverSocket(server.endpoint(CHAT, ping_timeout_s=0.3, close_timeout_s=0.2), lambda: KEY)) as model,
    ):
        await say(model, question())
        await dead.wait()
        assert await say(model, question("x")) == "2.1 x"


@pytest.mark.parametrize("envelope", Envelope)
async def test_responses_are_asked_in_the_envelope_of_the_profile(envelope: Envelope) -> None:
    path = RESPONSES if envelope is Envelope.TOP_LEVEL else "/v1/realtime"
    async with (
        socket_server(responds) as server,
        running(ResponsesOverSocket(server.endpoint(path, envelope=envelope), lambda: KEY)) as model,
    ):
        await say(model, question())
        (spoken,) = server.connections
        (asked,) = spoken.heard
    assert ("response" in asked) is (envelope is Envelope.NESTED)
    assert (spoken.headers.get("openai-beta") == "realtime=v1") is (envelope is Envelope.NESTED)
    assert spoken.path == path
    assert fields(asked)["store"] is False and not {"stream", "background"} & fields(asked).keys()


def follow(*texts: str) -> Request:
    """The next question of a conversation in which the kiosk said these."""
    before = [m for text in texts for m in (Message(Role.VISITOR, "hello"), Message(Role.KIOSK, text))]
    return question("hello", *before)


def sent(server: Any) -> list[list[tuple[str | None, int]]]:
    """Of each connection: the responses built upon, and how many items were sent."""
    return [[(fields(e)["previous_response_id"], len(fields(e)["input"])) for e in heard] for heard in server.heard]


@pytest.mark.parametrize("envelope", Envelope)
async def test_only_what_is_new_is_sent_on_the_same_connection(envelope: Envelope) -> None:
    async with (
        socket_server(responds) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES, envelope=envelope), lambda: KEY)) as model,
    ):
        await say(model, follow())
        await say(model, follow("1.1 said."))
        await say(model, follow("1.1 said.", "1.2 sa … [interrupted about here]"))
        model.forget()
        await say(model, follow())
        assert sent(server) == [[(None, 1), ("1.1", 1), (None, 5), (None, 1)]]


async def test_a_server_that_keeps_nothing_gets_everything() -> None:
    async with (
        socket_server(responds) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES, server_keeps=False), lambda: KEY)) as model,
    ):
        await say(model, follow())
        await say(model, follow("1.1 said."))
        assert sent(server) == [[(None, 1), (None, 3)]]


NOT_FOUND = {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "gone"}}
FLAT = {"type": "error", "code": "previous_response_not_found", "message": "gone", "sequence_number": 0}
LIMIT = {"type": "error", "status": 400, "error": {"code": "websocket_connection_limit_reached", "message": "60 min"}}


@pytest.mark.parametrize("error", [NOT_FOUND, FLAT])
async def test_a_server_that_has_forgotten_gets_everything_on_the_same_connection(error: dict[str, Any]) -> None:
    async def handle(spoken: Spoken) -> None:
        while True:
            asked = fields(await spoken.hear())
            told = [error] if asked["previous_response_id"] else response(f"r{len(spoken.heard)}", "said.")
            await spoken.tell(*told)

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        await say(model, follow())
        assert await say(model, follow("said.")) == "said."
        assert sent(server) == [[(None, 1), ("r1", 1), (None, 3)]]


async def test_an_error_that_nothing_was_forgotten_by_is_told_once() -> None:
    async def handle(spoken: Spoken) -> None:
        while True:
            await spoken.hear()
            await spoken.tell(NOT_FOUND)

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        assert (await fail(model)).failure.code == "previous_response_not_found"
        assert len(server.heard[0]) == 1


@pytest.mark.parametrize("closes", [False, True])
async def test_the_limit_of_a_connection_is_not_noticed(closes: bool) -> None:
    async def handle(spoken: Spoken) -> None:
        if spoken.number > 1:
            await responds(spoken)
        await spoken.hear()
        await spoken.tell(*response("1.1", "1.1 said."))
        await spoken.hear()
        await spoken.tell(LIMIT)
        if not closes:
            await spoken.hear()

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        await say(model, follow())
        assert await say(model, follow("1.1 said.")) == "2.1 said."
        assert sent(server) == [[(None, 1), ("1.1", 1)], [(None, 3)]]


async def test_a_limit_that_is_always_reached_is_told() -> None:
    async def handle(spoken: Spoken) -> None:
        await spoken.hear()
        await spoken.tell(LIMIT)

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        assert (await fail(model)).failure.code == "websocket_connection_limit_reached"
        assert sum(len(heard) for heard in server.heard) == 3


async def test_a_connection_lost_in_the_middle_is_a_cut_and_the_rest_is_asked_whole() -> None:
    async def handle(spoken: Spoken) -> None:
        if spoken.number > 1:
            await responds(spoken)
        await spoken.hear()
        await spoken.tell(*response("r1", "Hel", "lo")[:2])

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        taken = Taken()
        assert await model.answer(follow(), taken) is Finish.CUT
        assert taken.text == "Hel"
        await say(model, follow("Hel"))
        assert sent(server) == [[(None, 1)], [(None, 3)]]


async def test_a_refusal_leaves_the_connection_to_the_next_question() -> None:
    async def handle(spoken: Spoken) -> None:
        await spoken.hear()
        await spoken.tell({"type": "error", "error": {"code": 429, "message": "Retry after 60 seconds"}})
        await responds(spoken)

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        failure = (await fail(model)).failure
        assert (failure.code, failure.status) == ("429", 429)
        assert await say(model, question()) == "1.2 said."


async def test_function_calls_and_their_results_go_over_one_connection() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "door", "arguments": "{}"}

    async def handle(spoken: Spoken) -> None:
        await spoken.hear()
        await spoken.tell(*response("r1", output=[item]))
        await spoken.hear()
        await spoken.tell(*response("r2", "It is open."))
        await spoken.hear()

    async with (
        socket_server(handle) as server,
        running(ResponsesOverSocket(server.endpoint(RESPONSES), lambda: KEY)) as model,
    ):
        taken, first = Taken(), follow()
        assert await model.answer(first, taken) is Finish.TOOL_CALLS
        assert taken.events == [ToolCall("c", "door", "{}")]
        called = Message(Role.KIOSK, "", (ToolCall("c", "door", "{}"),))
        result = Message(Role.VISITOR, '"open"', answers_call="c")
        request = evolve(first, messages=[*first.messages, called, result])
        assert await say(model, request) == "It is open."
        assert sent(server) == [[(None, 1), ("r1", 1)]]
        assert fields(server.heard[0][1])["input"] == [
            {"type": "function_call_output", "call_id": "c", "output": json.dumps("open")}
        ]
