"""The Responses wire: what is asked in both envelopes, and what is taken of an answer's events."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from text_servers import question

from kioskd.config.schema import Endpoint, Envelope
from kioskd.dialogue.events import Usage
from kioskd.endpoints.text.chat_chunks import AnswerError
from kioskd.endpoints.text.model import Delta, Finish, Message, Role, TextEvent
from kioskd.endpoints.text.responses import Known, ResponseAnswer, create
from kioskd.endpoints.toolbox import ToolCall, ToolOffer

SETTINGS = Endpoint("here", "wss://localhost/v1/responses", "m", max_tokens=8, temperature=0.5)
HELLO, HI = Message(Role.VISITOR, "hello"), Message(Role.KIOSK, "Hi.")
CALL = ToolCall("c", "door", "{}")


def delta(text: str, item_id: str = "msg_1") -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": item_id, "content_index": 0, "delta": text}


def created(response_id: str = "r1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}}


def ended(how: str = "completed", response_id: str = "r1", **more: Any) -> dict[str, Any]:
    return {"type": f"response.{how}", "response": {"id": response_id, "status": how, **more}}


def read(*events: object, stale_id: str = "") -> tuple[ResponseAnswer, list[TextEvent], Finish]:
    answer = ResponseAnswer(7, stale_id)
    found: list[TextEvent] = []
    for event in events:
        found += answer.feed(event if isinstance(event, str) else json.dumps(event))
    ends, finish = answer.end()
    return answer, found + ends, finish


def test_the_two_envelopes_hold_the_same() -> None:
    top = json.loads(create(SETTINGS, question(), None))
    nested = json.loads(create(evolve(SETTINGS, envelope=Envelope.NESTED), question(), None))
    assert nested == {"type": "response.create", "response": {k: v for k, v in top.items() if k != "type"}}
    assert top["store"] is False and top["previous_response_id"] is None
    assert (top["max_output_tokens"], top["temperature"], top["instructions"]) == (16, 0.5, "Be brief.")
    assert not {"stream", "background"} & {*top, *nested["response"]}


def test_tools_and_a_schema_are_offered() -> None:
    offer = ToolOffer("door", "opens it", {"type": "object"})
    asked = json.loads(create(SETTINGS, question(tools=[offer], schema={"type": "object"}), None))
    (tool,) = asked["tools"]
    assert (tool["type"], tool["name"], tool["parameters"]) == ("function", "door", {"type": "object"})
    assert asked["text"]["format"]["schema"] == {"type": "object"}


def test_only_what_is_new_goes_to_a_server_that_knows_the_rest() -> None:
    known = Known("r1", (HELLO, HI))
    asked = json.loads(create(SETTINGS, question("and then?", HELLO, HI), known))
    assert asked["previous_response_id"] == "r1"
    assert [item["content"][0]["text"] for item in asked["input"]] == ["and then?"]


@pytest.mark.parametrize(
    "before",
    [
        [],  # forgotten
        [HELLO],
        [HELLO, Message(Role.KIOSK, "H … [interrupted about here]")],
        [HELLO, HI, HELLO, HI],  # the server's is older: the new is more than one question, and complete
        [Message(Role.VISITOR, "something else"), HI],
        [HELLO, evolve(HI, calls=(CALL,))],
    ],
)
def test_where_it_knows_something_else_everything_is_sent(before: list[Message]) -> None:
    asked = json.loads(create(SETTINGS, question("and then?", *before), Known("r1", (HELLO, HI))))
    prefix = before[:2] == [HELLO, HI]
    assert asked["previous_response_id"] == ("r1" if prefix else None)
    assert len(asked["input"]) == len(before) + 1 - (2 if prefix else 0) + sum(len(m.calls) for m in before)


def test_a_tools_result_follows_its_call() -> None:
    called = Message(Role.KIOSK, "", (CALL,))
    result = Message(Role.VISITOR, '"open"', answers_call="c")
    request = evolve(question(), messages=[HELLO, called, result])
    output = {"type": "function_call_output", "call_id": "c", "output": '"open"'}
    whole = json.loads(create(SETTINGS, request, None))["input"]
    assert whole[1:] == [{"type": "function_call", "call_id": "c", "name": "door", "arguments": "{}"}, output]
    assert json.loads(create(SETTINGS, request, Known("r1", (HELLO, called))))["input"] == [output]


@given(st.lists(st.text(max_size=20), max_size=10))
def test_the_words_come_whole_and_in_order(pieces: list[str]) -> None:
    answer, events, finish = read(created(), *map(delta, pieces), ended())
    assert "".join(e.text for e in events if isinstance(e, Delta)) == "".join(pieces) == answer.text
    assert finish is Finish.WHOLE


def test_an_answer_is_counted_and_known_from_then_on() -> None:
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 2}
    answer, events, _ = read(created(), delta("Hi."), ended(usage=usage))
    assert events == [Delta("Hi."), Usage(7, input_text=9, cached_text=4, output_text=2)]
    assert answer.known(question()) == Known("r1", (*question().messages, HI))


@pytest.mark.parametrize(
    "end",
    [[], [ended("incomplete", incomplete_details={"reason": "max_output_tokens"})], [ended("cancelled")]],
)
def test_a_cut_answer_is_told_as_one_and_not_built_upon(end: list[object]) -> None:
    answer, events, finish = read(created(), delta("Hi"), *end)
    assert (events, finish) == ([Delta("Hi")], Finish.CUT)
    assert answer.known(question()) is None


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "no"}},
        {"type": "error", "code": "previous_response_not_found", "message": "no", "param": None, "sequence_number": 1},
        {"error": {"code": "previous_response_not_found", "message": "no"}},
        ended("failed", error={"code": "previous_response_not_found", "message": "no"}),
    ],
)
def test_errors_are_found_nested_and_flat(error: dict[str, Any]) -> None:
    with pytest.raises(AnswerError) as caught:
        read(created(), error)
    told = caught.value.told
    assert told.get("error", told)["code"] == "previous_response_not_found"


def test_function_calls_come_at_the_end_and_once() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "door", "arguments": "{}"}
    done = {"type": "response.output_item.done", "item": item}
    _, events, finish = read(created(), done, ended(output=[item]))
    assert (events, finish) == ([CALL], Finish.TOOL_CALLS)
    assert read(created(), ended(output=[item]))[1:] == ([CALL], Finish.TOOL_CALLS)
    assert read(created(), done, ended("incomplete"))[1:] == ([], Finish.STOPPED)


def test_words_that_come_only_at_the_end_are_taken_once() -> None:
    text = {"type": "response.output_text.done", "item_id": "msg_1", "content_index": 0, "text": "Hi."}
    output = [{"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hi."}]}]
    for events in ([text, ended(output=output)], [ended(output=output)], [delta("Hi."), text, ended(output=output)]):
        assert read(created(), *events)[0].text == "Hi."


def test_what_belongs_to_the_response_before_is_dropped() -> None:
    late_item = {"type": "response.output_item.added", "response_id": "r0", "item": {"id": "msg_0", "type": "message"}}
    late = [created("r0"), late_item, delta("old", "msg_0"), ended(response_id="r0")]
    answer, events, finish = read(*late, created(), *late, delta("new"), ended(), stale_id="r0")
    assert (events, finish, answer.response_id) == ([Delta("new")], Finish.WHOLE, "r1")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2000) | st.sampled_from(["response.completed", "error", "x"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "response", "item", "delta", "output", "content", "usage", "id", "error", "item_id"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=25,
    ),
    st.sampled_from(["response.completed", "response.output_item.done", "response.output_text.done", "response.done"]),
)
def test_nothing_that_is_json_breaks_it(told: object, kind: str) -> None:
    for event in (told, {**told, "type": kind} if isinstance(told, dict) else told):
        with suppress(AnswerError):
            ResponseAnswer(7).feed(json.dumps(event))
