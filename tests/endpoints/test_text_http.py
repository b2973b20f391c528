"""Chat over plain HTTP against a server on a loopback socket: streams, refusals, and what is fallen back to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from attrs import evolve
from text_servers import (
    END,
    KEY,
    STREAM,
    Asked,
    Handler,
    Taken,
    chunk,
    event,
    http_server,
    question,
    reply,
    running,
    words,
)

from kioskd.config.schema import Auth, Http, Transport
from kioskd.dialogue.events import Usage
from kioskd.endpoints.policy import Kind, OwnerMustAct, Wait, judge, told_wait_s
from kioskd.endpoints.text.chat_http import ChatOverHttp
from kioskd.endpoints.text.model import Delta, Finish, ModelError
from kioskd.endpoints.toolbox import ToolCall

USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}
WHOLE = [words("Hel"), words("lo."), words("", "stop"), USAGE, "[DONE]"]
PLAIN = {"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}], "usage": USAGE["usage"]}
COUNTED = Usage(7, input_text=12, output_text=3)


def streams(*told: object, ends: bytes = END) -> Handler:
    """A server that streams these events, and answers plain requests in one piece."""

    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        if not asked.json.get("stream"):
            await stream.send_all(reply(PLAIN))
            return
        await stream.send_all(STREAM + b"".join(chunk(event(one)) for one in told) + ends)
        if not ends:
            await stream.aclose()

    return handle


async def ask(handle: Handler, request: Any = None, **settings: Any) -> tuple[list[Any], Finish, list[Asked]]:
    taken = Taken()
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(**settings), lambda: KEY)) as model:
        with trio.fail_after(20):
            finish = await model.answer(request or question(), taken)
        return taken.events, finish, server.asked


async def refused(handle: Handler, key: str = KEY, **settings: Any) -> ModelError:
    taken = Taken()
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(**settings), lambda: key)) as model:
        with trio.fail_after(20), pytest.raises(ModelError) as caught:
            await model.answer(question(), taken)
    assert taken.text == ""
    assert key not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value


def refuses(status: int, body: object, **headers: str) -> Handler:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(reply(body, status, **headers))

    return handle


async def test_an_answer_comes_word_by_word_and_is_counted() -> None:
    events, finish, asked = await ask(streams(*WHOLE), max_tokens=99, temperature=0.7)
    assert (events, finish) == ([Delta("Hel"), Delta("lo."), COUNTED], Finish.WHOLE)
    (request,) = asked
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["cache-control"] == "no-cache"
    assert request.headers["accept-encoding"] == "identity"
    body = request.json
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True}
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 99, 0.7)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


async def test_words_are_given_as_they_come() -> None:
    taken = Taken()
    go_on = trio.Event()

    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(STREAM + chunk(event(words("Hel"))))
        await go_on.wait()
        await stream.send_all(chunk(event(words("lo.", "stop")) + event("[DONE]")) + END)

    async with (
        http_server(handle) as server,
        running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(model.answer, question(), taken)
        with trio.fail_after(20):
            await taken.some.wait()
        assert taken.text == "Hel"
        go_on.set()
    assert taken.text == "Hello."


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("mend", [b"\n", b"\r\n", b"\r"])
async def test_a_stream_may_be_cut_anywhere(size: int, mend: bytes) -> None:
    text = ": hello\n\ndata:" + '{"choices":[{"delta":{"content":"Grüße 👋"}}]}\n\n'
    text += 'event: x\ndata: {"choices":[{"delta":{"content":"!"},"finish_reason":"stop"}]}\n\n: bye\ndata:[DONE]'
    data = ("\ufeff" + text).encode().replace(b"\n", mend)

    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(STREAM)
        for at in range(0, len(data), size):
            await stream.send_all(chunk(data[at : at + size]))
        await stream.send_all(END)

    events, finish, _ = await ask(handle)
    assert ("".join(found.text for found in events), finish) == ("Grüße 👋!", Finish.WHOLE)


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        ([words("Hel"), "[DONE]"], END),
        ([words("Hel")], END),
        ([words("Hel")], b""),  # the connection breaks off
        ([words("Hel"), '{"choices":[{"de'], b""),
        ([words("Hel", "length"), "[DONE]"], END),
    ],
)
async def test_a_cut_answer_is_told_as_one(told: list[object], ends: bytes) -> None:
    events, finish, asked = await ask(streams(*told, ends=ends))
    assert (events, finish) == ([Delta("Hel")], Finish.CUT)
    assert len(asked) == 1


async def test_a_connection_that_breaks_off_behind_the_finish_is_no_cut() -> None:
    assert (await ask(streams(words("Hel"), words("", "stop"), ends=b"")))[1] is Finish.WHOLE


@pytest.mark.parametrize("ends", [END, b""])
async def test_a_stream_that_ends_before_it_begins_is_a_failure(ends: bytes) -> None:
    assert (await refused(streams(ends=ends))).failure.kind is Kind.LOST


async def test_an_error_in_the_middle_of_the_stream_is_told() -> None:
    told = {"error": {"message": f"too many from {KEY}", "code": 429, "reset_seconds": 17}}
    failure = (await refused(streams(told))).failure
    assert (failure.code, failure.status, told_wait_s(failure)) == ("429", 429, 17)


async def test_an_error_behind_the_first_words_is_no_cut() -> None:
    taken = Taken()
    handle = streams(words("Hel"), {"error": {"message": "overloaded", "type": "server_error"}})
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        with pytest.raises(ModelError) as caught:
            await model.answer(question(), taken)
    assert (taken.text, caught.value.failure.code) == ("Hel", "server_error")


async def test_what_was_begun_to_be_said_is_never_asked_for_again() -> None:
    taken = Taken()
    handle = streams(words("Hel"), {"error": {"message": "the stream was refused", "code": 400}})
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        with pytest.raises(ModelError):
            await model.answer(question(), taken)
        assert (taken.text, len(server.asked), model.streams) == ("Hel", 1, True)


async def test_a_refusal_that_only_sounds_like_a_stream_is_told() -> None:
    failure = (await refused(refuses(400, {"error": {"message": "Upstream request failed"}}))).failure
    assert failure.status == 400


@pytest.mark.parametrize("behind", [[], [words("")]])
async def test_a_model_that_said_how_it_ended_is_not_waited_for(behind: list[object]) -> None:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        told = [words("Hello."), words("", "stop"), *behind]
        await stream.send_all(STREAM + b"".join(chunk(event(one)) for one in told))
        await trio.sleep_forever()

    events, finish, _ = await ask(handle)
    assert (events[0], finish) == (Delta("Hello."), Finish.WHOLE)


@pytest.mark.parametrize(
    ("body", "headers", "wait_s"),
    [
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, {"Retry_After": "9"}, 9),
        ({"error": {"message": "slow down", "reset_seconds": 8}}, {}, 8),
        ({"error": {"code": 429, "message": "Rate limit exceeded. Retry after 60 seconds"}}, {}, 60),
        ({"error": "Please try again in 1m30s"}, {}, 90),
        (b"nothing at all", {}, None),
    ],
)
async def test_a_told_wait_is_found(body: object, headers: dict[str, str], wait_s: float | None) -> None:
    failure = (await refused(refuses(429, body, **headers))).failure
    assert (failure.status, told_wait_s(failure)) == (429, wait_s)
    assert isinstance(judge(failure, 0, 0.0), Wait)


@pytest.mark.parametrize(
    ("key", "told", "hint"),
    [
        (KEY, "Invalid key; keys begin with hsa-", "HolySheep's keys begin with hsa-, and this one with sk-"),
        ("hsa-0123456789abcdef", "Incorrect API key", "a key that begins with hsa- is HolySheep's"),
        ("sk-ant-0123456789abcdef", "Incorrect API key", "Anthropic's"),
        (KEY, "Incorrect API key", None),
    ],
)
async def test_a_key_of_another_shop_is_called_so(key: str, told: str, hint: str | None) -> None:
    error = {"error": {"message": told, "code": "invalid_api_key"}}
    failure = (await refused(refuses(401, error), key)).failure
    assert isinstance(judge(failure, 0, 0.0), OwnerMustAct)
    assert hint in failure.message if hint else failure.message.endswith(told)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirection_is_followed(status: int) -> None:
    handle = refuses(status, b"", Location="https://evil.example/")
    assert (await refused(handle)).failure.status == status


async def test_a_key_in_the_address_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = "0123456789abcdef0123"
    targets = []

    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        targets.append(asked.target)
        await stream.send_all(reply({"error": {"message": f"no {asked.target}"}}, 403))

    error = await refused(handle, key, auth=Auth.QUERY, key_parameter="pass")
    assert targets == [f"/v1/chat/completions?pass={key}"]
    assert error.failure.status == 403 and key not in caplog.text and key not in repr(error.failure)


async def test_an_unreadable_key_is_a_failure_of_the_key() -> None:
    def read_key() -> str:
        raise OSError("file /k does not exist")

    async with http_server(streams(*WHOLE)) as server, running(ChatOverHttp(server.endpoint(), read_key)) as model:
        for way in (model.check, lambda: model.answer(question(), Taken())):
            with pytest.raises(ModelError) as caught:
                await way()
            assert caught.value.failure.kind is Kind.KEY


async def test_plain_is_asked_in_one_piece_at_once() -> None:
    events, finish, asked = await ask(streams(), transport=Transport.PLAIN)
    assert (events, finish) == ([Delta("Hello."), COUNTED], Finish.WHOLE)
    assert ["stream" in request.json for request in asked] == [False]


async def fallback(
    first: Callable[[Asked, trio.SocketStream], Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[bool]]:
    """The texts of two answers, and which requests asked for a stream."""

    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        if asked.json.get("stream"):
            await first(asked, stream)
        else:
            await stream.send_all(reply(PLAIN))

    monkeypatch.setattr("kioskd.endpoints.text.chat_http.FIRST_WORD_S", 0.3)
    texts = []
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        for _ in range(2):
            taken = Taken()
            with trio.fail_after(20):
                assert await model.answer(question(), taken) is Finish.WHOLE
            texts.append(taken.text)
        return texts, ["stream" in request.json for request in server.asked]


async def holds_all_back(asked: Asked, stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def holds_the_body_back(asked: Asked, stream: trio.SocketStream) -> None:
    await stream.send_all(STREAM)
    await trio.sleep_forever()


async def answers_a_page(asked: Asked, stream: trio.SocketStream) -> None:
    await stream.send_all(reply(b"<html>", kind="text/html"))


async def knows_no_stream(asked: Asked, stream: trio.SocketStream) -> None:
    await stream.send_all(reply({"error": {"message": "Unsupported parameter: stream"}}, 400))


@pytest.mark.parametrize("first", [holds_all_back, holds_the_body_back, answers_a_page, knows_no_stream])
async def test_where_nothing_streams_it_is_asked_in_one_piece_and_that_is_remembered(
    first: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts, streamed = await fallback(first, monkeypatch)
    assert texts == ["Hello.", "Hello."]
    assert streamed == [True, False, False]
    assert [record.levelname for record in caplog.records if "in one piece" in record.message] == ["WARNING"]


async def test_an_answer_in_one_piece_to_a_streaming_request_is_taken() -> None:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(reply(PLAIN))

    events, finish, asked = await ask(handle)
    assert (events, finish, len(asked)) == ([Delta("Hello."), COUNTED], Finish.WHOLE, 1)


async def test_stream_options_are_left_out_where_nobody_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        if "stream_options" in asked.json:
            await stream.send_all(reply({"error": {"message": "Unrecognized argument: stream_options"}}, 400))
        else:
            await streams(*WHOLE)(asked, stream)

    texts, streamed = await fallback(handle, monkeypatch)
    assert (texts, streamed) == (["Hello.", "Hello."], [True, True, True])


async def test_keep_alive_comments_are_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(STREAM)
        for _ in range(6):
            await stream.send_all(chunk(b": keep-alive\n\n"))
            await trio.sleep(0.1)
        await stream.send_all(chunk(event(words("Hello.", "stop"))) + END)

    _, streamed = await fallback(handle, monkeypatch)
    assert streamed == [True, True]


@pytest.mark.parametrize(
    ("http", "told", "finish"),
    [
        (Http(stream_timeout_s=0.2), [words("Hel")], Finish.CUT),
        (Http(total_timeout_s=0.3, answer_timeout_s=0.2), [words("Hel")], Finish.CUT),
        (Http(stream_timeout_s=0.2), ["{}"], None),
    ],
)
async def test_a_stream_that_falls_silent_has_a_deadline(http: Http, told: list[object], finish: Finish | None) -> None:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(STREAM + b"".join(chunk(event(one)) for one in told))
        await trio.sleep_forever()

    if finish is None:
        assert (await refused(handle, http=http)).failure.kind is Kind.SILENCE
    else:
        assert (await ask(handle, http=http))[1] is finish


async def test_no_answer_at_all_has_a_deadline() -> None:
    failure = (await refused(holds_all_back, http=Http(answer_timeout_s=0.2))).failure
    assert failure.kind is Kind.SILENCE and "http.answer_timeout_s" in failure.message


async def test_lines_and_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kioskd.endpoints.http_stream.LINE_BYTES_MAX", 100_000)

    async def endless(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(STREAM)
        while True:
            await stream.send_all(chunk(b"x" * 20_000))

    assert "a line" in (await refused(endless)).failure.message

    async def long(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(reply(b" " * 33 * 2**20))

    assert "larger than 32 MiB" in (await refused(long, transport=Transport.PLAIN)).failure.message


async def test_the_connection_is_kept_and_one_that_was_closed_meanwhile_is_no_failure() -> None:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        if asked.connection == 1 and len(server.asked) == 3:
            await stream.aclose()  # as it begins to read: nothing told the client before
            return
        await streams(*WHOLE)(asked, stream)

    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        for _ in range(3):
            with trio.fail_after(20):
                assert await model.answer(question(), Taken()) is Finish.WHOLE
        assert [asked.connection for asked in server.asked] == [1, 1, 1, 2]


async def test_a_cancelled_answer_closes_its_connection_at_once() -> None:
    gone = trio.Event()
    taken = Taken()

    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        if len(server.asked) > 1:
            await streams(*WHOLE)(asked, stream)
            return
        await stream.send_all(STREAM + chunk(event(words("Hel"))))
        with suppress(trio.BrokenResourceError):
            assert await stream.receive_some() == b""
        gone.set()

    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(model.answer, question(), taken)
            await taken.some.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            await gone.wait()
            assert await model.answer(question(), Taken()) is Finish.WHOLE


async def test_tool_calls_end_an_answer() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "door", "arguments": '{"a":1}'}}
    told = [{"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]}, words("", "tool_calls"), "[DONE]"]
    events, finish, _ = await ask(streams(*told))
    assert (events, finish) == ([ToolCall("c", "door", '{"a":1}')], Finish.TOOL_CALLS)


def serves(**doors: tuple[int, object]) -> Handler:
    async def handle(asked: Asked, stream: trio.SocketStream) -> None:
        status, body = doors.get(asked.target.rpartition("/")[2], (404, {"detail": "Not Found"}))
        await stream.send_all(reply(body, status, kind="text/html" if isinstance(body, bytes) else "application/json"))

    return handle


@pytest.mark.parametrize(
    ("handle", "doors"),
    [
        (serves(verify=(200, {"credits": 12.5})), ["/v1/auth/verify"]),
        (serves(models=(200, {"data": []})), ["/v1/auth/verify", "/v1/models"]),
        (serves(verify=(200, b"<html>"), models=(200, {"data": []})), ["/v1/auth/verify", "/v1/models"]),
        (serves(), ["/v1/auth/verify", "/v1/models"]),
        (serves(models=(403, {"error": {"code": "missing_scope"}})), ["/v1/auth/verify", "/v1/models"]),
        (serves(models=(401, {"error": {"message": "Missing scopes: x"}})), ["/v1/auth/verify", "/v1/models"]),
        (serves(models=(200, {"credits": 10**400})), ["/v1/auth/verify", "/v1/models"]),
    ],
)
async def test_a_good_key_is_checked_where_that_can_be(handle: Handler, doors: list[str]) -> None:
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        await model.check()
        assert [(asked.method, asked.target) for asked in server.asked] == [("GET", door) for door in doors]
        assert model.credits == (12.5 if len(doors) == 1 else None)
        await model.check()  # what isn't there is not asked again
        assert len(server.asked) <= len(doors) + 1


@pytest.mark.parametrize(
    ("handle", "status"),
    [
        (serves(verify=(401, {"error": {"message": "no", "code": "invalid_api_key"}})), 401),
        (serves(models=(401, {"error": "no"})), 401),
        (serves(verify=(429, {"error": "slow"})), 429),
        (serves(verify=(403, b"<html>blocked")), 403),
        (serves(models=(503, b"down")), 503),
    ],
)
async def test_a_check_tells_what_is_wrong(handle: Handler, status: int) -> None:
    async with http_server(handle) as server, running(ChatOverHttp(server.endpoint(), lambda: KEY)) as model:
        with pytest.raises(ModelError) as caught:
            await model.check()
        assert caught.value.failure.status == status


async def test_nobody_there_is_no_connection() -> None:
    async with http_server(streams()) as server:
        settings = server.endpoint()
    async with running(ChatOverHttp(settings, lambda: KEY)) as model:
        with pytest.raises(ModelError) as caught:
            await model.check()
    assert caught.value.failure.kind is Kind.CONNECT


async def test_plain_text_goes_nowhere_but_here() -> None:
    async with http_server(streams()) as server:
        settings = evolve(server.endpoint(), url="http://relay.example/v1/chat/completions")
        async with running(ChatOverHttp(settings, lambda: KEY)) as model:
            with pytest.raises(ModelError) as caught:
                await model.answer(question(), Taken())
    assert caught.value.failure.kind is Kind.SETTINGS
