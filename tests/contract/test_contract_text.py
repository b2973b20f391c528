"""What is asked of text models, held against the request types of the `openai` package, strictly in its fields."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any, get_type_hints

import pytest
from attrs import evolve
from openai.types.chat import completion_create_params
from openai.types.responses.responses_client_event_param import ResponseCreate
from pydantic import TypeAdapter, ValidationError

from kioskd.config.schema import Endpoint, Envelope
from kioskd.endpoints.text import chat_messages
from kioskd.endpoints.text.model import Message, Request, Role
from kioskd.endpoints.text.responses import Known, create
from kioskd.endpoints.toolbox import ToolCall, ToolOffer

SETTINGS = Endpoint("here", "https://localhost/v1", "gpt-4.1-mini", max_tokens=200, temperature=0.7)
BARE = evolve(SETTINGS, max_tokens=None, temperature=None)
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
CALL = ToolCall("call_1", "open_door", '{"place": "left"}')
SAID = (
    Message(Role.VISITOR, "hello"),
    Message(Role.KIOSK, "Hi."),
    Message(Role.VISITOR, "open the door"),
    Message(Role.KIOSK, "", (CALL,)),
    Message(Role.VISITOR, '{"open": true}', answers_call="call_1"),
    Message(Role.KIOSK, "Wait.", (evolve(CALL, call_id="call_2"),)),
    Message(Role.VISITOR, '{"open": true}', answers_call="call_2"),
)
REQUESTS = {
    "a question": Request(7, "Be brief.", [SAID[0]]),
    "all": Request(7, "Be brief.", SAID, [ToolOffer("open_door", "Opens a door.", SCHEMA)], SCHEMA),
}


def foreign(told: Any, kind: Any) -> set[str]:
    """The fields at the top that the type doesn't have."""
    return set(told) - set(get_type_hints(kind))


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def drained(found: Any) -> None:
    """What the package declares as an iterable is checked only as it is read."""
    if isinstance(found, dict):
        found = found.values()
    elif isinstance(found, str) or not isinstance(found, Iterable):
        return
    for inner in found:
        drained(inner)


def check(told: dict[str, Any], kind: Any) -> None:
    """Raises ValidationError."""
    assert not foreign(told, kind)
    drained(adapter(kind).validate_python(told))


@pytest.mark.parametrize("request_of", REQUESTS)
@pytest.mark.parametrize("settings", [SETTINGS, BARE])
@pytest.mark.parametrize(("stream", "count"), [(True, True), (True, False), (False, False)])
def test_what_is_asked_of_chat_is_of_the_packages_types(
    request_of: str, settings: Endpoint, stream: bool, count: bool
) -> None:
    body = chat_messages.body(settings, REQUESTS[request_of], stream=stream, count=count)
    kind = (
        completion_create_params.CompletionCreateParamsStreaming
        if stream
        else completion_create_params.CompletionCreateParamsNonStreaming
    )
    check(body, kind)


@pytest.mark.parametrize("request_of", REQUESTS)
@pytest.mark.parametrize("settings", [SETTINGS, BARE])
@pytest.mark.parametrize("known", [None, Known("resp_1", SAID[:2])])
def test_what_is_asked_of_responses_is_of_the_packages_types(
    request_of: str, settings: Endpoint, known: Known | None
) -> None:
    event = json.loads(create(settings, REQUESTS[request_of], known))
    check(event, ResponseCreate)
    nested = json.loads(create(evolve(settings, envelope=Envelope.NESTED), REQUESTS[request_of], known))
    assert {"type": nested["type"], **nested["response"]} == event


def test_the_check_finds_what_is_wrong() -> None:
    good = chat_messages.body(SETTINGS, REQUESTS["all"], stream=True)
    wrong = [
        {**good, "messages": [{"role": "nobody", "content": "x"}]},
        {**good, "tools": [{"type": "function"}]},
        {**good, "max_tokens": "many"},
    ]
    for body in wrong:
        with pytest.raises(ValidationError):
            check(body, completion_create_params.CompletionCreateParamsStreaming)
    event = json.loads(create(SETTINGS, REQUESTS["all"], None))
    for item in ({"type": "message", "role": "nobody", "content": "x"}, {"type": "function_call_output"}):
        with pytest.raises(ValidationError):
            check({**event, "input": [item]}, ResponseCreate)
    assert foreign({**event, "background_noise": 1}, ResponseCreate) == {"background_noise"}
