"""What a client must not do, and the words in which it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_client import ScriptedBrain, connected, silence, tone
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.errors import ClientError
from kioskd.simulator.session import Session
from kioskd.simulator.settings import Pace

TOO_SMALL = (
    "Error committing input audio buffer: buffer too small. "
    "Expected at least 100ms of audio, but buffer only has {:.2f}ms of audio."
)


def updated(**settings: Any) -> dict[str, Any]:
    return {"type": "realtime", **settings}


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "session"}, "invalid_value", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        (updated(made_up=1), "unknown_parameter", "session.made_up"),
        (updated(voice="marin"), "unknown_parameter", "session.voice"),
        (updated(modalities=["audio"]), "unknown_parameter", "session.modalities"),
        (updated(temperature=0.8), "unknown_parameter", "session.temperature"),
        (updated(turn_detection=None), "unknown_parameter", "session.turn_detection"),
        (updated(output_modalities=["text", "audio"]), "invalid_value", "session.output_modalities"),
        (updated(output_modalities="audio"), "invalid_type", "session.output_modalities"),
        (updated(instructions=7), "invalid_type", "session.instructions"),
        (updated(max_output_tokens=0), "integer_below_min_value", "session.max_output_tokens"),
        (updated(max_output_tokens=4097), "integer_above_max_value", "session.max_output_tokens"),
        (updated(audio={"output": {"voice": "nobody"}}), "invalid_value", "session.audio.output.voice"),
        (updated(audio={"output": {"speed": 9}}), "decimal_above_max_value", "session.audio.output.speed"),
        (
            updated(audio={"input": {"format": {"type": "audio/pcm"}}}),
            "missing_required_parameter",
            "session.audio.input.format.rate",
        ),
        (
            updated(audio={"input": {"format": {"type": "audio/pcm", "rate": 16000}}}),
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
        (updated(audio={"input": {"format": "pcm16"}}), "invalid_type", "session.audio.input.format"),
        (
            updated(audio={"input": {"turn_detection": {"type": "none"}}}),
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (updated(model="gpt-4.1"), "invalid_value", "session.model"),
    ],
)
async def test_a_wrong_update_is_refused_whole(
    autojump_clock: MockClock, session: dict[str, Any], code: str, param: str
) -> None:
    async with connected(autojump_clock) as client:
        before = client.conversation.session.rendered()
        good = {"instructions": "never taken over", **session}
        await client.send("session.update", session=good, event_id="mine")
        error = await client.error()
        assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
        assert error["type"] == "invalid_request_error"
        assert client.conversation.session.rendered() == before


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime"}, "unknown_parameter", "session.type"),
        ({"audio": {}}, "unknown_parameter", "session.audio"),
        ({"voice": "marin"}, "invalid_value", "session.voice"),
        ({"temperature": 0.5}, "decimal_below_min_value", "session.temperature"),
        ({"max_output_tokens": 5}, "unknown_parameter", "session.max_output_tokens"),
        ({"input_audio_format": {"type": "audio/pcm"}}, "invalid_type", "session.input_audio_format"),
    ],
)
async def test_the_beta_refuses_what_only_the_other_dialect_knows(
    autojump_clock: MockClock, session: dict[str, Any], code: str, param: str
) -> None:
    async with connected(autojump_clock, Dialect.BETA) as client:
        await client.send("session.update", session=session)
        error = await client.error()
        assert (error["code"], error["param"]) == (code, param)


async def test_an_absent_field_is_unchanged_and_null_clears(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        listening = {"transcription": {"model": "whisper-1"}, "noise_reduction": {"type": "far_field"}}
        await client.send("session.update", session=updated(instructions="Be brief.", audio={"input": listening}))
        await client.until("session.updated")
        await client.push_to_talk()
        cleared = {"input": {"noise_reduction": None}}
        await client.send("session.update", session=updated(instructions="", audio=cleared))
        session = (await client.until("session.updated"))["session"]
        assert session["instructions"] == ""
        assert session["audio"]["input"] == {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "whisper-1"},
            "noise_reduction": None,
            "turn_detection": None,
        }


@pytest.mark.parametrize("dialect", Dialect)
async def test_the_voice_is_fixed_from_the_first_sound_on(autojump_clock: MockClock, dialect: Dialect) -> None:
    def voice(name: str) -> dict[str, Any]:
        return updated(audio={"output": {"voice": name}}) if dialect is Dialect.GA else {"voice": name}

    async with connected(autojump_clock, dialect) as client:
        await client.push_to_talk()
        await client.send("session.update", session=voice("echo"))
        await client.until("session.updated")
        await client.ask()
        await client.send("session.update", session={**voice("sage"), "instructions": "never taken over"})
        error = await client.error()
        assert error["code"] == "cannot_update_voice"
        assert client.conversation.session.settings["instructions"] != "never taken over"
        await client.send("session.update", session=voice("echo"))
        await client.until("session.updated")


@pytest.mark.parametrize("appended_ms", [0, 50, 99])
async def test_a_commit_under_100_ms_is_refused_and_keeps_the_sound(
    autojump_clock: MockClock, appended_ms: int
) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        if appended_ms:
            await client.append(tone(appended_ms))
        await client.send("input_audio_buffer.commit", event_id="c2")
        error = await client.error()
        assert error["code"] == "input_audio_buffer_commit_empty"
        assert error["message"] == TOO_SMALL.format(appended_ms)
        assert error["event_id"] == "c2"
        await client.say(tone(100 - appended_ms))
        await client.send("input_audio_buffer.commit")
        assert (await client.error())["message"] == TOO_SMALL.format(0)


async def test_a_commit_asks_for_no_answer(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.say(tone(500))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        assert "response.created" not in client.kinds()


async def test_a_cleared_buffer_is_empty(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.append(tone(500))
        await client.send("input_audio_buffer.clear")
        await client.send("input_audio_buffer.commit")
        assert (await client.error())["message"] == TOO_SMALL.format(0)


@pytest.mark.parametrize("audio", ["not base64!", "QUI", "QQ==", 7])
async def test_bad_audio_is_refused(autojump_clock: MockClock, audio: object) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.send("input_audio_buffer.append", audio=audio)
        assert (await client.error())["param"] == "audio"
        await client.send("input_audio_buffer.commit")
        assert (await client.error())["message"] == TOO_SMALL.format(0)


async def test_an_append_has_15_mib_at_most(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.send("input_audio_buffer.append", audio="A" * (15 * 2**20))
        await client.send("input_audio_buffer.append", audio="A" * (15 * 2**20 + 4))
        assert (await client.error())["param"] == "audio"


async def test_one_response_at_a_time(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await client.send("response.create", event_id="too-early")
        early = await client.error()
        created = await client.until("response.created")
        await client.send("response.create")
        late = await client.error()
        for error in (early, late):
            assert error["code"] == "conversation_already_has_active_response"
            assert created["response"]["id"] in error["message"]
        await client.until("response.done")
        await client.send("response.create")
        await client.until("response.created")


async def test_a_cancel_ends_the_answer_after_the_sound_that_was_under_way(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(speed=1.0)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        client.events.clear()
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert response["output"][0]["status"] == "incomplete"
        assert "response.output_audio.delta" in client.kinds()
        assert client.kinds()[-6:] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert (await client.ask())["status"] == "completed"


async def test_a_cancel_before_the_first_item_leaves_none(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=ScriptedBrain(thinking_s=5)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        created = await client.until("response.created")
        await client.send("response.cancel", response_id=created["response"]["id"])
        response = (await client.until("response.done"))["response"]
        assert (response["status"], response["output"]) == ("cancelled", [])


async def test_a_cancel_before_the_response_is_created_does_nothing(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await client.send("response.cancel")
        error = await client.error()
        assert error["code"] == "response_cancel_not_active"
        assert (await client.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize("fields", [{}, {"response_id": "resp_of_another"}])
async def test_a_cancel_of_nothing_is_refused(autojump_clock: MockClock, fields: dict[str, str]) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.ask()
        await client.send("response.cancel", **fields)
        error = await client.error()
        assert error["code"] == "response_cancel_not_active"
        assert error["message"] == "Cancellation failed: no active response found"


async def test_truncate_wipes_the_transcript_and_the_sound(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        item_id = (await client.ask())["output"][0]["id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1500)
        truncated = await client.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (item_id, 1500)
        await client.send("conversation.item.retrieve", item_id=item_id)
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert item["content"][0]["transcript"] is None
        assert len(item["content"][0]["audio"]) == 1500 * 48 * 4 // 3


async def test_truncate_beyond_what_was_sent_is_refused(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        item_id = (await client.ask())["output"][0]["id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2001)
        assert (await client.error())["message"] == "Audio content of 2000ms is already shorter than 2001ms"
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2000)
        await client.until("conversation.item.truncated")


async def test_an_answer_truncated_in_the_middle_stays_truncated(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(speed=1.0)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        delta = await client.until("response.output_audio.delta")
        item_id = delta["item_id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2001)
        assert "already shorter" in (await client.error())["message"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=40)
        await client.until("conversation.item.truncated")
        done = (await client.until("response.done"))["response"]
        assert done["output"][0]["content"][0]["transcript"] is None
        await client.send("conversation.item.retrieve", item_id=item_id)
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert len(item["content"][0]["audio"]) == 40 * 48 * 4 // 3


@pytest.mark.parametrize("end_ms", [0, 100])
async def test_only_the_servers_speech_can_be_truncated_and_not_to_nothing(
    autojump_clock: MockClock, end_ms: int
) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        asked = await client.say(tone(300))
        await client.send("response.create")
        answered = (await client.until("response.done"))["response"]["output"][0]["id"]
        item_id = asked if end_ms else answered
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)
        error = await client.error()
        assert error["message"] == "Only model output audio messages can be truncated"
        assert (error["code"], error["param"]) == (None, None)


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("truncate", {"content_index": 0, "audio_end_ms": 10}, "item_truncate_invalid_item_id"),
        ("delete", {}, "item_delete_invalid_item_id"),
        ("retrieve", {}, "item_retrieve_invalid_item_id"),
    ],
)
async def test_an_item_must_exist(autojump_clock: MockClock, kind: str, fields: dict[str, int], code: str) -> None:
    async with connected(autojump_clock) as client:
        await client.send(f"conversation.item.{kind}", item_id="item_x", **fields)
        assert (await client.error())["code"] == code


async def test_a_deleted_item_is_gone_and_its_answer_goes_on(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(speed=1.0)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        item_id = (await client.until("response.output_audio.delta"))["item_id"]
        await client.send("conversation.item.delete", item_id=item_id)
        assert (await client.until("conversation.item.deleted"))["item_id"] == item_id
        client.events.clear()
        await client.until("response.done")
        assert "conversation.item.done" not in client.kinds()
        await client.send("conversation.item.delete", item_id=item_id)
        assert (await client.error())["code"] == "item_delete_invalid_item_id"


def message(role: str, kind: str, text: str = "hi", **more: object) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


@pytest.mark.parametrize("dialect", Dialect)
async def test_history_goes_in_where_it_is_wanted(autojump_clock: MockClock, dialect: Dialect) -> None:
    async with connected(autojump_clock, dialect) as client:
        reply = "output_text" if dialect is Dialect.GA else "text"
        created = "conversation.item.added" if dialect is Dialect.GA else "conversation.item.created"
        await client.send("conversation.item.create", item=message("user", "input_text", id="one"))
        assert (await client.until(created))["previous_item_id"] is None
        await client.send("conversation.item.create", item=message("assistant", reply, id="three"))
        assert (await client.until(created))["previous_item_id"] == "one"
        item = message("system", "input_text", id="two")
        await client.send("conversation.item.create", previous_item_id="one", item=item)
        assert (await client.until(created))["previous_item_id"] == "one"
        item = message("user", "input_text", id="none")
        await client.send("conversation.item.create", previous_item_id="root", item=item)
        event = await client.until(created)
        assert event["previous_item_id"] is None
        assert event["item"]["content"] == [{"type": "input_text", "text": "hi"}]
        assert [item.id for item in client.conversation.history] == ["none", "one", "two", "three"]


@pytest.mark.parametrize(
    ("dialect", "item", "param"),
    [
        (Dialect.GA, message("assistant", "text"), "item.content[0].type"),
        (Dialect.BETA, message("assistant", "output_text"), "item.content[0].type"),
        (Dialect.GA, message("user", "text"), "item.content[0].type"),
        (
            Dialect.GA,
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": "AAAA"}]},
            "item.content[0].type",
        ),
        (Dialect.GA, message("user", "input_text", id="x" * 33), "item.id"),
        (Dialect.GA, message("robot", "input_text"), "item.role"),
        (Dialect.GA, {"type": "message", "role": "user"}, "item.content"),
        (Dialect.GA, {"type": "poem"}, "item.type"),
        (Dialect.GA, message("user", "input_text", made_up=1), "item.made_up"),
    ],
)
async def test_a_wrong_item_is_refused(
    autojump_clock: MockClock, dialect: Dialect, item: dict[str, Any], param: str
) -> None:
    async with connected(autojump_clock, dialect) as client:
        await client.send("conversation.item.create", item=item)
        assert (await client.error())["param"] == param
        assert list(client.conversation.history) == []


async def test_ids_are_unique_and_the_previous_item_must_exist(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.send("conversation.item.create", item=message("user", "input_text", id="one"))
        await client.send("conversation.item.create", item=message("user", "input_text", id="one"))
        assert (await client.error())["param"] == "item.id"
        late = message("user", "input_text")
        await client.send("conversation.item.create", previous_item_id="nobody", item=late)
        assert (await client.error())["param"] == "previous_item_id"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ("7", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        (b"\x00\x01", "invalid_frame"),
        ("{}", "missing_required_parameter"),
        ('{"type": "made.up"}', "invalid_value"),
        ('{"type": 7}', "invalid_type"),
        ('{"type": ["response.create"]}', "invalid_type"),
        ('{"type": "response.create", "made_up": 1}', "unknown_parameter"),
        ('{"type": "response.create", "event_id": 7}', "invalid_type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "response.create", "response": {"voice": "echo"}}', "unknown_parameter"),
        ('{"type": "response.create", "response": []}', "invalid_type"),
        ('{"type": "response.create", "response": {"metadata": {"a": 7}}}', "invalid_type"),
        ('{"type": "session.update", "session": null}', "invalid_type"),
    ],
)
async def test_nonsense_is_an_error_and_the_session_lives(
    autojump_clock: MockClock, frame: str | bytes, code: str
) -> None:
    async with connected(autojump_clock) as client:
        await client.sending.send(frame)
        assert (await client.error())["code"] == code
        await client.push_to_talk()
        assert (await client.ask())["status"] == "completed"


NAMES = st.sampled_from(
    ["type", "audio", "input", "output", "voice", "format", "rate", "turn_detection", "tools", "model", "id", "x"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON, max_size=5), st.sampled_from(Dialect), st.booleans())
def test_any_update_is_taken_whole_or_refused_whole(change: dict[str, Any], dialect: Dialect, typed: bool) -> None:
    session = Session(dialect, "sess_1", "gpt-realtime", 0)
    before = json.dumps(session.rendered())
    if typed:
        change["type"] = "realtime"
    try:
        session.update(change)
    except ClientError:
        assert json.dumps(session.rendered()) == before
    else:
        assert (session.voice and session.turn_detection is None) or session.turn_detection["type"]


async def test_a_client_that_leaves_voice_detection_on_is_answered_unasked(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.append(silence(1000) + tone(800) + silence(600))
        await client.until("response.done")
        kinds = client.kinds()
        order = [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "response.created",
            "response.done",
        ]
        assert [kind for kind in kinds if kind in order] == order
        started = next(event for event in client.events if event["type"].endswith("speech_started"))
        stopped = next(event for event in client.events if event["type"].endswith("speech_stopped"))
        committed = next(event for event in client.events if event["type"].endswith(".committed"))
        assert abs(started["audio_start_ms"] - 700) <= 40
        assert abs(stopped["audio_end_ms"] - 2000) <= 40
        assert started["item_id"] == stopped["item_id"] == committed["item_id"]
        assert abs(len(client.brain.heard[0]) / 48 - 1300) <= 60


async def test_speech_cancels_the_answer_where_voices_are_detected(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(speed=1.0)) as client:
        await client.append(tone(500) + silence(500))
        await client.until("response.output_audio.delta")
        await client.append(tone(500) + silence(500))
        first = (await client.until("response.done"))["response"]
        assert first["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert (await client.until("response.done"))["response"]["status"] == "completed"


async def test_push_to_talk_detects_no_voice(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.append(tone(500) + silence(1000))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        assert not any("speech" in kind for kind in client.kinds())
