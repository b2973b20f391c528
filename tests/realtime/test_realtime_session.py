"""One connection's session: the turns, and the races of the wire."""

import base64
import json

import pytest

from kioskd.config.schema import Conversation, Dialect, Endpoint
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Speaker, Transcript, Usage
from kioskd.realtime.events import Awaiting, IllegalMove, Oddity, SessionError, SessionReady
from kioskd.realtime.session import Session

SETTINGS = Endpoint(name="relay", url="wss://voice.example/v1/realtime", model="gpt-realtime")
MS = 48
QUESTION = bytes(200 * MS)


class Wire:
    """A session, and what it has been told to send, as objects."""

    def __init__(self, *, ready=True):
        self.session = Session(SETTINGS, Conversation())
        if ready:
            self.get("session.created", session={"id": "sess_1"})
            assert self.sent() == ["session.update"]
            assert self.get("session.updated", session={}) == [SessionReady()]

    def get(self, kind, **fields):
        return self.session.receive(json.dumps({"type": kind, **fields}))

    def error(self, code=None, kind="invalid_request_error", message="", event_id=None):
        return self.get("error", error={"code": code, "type": kind, "message": message, "event_id": event_id})

    def take(self):
        return [json.loads(text) for text in self.session.take_outgoing()]

    def sent(self):
        return [event["type"] for event in self.take()]

    def asked(self, turn=1):
        self.session.push(turn, QUESTION)
        events = self.session.ask(turn)
        assert events == []
        return self

    def created(self, response_id="resp_1", turn=None):
        return self.get("response.created", response={"id": response_id, "metadata": turn and {"turn": str(turn)}})

    def sound(self, ms=100, response_id="resp_1", item_id="item_2", pcm=None):
        pcm = bytes(ms * MS) if pcm is None else pcm
        fields = {"response_id": response_id, "item_id": item_id, "content_index": 0}
        return self.get("response.output_audio.delta", delta=base64.b64encode(pcm).decode(), **fields)

    def done(self, response_id="resp_1", status="completed", **fields):
        return self.get("response.done", response={"id": response_id, "status": status, **fields})


def endings(events):
    return [(event.turn, event.ending) for event in events if isinstance(event, AnswerEnded)]


def audio(events):
    return b"".join(event.pcm for event in events if isinstance(event, AnswerAudio))


# Set-up


def test_nothing_is_sent_before_the_server_has_greeted():
    wire = Wire(ready=False)
    assert wire.sent() == []
    for move in (lambda: wire.session.push(1, QUESTION), lambda: wire.session.ask(1)):
        with pytest.raises(IllegalMove):
            move()
    wire.session.cancel(1)
    wire.session.discard(1)
    wire.session.interrupt(1, 500)
    assert wire.sent() == []


def test_beta_settings_are_sent_where_the_endpoint_wants_them():
    session = Session(
        Endpoint(name="r", url="wss://h/", model="m", dialect=Dialect.BETA), Conversation(instructions="Be brief")
    )
    session.receive('{"type":"session.created"}')
    (update,) = map(json.loads, session.take_outgoing())
    assert update["session"]["modalities"] == ["text", "audio"]
    assert update["session"]["instructions"] == "Be brief"


def test_rejected_settings_are_fatal_and_marked():
    wire = Wire(ready=False)
    wire.get("session.created")
    assert wire.error("invalid_value", message="no such voice") == [
        SessionError("invalid_value", "invalid_value: no such voice", fatal=True, setting_up=True)
    ]


def test_a_bad_key_shows_only_after_the_upgrade():
    wire = Wire(ready=False)
    (error,) = wire.error(None, "invalid_api_key", "Incorrect API key")
    assert (error.code, error.fatal, error.setting_up) == ("invalid_api_key", True, False)


def test_repeated_greetings_change_nothing():
    wire = Wire()
    assert wire.get("session.created") == []
    assert wire.get("session.updated") == []
    assert wire.sent() == []


# A turn


def test_a_whole_turn():
    wire = Wire()
    wire.session.push(7, b"\1\0" * 2400)
    wire.session.push(7, b"\2\0" * 2400)
    wire.session.ask(7)
    first, second, commit, create = wire.take()
    assert base64.b64decode(first["audio"]) + base64.b64decode(second["audio"]) == b"\1\0" * 2400 + b"\2\0" * 2400
    assert commit["type"] == "input_audio_buffer.commit"
    assert (create["type"], create["response"]["metadata"]) == ("response.create", {"turn": "7"})
    assert wire.session.awaiting[0] is Awaiting.FIRST_SOUND
    wire.get("input_audio_buffer.committed", item_id="item_1")
    wire.created()
    pcm = bytes(range(96))
    assert wire.sound(pcm=pcm) == [AnswerAudio(7, pcm, 2.0)]
    assert wire.session.awaiting[0] is Awaiting.MORE_SOUND
    ids = {"response_id": "resp_1", "item_id": "item_2"}
    assert wire.get("response.output_audio_transcript.done", transcript="Hey!", **ids) == [
        Transcript(7, Speaker.KIOSK, "Hey!")
    ]
    usage = {"input_token_details": {"audio_tokens": 10}, "output_token_details": {"audio_tokens": 44}}
    assert wire.done(usage=usage) == [
        Usage(7, input_audio=10, output_audio=44),
        AnswerEnded(7, Ending.COMPLETE),
    ]
    question = {"item_id": "item_1", "transcript": "Hello?"}
    assert wire.get("conversation.item.input_audio_transcription.completed", **question) == [
        Transcript(7, Speaker.VISITOR, "Hello?")
    ]
    assert wire.session.awaiting[0] is Awaiting.NOTHING
    assert wire.sent() == []


def test_the_first_delta_opens_an_answer_that_was_never_created():
    wire = Wire().asked()
    assert audio(wire.sound(10)) == bytes(10 * MS)
    assert endings(wire.done()) == [(1, Ending.COMPLETE)]


def test_beta_names_and_no_ids_at_all():
    wire = Wire().asked()
    delta = base64.b64encode(bytes(4800)).decode()
    assert audio(wire.get("response.audio.delta", delta=delta)) == bytes(4800)
    assert endings(wire.get("response.done", response={"status": "completed"})) == [(1, Ending.COMPLETE)]
    assert wire.get("response.audio.delta", delta=delta) == []


def test_an_odd_byte_is_carried_over():
    wire = Wire().asked()
    pcm = bytes(range(100))
    pieces = [wire.sound(pcm=piece) for piece in (pcm[:1], pcm[1:34], pcm[34:67], pcm[67:])]
    assert b"".join(map(audio, pieces)) == pcm
    assert all(len(event.pcm) % 2 == 0 for piece in pieces for event in piece)


def test_too_little_sound_is_never_committed():
    wire = Wire()
    wire.session.push(1, bytes(99 * MS))
    assert endings(wire.session.ask(1)) == [(1, Ending.FAILED)]
    assert wire.sent() == ["input_audio_buffer.append", "input_audio_buffer.clear"]
    assert endings(wire.session.ask(2)) == [(2, Ending.FAILED)]
    assert wire.sent() == []


def test_asking_twice_is_illegal_and_changes_nothing():
    wire = Wire().asked()
    wire.take()
    with pytest.raises(IllegalMove):
        wire.session.ask(1)
    with pytest.raises(IllegalMove):
        wire.session.push(1, b"\0")
    assert wire.sent() == []


def test_another_turns_sound_clears_the_buffer():
    wire = Wire()
    wire.session.push(1, QUESTION)
    wire.session.push(2, QUESTION)
    assert wire.sent() == ["input_audio_buffer.append", "input_audio_buffer.clear", "input_audio_buffer.append"]


@pytest.mark.parametrize(
    ("done", "ending", "reason"),
    [
        ({"status": "failed", "status_details": {"error": {"code": "rate_limit_exceeded"}}}, "failed", "rate_limit"),
        ({"status": "failed"}, "failed", "no reason"),
        ({"status": "incomplete", "status_details": {"reason": "content_filter"}}, "truncated", "content_filter"),
        ({"status": "cancelled"}, "truncated", "cancelled"),
    ],
)
def test_other_endings(done, ending, reason):
    wire = Wire().asked()
    wire.sound()
    (event,) = wire.done(**done)
    assert event.ending is Ending(ending)
    assert reason in event.reason


def test_an_answer_without_sound_has_failed():
    wire = Wire().asked()
    wire.get("response.output_text.delta", response_id="resp_1", delta="Hello")
    (event,) = wire.done()
    assert event.ending is Ending.FAILED
    assert "answered without sound" in event.reason


def test_no_credit_can_show_only_in_a_failed_response():
    wire = Wire().asked()
    ended, error = wire.done(status="failed", status_details={"error": {"type": "insufficient_quota"}})
    assert ended.ending is Ending.FAILED
    assert (error.code, error.fatal) == ("insufficient_quota", True)


def test_a_repeated_done_ends_nothing_twice():
    wire = Wire().asked()
    wire.sound()
    usage = {"input_tokens": 5}
    assert len(wire.done(usage=usage)) == 2
    wire.asked(2)
    assert wire.done(usage=usage) == []
    assert wire.session.awaiting[0] is Awaiting.FIRST_SOUND


def test_a_committed_item_without_a_name_is_named_by_what_follows():
    wire = Wire().asked(4)
    wire.get("input_audio_buffer.committed")
    wire.get("conversation.item.created", item={"id": "item_9", "role": "user"})
    transcript = {"item_id": "item_9", "transcript": "Hello?"}
    kind = "conversation.item.input_audio_transcription.completed"
    assert wire.get(kind, **transcript) == [Transcript(4, Speaker.VISITOR, "Hello?")]
    assert wire.get(kind, **transcript) == []
    assert wire.get(kind, item_id="nobody's", transcript="x") == []


# Cancel and interrupt


def test_discard_clears_what_was_pushed():
    wire = Wire()
    wire.session.push(1, QUESTION)
    wire.session.discard(2)
    wire.session.discard(1)
    wire.session.discard(1)
    assert wire.sent() == ["input_audio_buffer.append", "input_audio_buffer.clear"]


def test_cancel_before_the_response_exists_is_sent_when_it_does():
    wire = Wire().asked()
    wire.take()
    wire.session.cancel(1)
    assert wire.sent() == []
    assert wire.session.awaiting[0] is Awaiting.END
    wire.created()
    (cancel,) = wire.take()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "resp_1")
    assert wire.sound() == []
    assert wire.done(status="cancelled") == []
    assert wire.take() == [{"type": "conversation.item.delete", "item_id": "item_2"}]  # nobody heard it


def test_a_question_asked_meanwhile_waits_for_the_cancelled_answers_end():
    wire = Wire().asked(1)
    wire.created()
    wire.take()
    wire.session.cancel(1)
    wire.asked(2)
    assert wire.sent() == ["response.cancel", "input_audio_buffer.append", "input_audio_buffer.commit"]
    assert wire.sound() == []
    assert wire.done(status="cancelled", usage={"output_tokens": 9}) == [Usage(1, output_audio=9)]
    assert "response.create" in wire.sent()
    wire.created("resp_2")
    assert wire.sound(response_id="resp_1") == []
    assert {event.turn for event in wire.sound(response_id="resp_2", item_id="item_4")} == {2}


def test_a_queued_question_can_be_cancelled():
    wire = Wire().asked(1)
    wire.created()
    wire.session.cancel(1)
    wire.asked(2)
    wire.session.cancel(2)
    wire.take()
    assert wire.done(status="cancelled") == []
    assert wire.sent() == []


def test_interrupt_cancels_and_truncates_at_what_was_heard():
    wire = Wire().asked()
    wire.created()
    wire.sound(300)
    wire.take()
    wire.session.interrupt(1, 120)
    cancel, truncate = wire.take()
    assert cancel["type"] == "response.cancel"
    assert truncate == {
        "type": "conversation.item.truncate",
        "item_id": "item_2",
        "content_index": 0,
        "audio_end_ms": 120,
    }
    assert wire.error("response_cancel_not_active") == []
    assert wire.done(status="cancelled") == []
    assert wire.sent() == []


def test_interrupt_never_truncates_beyond_what_has_come():
    wire = Wire().asked()
    wire.sound(300)
    wire.take()
    wire.session.interrupt(1, 5000)
    assert wire.take()[1]["audio_end_ms"] == 300


def test_interrupt_at_nothing_deletes_the_item():
    wire = Wire().asked()
    wire.sound(300)
    wire.take()
    wire.session.interrupt(1, 0)
    assert wire.sent() == ["response.cancel", "conversation.item.delete"]


def test_interrupt_of_an_answer_that_is_whole_on_the_wire_but_still_playing():
    wire = Wire().asked()
    wire.sound(300)
    wire.done()
    wire.take()
    wire.session.interrupt(1, 200)
    wire.session.interrupt(1, 200)
    assert wire.sent() == ["conversation.item.truncate"]


def test_an_answer_heard_to_its_end_keeps_its_transcript():
    wire = Wire().asked()
    wire.sound(300)
    wire.done()
    wire.take()
    wire.session.interrupt(1, 300)
    assert wire.sent() == []


def test_interrupt_in_the_first_of_two_items_deletes_the_second():
    wire = Wire().asked()
    wire.sound(300, item_id="item_2")
    wire.sound(300, item_id="item_3")
    wire.done()
    wire.take()
    wire.session.interrupt(1, 100)
    truncate, delete = wire.take()
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("item_2", 100)
    assert delete == {"type": "conversation.item.delete", "item_id": "item_3"}


def test_commands_for_an_unknown_turn_do_nothing():
    wire = Wire().asked()
    wire.sound()
    wire.take()
    wire.session.interrupt(9, 10)
    wire.session.cancel(9)
    wire.session.discard(9)
    assert wire.sent() == []


# Races and errors


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("conversation_already_has_active_response", ""),
        (None, "Conversation already has an active response in progress: resp_0"),
    ],
)
def test_a_create_that_was_refused_is_sent_once_more_after_the_active_ones_end(code, message):
    wire = Wire().asked()
    wire.take()
    assert wire.error(code, message=message) == []
    assert wire.sent() == ["response.cancel"]
    assert wire.done("resp_0", "cancelled") == []
    assert wire.sent() == ["response.create"]
    wire.error("response_cancel_not_active")  # the cancel came too late: the new answer is not concerned
    assert audio(wire.sound(response_id="resp_1"))
    assert endings(wire.done("resp_1")) == [(1, Ending.COMPLETE)]


def test_a_create_refused_by_one_that_ended_meanwhile_is_sent_once_more():
    wire = Wire().asked()
    wire.error("conversation_already_has_active_response")
    wire.take()
    wire.error("response_cancel_not_active")
    assert wire.sent() == ["response.create"]


def test_a_create_refused_twice_has_failed():
    wire = Wire().asked()
    wire.error("conversation_already_has_active_response")
    wire.done("resp_0")
    assert endings(wire.error("conversation_already_has_active_response")) == [(1, Ending.FAILED)]
    assert wire.session.awaiting[0] is Awaiting.NOTHING


def test_an_answer_that_nobody_asked_is_cancelled_and_dropped():
    wire = Wire()
    (oddity,) = wire.created("resp_x")
    assert isinstance(oddity, Oddity)
    (cancel,) = wire.take()
    assert cancel == {"type": "response.cancel", "response_id": "resp_x"}
    assert wire.sound(response_id="resp_x") == []
    wire.asked(1)
    assert "response.create" not in wire.sent()
    wire.done("resp_x", "cancelled")
    assert wire.sent() == ["conversation.item.delete", "response.create"]


def test_an_answer_that_came_before_ours_was_refused_is_not_ours():
    """It was taken for ours until the refusal: a gateway that ignores `turn_detection: null`."""
    wire = Wire().asked(1)
    wire.take()
    wire.created("resp_x")
    wire.error("conversation_already_has_active_response", event_id="create-1")
    assert wire.take() == [{"type": "response.cancel", "response_id": "resp_x"}]
    assert wire.sound(response_id="resp_x") == []
    assert endings(wire.done("resp_x", "cancelled")) == []
    (deletion, create) = wire.take()
    assert deletion["type"] == "conversation.item.delete"
    assert create["response"]["metadata"] == {"turn": "1"}
    wire.created("resp_1")
    assert {event.turn for event in wire.sound(response_id="resp_1")} == {1}


def test_a_refusal_of_another_turns_create_does_not_concern_an_answer_that_has_begun():
    wire = Wire().asked(2)
    wire.take()
    wire.created("resp_2", turn=2)
    wire.error("conversation_already_has_active_response", event_id="create-1")
    assert wire.take() == []
    assert {event.turn for event in wire.sound(response_id="resp_2")} == {2}


def test_a_foreign_answer_that_was_heard_ends_with_its_refusal():
    wire = Wire().asked(1)
    wire.created("resp_x")
    assert audio(wire.sound(response_id="resp_x"))
    refusal = wire.error("conversation_already_has_active_response", event_id="create-1")
    assert endings(refusal) == [(1, Ending.FAILED)]


def test_a_server_that_echoes_turns_answers_by_itself_without_one():
    wire = Wire().asked(1)
    wire.created("resp_1", turn=1)
    wire.sound()
    wire.done()
    wire.asked(2)
    wire.take()
    wire.created("resp_x")
    assert wire.take() == [{"type": "response.cancel", "response_id": "resp_x"}]
    wire.created("resp_2", turn=2)
    assert {event.turn for event in wire.sound(response_id="resp_2")} == {2}


def test_an_answer_to_another_turn_is_not_ours():
    wire = Wire().asked(2)
    wire.take()
    wire.created("resp_x", turn=1)
    assert wire.sent() == ["response.cancel"]
    assert wire.sound(response_id="resp_x") == []
    wire.created("resp_2", turn=2)
    assert {event.turn for event in wire.sound(response_id="resp_2")} == {2}


def test_an_empty_commit_fails_the_turn_and_stops_the_answer_to_nothing():
    wire = Wire().asked()
    wire.created()
    wire.take()
    assert endings(wire.error("input_audio_buffer_commit_empty")) == [(1, Ending.FAILED)]
    assert wire.sent() == ["response.cancel"]
    assert wire.sound() == []
    assert wire.done(status="cancelled") == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("response_cancel_not_active", ""),
        (None, "Cancellation failed: no active response found"),
        (None, "Audio content of 300ms is already shorter than 400ms"),
        ("item_truncate_invalid_item_id", ""),
    ],
)
def test_benign_errors_end_nothing(code, message):
    wire = Wire().asked()
    assert wire.error(code, message=message) == []
    assert wire.session.awaiting[0] is Awaiting.FIRST_SOUND


def test_an_error_instead_of_a_response_fails_the_turn():
    wire = Wire().asked()
    (ended,) = wire.error("rate_limit_exceeded", message="Slow\ndown")
    assert (ended.turn, ended.ending, ended.reason) == (1, Ending.FAILED, "rate_limit_exceeded: Slow down")


def test_an_error_about_something_else_is_told_and_ends_nothing():
    wire = Wire().asked()
    (error,) = wire.error("invalid_value", event_id="event_of_something_else")
    assert error == SessionError("invalid_value", "invalid_value", fatal=False)
    assert wire.session.awaiting[0] is Awaiting.FIRST_SOUND


def test_an_expired_session_is_over():
    wire = Wire().asked()
    wire.sound()
    (error,) = wire.error("session_expired")
    assert error.fatal
    assert wire.sound() == []
    assert endings(wire.session.connection_lost("expired")) == [(1, Ending.CUT)]


def test_a_lost_connection_cuts_only_what_had_begun_to_sound():
    wire = Wire().asked()
    wire.created()
    assert wire.session.connection_lost("gone") == []
    wire = Wire().asked()
    wire.sound()
    assert wire.session.connection_lost("gone") == [AnswerEnded(1, Ending.CUT, "gone")]
    assert wire.session.connection_lost("gone") == []


def test_garbage_is_told_and_changes_nothing():
    wire = Wire().asked()
    assert isinstance(wire.session.receive("garbage")[0], Oddity)
    assert isinstance(wire.session.receive(b"\xff\0")[0], Oddity)
    assert wire.get("a.type.of.the.future") == []
    assert audio(wire.sound())
