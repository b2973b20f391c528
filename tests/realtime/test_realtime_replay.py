"""A session that goes on where another one ended; the rest of a cut answer; and events that come twice."""

import base64
import json

import pytest
from attrs import evolve

from kioskd.config.schema import Conversation, Dialect, Endpoint
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Speaker, Transcript
from kioskd.realtime import replay
from kioskd.realtime.events import IllegalMove, SessionReady
from kioskd.realtime.repeats import KEPT
from kioskd.realtime.replay import Said
from kioskd.realtime.session import Session

GA = Endpoint("relay", "wss://voice.example/v1/realtime", "gpt-realtime")
BETA = evolve(GA, dialect=Dialect.BETA)
MS = 48
SAID = [
    Said(Speaker.VISITOR, "Who are you?"),
    Said(Speaker.KIOSK, "A kiosk, für alle …"),
    Said(Speaker.VISITOR, pcm=b"\1\2" * 480),
    Said(Speaker.KIOSK, "I heard that."),
]


class Wire:
    """A session, what it is told, and what it has to send, as objects."""

    def __init__(self, settings=GA, history=lambda: ()):
        self.session = Session(settings, Conversation(), history)
        self.get("session.created", session={"id": "sess_1"})
        self.take()

    def get(self, kind, **fields):
        return self.session.receive(json.dumps({"type": kind, **fields}))

    def take(self):
        return [json.loads(text) for text in self.session.take_outgoing()]

    def ready(self):
        assert self.get("session.updated", session={}) == [SessionReady()]
        return self.take()

    def asked(self, turn=1):
        self.session.push(turn, bytes(200 * MS))
        assert self.session.ask(turn) == []
        return self.take()

    def sound(self, response_id="resp_1", **fields):
        fields = {"response_id": response_id, "item_id": f"item_of_{response_id}", "content_index": 0, **fields}
        return self.get("response.output_audio.delta", delta=base64.b64encode(bytes(100 * MS)).decode(), **fields)

    def done(self, response_id="resp_1", status="completed", **fields):
        return self.get("response.done", response={"id": response_id, "status": status}, **fields)


def items(sent):
    """Role and content of each item that was created."""
    return [
        (event["item"]["role"], *event["item"]["content"])
        for event in sent
        if event["type"] == "conversation.item.create"
    ]


# Replay


@pytest.mark.parametrize(("settings", "assistant"), [(GA, "output_text"), (BETA, "text")])
def test_the_conversation_is_replayed_in_the_words_of_the_dialect(settings, assistant):
    assert items(Wire(settings, lambda: SAID).ready()) == [
        ("user", {"type": "input_text", "text": "Who are you?"}),
        ("assistant", {"type": assistant, "text": "A kiosk, für alle …"}),
        ("user", {"type": "input_audio", "audio": base64.b64encode(b"\1\2" * 480).decode()}),
        ("assistant", {"type": assistant, "text": "I heard that."}),
    ]


def test_replayed_items_are_messages_each_with_an_id_of_its_own():
    sent = Wire(history=lambda: SAID).ready()
    assert {event["item"]["type"] for event in sent} == {"message"}
    assert len({event["event_id"] for event in sent}) == len(SAID)
    assert not any("previous_item_id" in event for event in sent)


def test_the_replay_waits_for_the_settings_and_goes_before_the_first_question():
    wire = Wire(history=lambda: SAID)
    assert wire.take() == []
    kinds = [event["type"] for event in wire.ready() + wire.asked()]
    assert kinds == ["conversation.item.create"] * 4 + [
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "response.create",
    ]


def test_settings_that_are_never_acknowledged_are_followed_by_the_replay_too():
    wire = Wire(history=lambda: SAID)
    wire.session.assume_ready()
    assert len(items(wire.take())) == 4
    wire.get("session.updated", session={})
    assert wire.take() == []


def test_the_history_is_asked_for_once_and_late():
    asked = []

    def history():
        asked.append(len(asked))
        return SAID

    wire = Wire(history=history)
    assert asked == []
    wire.ready()
    wire.get("session.updated", session={})
    wire.asked()
    assert asked == [0]


@pytest.mark.parametrize(("history", "used"), [((), False), (SAID, True)])
def test_a_session_that_knows_something_of_a_visitor_is_used(history, used):
    wire = Wire(history=lambda: history)
    assert not wire.session.used
    wire.ready()
    assert wire.session.used is used


def test_a_replayed_question_is_nobodys_turn():
    wire = Wire(history=lambda: SAID)
    wire.ready()
    for number, role in enumerate(["user", "assistant", "user", "assistant"]):
        wire.get("conversation.item.added", item={"id": f"old_{number}", "role": role})
    wire.asked(turn=7)
    transcript = "conversation.item.input_audio_transcription.completed"
    assert wire.get(transcript, item_id="old_2", transcript="of the replayed sound") == []
    wire.get("input_audio_buffer.committed", item_id="new")
    assert wire.get(transcript, item_id="new", transcript="Now?") == [Transcript(7, Speaker.VISITOR, "Now?")]


# The rest of a cut answer


def test_the_rest_is_asked_for_in_words():
    wire = Wire(history=lambda: SAID[:2])
    wire.ready()
    assert wire.session.ask_to_continue(3) == []
    item, create = wire.take()
    assert items([item]) == [("user", {"type": "input_text", "text": replay.CONTINUE})]
    assert create["type"] == "response.create" and create["response"]["metadata"] == {"turn": "3"}
    assert wire.session.used


def test_the_rest_is_reported_as_its_own_turn():
    wire = Wire()
    wire.ready()
    wire.session.ask_to_continue(3)
    (audio,) = wire.sound()
    assert isinstance(audio, AnswerAudio) and audio.turn == 3
    assert wire.done() == [AnswerEnded(3, Ending.COMPLETE)]


def test_the_rest_can_be_asked_for_on_the_session_that_failed_to_give_it():
    wire = Wire()
    wire.ready()
    wire.asked(turn=1)
    wire.sound()
    assert [event.ending for event in wire.done(status="failed")] == [Ending.FAILED]
    wire.take()
    wire.session.ask_to_continue(2)
    assert [event["type"] for event in wire.take()] == ["conversation.item.create", "response.create"]
    assert [event.turn for event in wire.sound("resp_2") + wire.done("resp_2")] == [2, 2]


def test_the_rest_waits_for_the_end_of_what_is_active():
    wire = Wire()
    wire.ready()
    wire.asked(turn=1)
    wire.sound()
    wire.session.interrupt(1, 50)
    wire.take()
    wire.session.ask_to_continue(2)
    assert "response.create" not in [event["type"] for event in wire.take()]
    wire.done(status="cancelled")
    (create,) = wire.take()
    assert create["type"] == "response.create" and create["response"]["metadata"] == {"turn": "2"}


def test_a_session_that_is_not_ready_can_not_be_asked_for_the_rest():
    session = Session(GA, Conversation())
    with pytest.raises(IllegalMove):
        session.ask_to_continue(1)
    assert session.take_outgoing() == [] and not session.used


# Events that come twice


def ready_and_asked():
    wire = Wire()
    wire.ready()
    wire.asked()
    return wire


def test_an_event_that_comes_twice_is_taken_once():
    wire = ready_and_asked()
    assert len(wire.sound(event_id="event_1")) == 1
    assert wire.sound(event_id="event_1") == []
    assert len(wire.sound(event_id="event_2")) == 1


def test_a_repeat_is_known_though_others_came_between():
    wire = ready_and_asked()
    for number in range(KEPT):
        assert len(wire.sound(event_id=f"event_{number}")) == 1
    for number in range(KEPT):
        assert wire.sound(event_id=f"event_{number}") == []


def test_equal_sounds_without_an_id_are_two():
    wire = ready_and_asked()
    assert len(wire.sound()) == len(wire.sound()) == 1


def test_a_gateway_that_gives_all_events_the_same_id_is_heard():
    wire = ready_and_asked()
    first = wire.sound(event_id="event_0")
    assert first and wire.sound(event_id="event_0", output_index=1)
    assert wire.done(event_id="event_0") == [AnswerEnded(1, Ending.COMPLETE)]


def test_an_end_that_comes_twice_does_not_end_the_next_answer():
    wire = ready_and_asked()
    wire.sound()
    wire.done(event_id="event_9")
    wire.asked(turn=2)
    assert wire.done(event_id="event_9") == []
    assert [event.turn for event in wire.sound("resp_2") + wire.done("resp_2")] == [2, 2]


def test_another_session_begins_without_a_memory_of_events():
    for _ in (1, 2):
        assert len(ready_and_asked().sound(event_id="event_1")) == 1
