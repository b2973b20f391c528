"""Calls of tools within an answer: the rounds, and the races with everything else."""

import json

import pytest
from test_realtime_session import SETTINGS, Wire, audio, endings

from kioskd.config.schema import Conversation, Dialect
from kioskd.dialogue.events import Ending
from kioskd.endpoints.toolbox import ToolOffer
from kioskd.realtime.answers import ROUNDS_MAX
from kioskd.realtime.dialects import session_settings
from kioskd.realtime.events import Awaiting, ToolWanted
from kioskd.realtime.session import Session

DOOR = ToolOffer("open_door", "Opens it.", {"type": "object", "properties": {}})


def item(call_id="call_1", name="open_door", arguments="{}", status="completed"):
    fields = {"call_id": call_id, "name": name, "arguments": arguments, "status": status}
    return {"id": f"item_{call_id}", "type": "function_call", **fields}


def calling(wire, *items, response_id="resp_1", status="completed", listed=True, told=True):
    """A response that calls tools; what came of its end."""
    wire.created(response_id, 1)
    for each in items:
        wire.get("response.output_item.added", response_id=response_id, item={**each, "arguments": ""})
        if told:
            assert wire.get("response.output_item.done", response_id=response_id, item=each) == []
    return wire.done(response_id, status, output=list(items) if listed else [])


@pytest.mark.parametrize("dialect", list(Dialect))
def test_tools_are_offered_alike_in_both_dialects(dialect):
    import attrs

    session = session_settings(attrs.evolve(SETTINGS, dialect=dialect), Conversation(), [DOOR])
    (tool,) = session["tools"]
    assert tool == {"type": "function", "name": "open_door", "description": "Opens it.", "parameters": DOOR.parameters}
    assert session["tool_choice"] == "auto"
    assert "tools" not in session_settings(attrs.evolve(SETTINGS, dialect=dialect), Conversation())


@pytest.mark.parametrize(("listed", "told"), [(True, True), (True, False), (False, True)])
def test_a_call_its_result_and_the_answer(listed, told):
    wire = Wire().asked()
    wire.sent()
    assert calling(wire, item(), listed=listed, told=told) == [ToolWanted(1, "call_1", "open_door", "{}")]
    assert wire.session.awaiting[0] is Awaiting.TOOLS
    assert wire.sent() == []
    assert wire.session.take_result(1, "call_1", '{"result": "é"}') == []
    output, create = wire.take()
    assert output["item"] == {"type": "function_call_output", "call_id": "call_1", "output": '{"result": "é"}'}
    assert create["response"]["metadata"] == {"turn": "1"}
    wire.created("resp_2", 1)
    assert audio(wire.sound(response_id="resp_2"))
    assert endings(wire.done("resp_2")) == [(1, Ending.COMPLETE)]


def test_several_calls_are_answered_together_in_their_order():
    wire = Wire().asked()
    wire.sent()
    wanted = calling(wire, item("a"), item("b"))
    assert [each.call_id for each in wanted] == ["a", "b"]
    wire.session.take_result(1, "b", "2")
    assert wire.sent() == [], "one is still awaited"
    wire.session.take_result(1, "b", "again")
    wire.session.take_result(1, "made up", "3")
    wire.session.take_result(1, "a", "1")
    sent = wire.take()
    assert {each["item"]["call_id"]: each["item"]["output"] for each in sent[:-1]} == {"a": "1", "b": "2"}
    assert sent[-1]["type"] == "response.create"


def test_words_before_a_call_belong_to_the_same_answer():
    wire = Wire().asked()
    wire.created("resp_1", 1)
    wire.sound(100, "resp_1", "spoken_1")
    wire.get("response.output_item.done", response_id="resp_1", item=item())
    assert endings(wire.done("resp_1")) == []
    wire.session.take_result(1, "call_1", "{}")
    wire.created("resp_2", 1)
    wire.sound(100, "resp_2", "spoken_2")
    wire.sent()
    wire.session.interrupt(1, 150)
    sent = wire.take()
    assert [each["type"] for each in sent] == ["response.cancel", "conversation.item.truncate"]
    assert (sent[1]["item_id"], sent[1]["audio_end_ms"]) == ("spoken_2", 50), "the call and its result stay"


def test_barge_in_while_a_tool_runs_and_the_late_result():
    wire = Wire().asked()
    wire.created("resp_1", 1)
    wire.sound(100, "resp_1", "spoken_1")
    wire.get("response.output_item.done", response_id="resp_1", item=item())
    wire.done("resp_1")
    wire.sent()
    wire.session.interrupt(1, 60)
    sent = wire.take()
    assert [(each["type"], each["item_id"]) for each in sent] == [
        ("conversation.item.truncate", "spoken_1"),
        ("conversation.item.delete", "item_call_1"),
    ]
    wire.asked(2)
    wire.sent()
    assert wire.session.take_result(1, "call_1", "late") == []
    assert wire.sent() == []
    wire.created("resp_2", 2)
    assert audio(wire.sound(response_id="resp_2"))


def test_a_lost_connection_while_a_tool_runs():
    for sounded in (True, False):
        wire = Wire().asked()
        wire.created("resp_1", 1)
        if sounded:
            wire.sound()
        wire.get("response.output_item.done", response_id="resp_1", item=item())
        wire.done("resp_1")
        assert endings(wire.session.connection_lost("gone")) == ([(1, Ending.CUT)] if sounded else [])
        assert wire.session.take_result(1, "call_1", "late") == []


@pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled"])
def test_a_response_that_did_not_end_well_calls_nothing(status):
    wire = Wire().asked()
    events = calling(wire, item(), status=status)
    assert not [each for each in events if isinstance(each, ToolWanted)]
    assert endings(events) == [(1, Ending.FAILED)]


def test_a_call_that_was_broken_off_is_none():
    wire = Wire().asked()
    events = calling(wire, item(status="incomplete"))
    assert endings(events) == [(1, Ending.FAILED)]


def test_an_answer_that_nobody_wants_calls_nothing():
    wire = Wire().asked()
    wire.created("resp_1", 1)
    wire.session.cancel(1)
    wire.get("response.output_item.done", response_id="resp_1", item=item())
    assert wire.done("resp_1", "completed", output=[item()]) == []


def test_a_model_that_only_calls_is_stopped():
    wire = Wire().asked()
    for number in range(1, ROUNDS_MAX):
        (wanted,) = calling(wire, item(f"call_{number}"), response_id=f"resp_{number}")
        wire.session.take_result(1, wanted.call_id, "{}")
    events = calling(wire, item("call_n"), response_id="resp_n")
    assert endings(events) == [(1, Ending.FAILED)]


def test_a_call_without_a_name_is_an_oddity_and_does_no_harm():
    wire = Wire().asked()
    wire.created("resp_1", 1)
    (odd,) = wire.get("response.output_item.done", response_id="resp_1", item={**item(), "name": None})
    assert "function call" in odd.reason


def test_tools_that_come_with_new_settings_are_told_to_a_session_that_is_ready():
    offers = []
    session = Session(SETTINGS, Conversation(), offers=lambda: tuple(offers))
    session.receive('{"type": "session.created", "session": {}}')
    (first,) = session.take_outgoing()
    assert "tools" not in json.loads(first)["session"]
    session.receive('{"type": "session.updated", "session": {}}')
    assert session.adjust(SETTINGS, Conversation())
    assert session.take_outgoing() == []
    offers.append(DOOR)
    assert session.adjust(SETTINGS, Conversation())
    (change,) = session.take_outgoing()
    assert [tool["name"] for tool in json.loads(change)["session"]["tools"]] == ["open_door"]
    assert session.adjust(SETTINGS, Conversation()) and session.take_outgoing() == []
    offers.clear()
    assert not session.adjust(SETTINGS, Conversation()), "what is set can't be taken back: a new session"
