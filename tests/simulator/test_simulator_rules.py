"""What a client must not do with its sound and its responses, and the words in which it is told."""

from __future__ import annotations

import pytest
import trio
from simulator_client import ScriptedBrain, connected, silence, tone
from trio.testing import MockClock

from kioskd.simulator.settings import Pace

TOO_SMALL = (
    "Error committing input audio buffer: buffer too small. "
    "Expected at least 100ms of audio, but buffer only has {:.2f}ms of audio."
)


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
        await client.send("input_audio_buffer.append", audio="A" * (15 * 2**20 + 8))
        assert (await client.error())["code"] == "string_above_max_length"


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
    async with connected(autojump_clock, pace=Pace(speed=0.5)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        for _ in range(4):  # a burst
            await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        client.events.clear()
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert response["output"][0]["status"] == "incomplete"
        assert [kind for kind in client.kinds() if not kind.endswith("transcript.delta")] == [
            "response.output_audio.delta",
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
    async with connected(autojump_clock, pace=Pace(created_after_s=1.0)) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await trio.sleep(0.9)
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


async def test_what_is_committed_by_hand_after_a_detected_turn_is_another_item(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.append(tone(500) + silence(500))
        detected = (await client.until("input_audio_buffer.committed"))["item_id"]
        assert await client.say(silence(100)) != detected


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
