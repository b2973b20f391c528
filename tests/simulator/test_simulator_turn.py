"""The order and the content of what a push-to-talk turn brings, in both dialects."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest
import trio
from simulator_client import ScriptedBrain, connected, silence, tone
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.settings import Pace

GA_TURN = [
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
BETA_TURN = [
    "input_audio_buffer.committed",
    "conversation.item.created",
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.content_part.added",
    "response.audio_transcript.delta",
    "response.audio.delta",
    "response.audio.done",
    "response.audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def folded(kinds: list[str]) -> list[str]:
    """The order of first occurrences within the stream of deltas; all else as it came."""
    seen: set[str] = set()
    return [kind for kind in kinds if not kind.endswith(".delta") or not (kind in seen or seen.add(kind))]


def sound(events: list[dict[str, Any]]) -> bytes:
    deltas = ("response.output_audio.delta", "response.audio.delta")
    return b"".join(base64.b64decode(event["delta"]) for event in events if event["type"] in deltas)


@pytest.mark.parametrize(("dialect", "turn"), [(Dialect.GA, GA_TURN), (Dialect.BETA, BETA_TURN)])
async def test_a_turn_brings_these_events_in_this_order(
    autojump_clock: MockClock, dialect: Dialect, turn: list[str]
) -> None:
    async with connected(autojump_clock, dialect) as client:
        await client.push_to_talk()
        client.events.clear()
        await client.ask()
        await client.until("rate_limits.updated")
        assert folded(client.kinds()) == turn


@pytest.mark.parametrize("dialect", Dialect)
async def test_the_answer_is_whole_and_all_ids_agree(autojump_clock: MockClock, dialect: Dialect) -> None:
    async with connected(autojump_clock, dialect) as client:
        await client.push_to_talk()
        done = await client.ask()
        item = done["output"][0]
        assert done["status"] == "completed"
        assert item["status"] == "completed"
        assert item["content"][0]["transcript"] == client.brain.reply
        assert sound(client.events) == tone(client.brain.reply_ms)
        transcript = [event["delta"] for event in client.events if event["type"].endswith("transcript.delta")]
        assert "".join(transcript) == client.brain.reply
        assert {event["item_id"] for event in client.events if event["type"].endswith(".delta")} == {item["id"]}
        assert {event["response_id"] for event in client.events if "response_id" in event} == {done["id"]}
        event_ids = [event["event_id"] for event in client.events]
        assert len(set(event_ids)) == len(event_ids)


async def test_deltas_have_four_to_eight_kilobytes_and_some_end_inside_a_sample(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.ask()
        sizes = [
            len(base64.b64decode(event["delta"]))
            for event in client.events
            if event["type"] == "response.output_audio.delta"
        ]
        assert all(4096 <= size <= 8192 for size in sizes[:-1])
        assert any(size % 2 for size in sizes)


async def test_an_answer_comes_in_bursts_as_much_faster_than_real_time_as_the_pace_says(
    autojump_clock: MockClock,
) -> None:
    async with connected(autojump_clock, pace=Pace(speed=4.0, created_after_s=0.0)) as client:
        await client.push_to_talk()
        await client.say(tone(500))
        await client.send("response.create")
        await client.until("response.created")
        began = trio.current_time()
        arrivals = []
        while (event := await client.next())["type"] != "response.done":
            if event["type"] == "response.output_audio.delta":
                arrivals.append(trio.current_time() - began)
        assert 0.35 <= arrivals[-1] <= 0.5  # 2 s of speech
        bursts = [len(list(group)) for _, group in itertools.groupby(arrivals)]
        assert max(bursts) == 4


async def test_the_session_comes_first_and_detects_voices_by_itself(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        created = await client.next()
        assert created["type"] == "session.created"
        session = created["session"]
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert session["expires_at"] == 1_003_600
        assert session["model"] == "gpt-realtime"


async def test_the_beta_session_is_flat_and_its_conversation_is_announced(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, Dialect.BETA) as client:
        session = (await client.next())["session"]
        assert session["turn_detection"]["type"] == "server_vad"
        assert session["input_audio_format"] == "pcm16"
        assert "audio" not in session
        assert (await client.next())["type"] == "conversation.created"


async def test_what_is_transcribed_is_told_apart_from_the_answer(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        wanted = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        await client.send("session.update", session=wanted)
        item_id = await client.say(tone(1500))
        completed = await client.until("conversation.item.input_audio_transcription.completed")
        assert completed["item_id"] == item_id
        assert completed["transcript"] == client.brain.question
        assert completed["usage"] == {"type": "duration", "seconds": 2}
        deltas = [event["delta"] for event in client.events if event["type"].endswith("transcription.delta")]
        assert "".join(deltas) == client.brain.question


async def test_a_session_without_transcription_tells_nothing_of_what_was_heard(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.ask()
        assert not any("transcription" in kind for kind in client.kinds())


async def test_silence_is_answered_by_not_having_understood(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        done = await client.ask(silence(500))
        assert done["output"][0]["content"][0]["transcript"] == "I did not understand."


async def test_the_brain_hears_exactly_what_was_appended(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.append(tone(130))
        await client.append(tone(70, hz=880))
        await client.ask(tone(50))
        assert client.brain.heard == [tone(130) + tone(70, hz=880) + tone(50)]


@pytest.mark.parametrize("dialect", Dialect)
async def test_the_usage_counts_sound_and_text(autojump_clock: MockClock, dialect: Dialect) -> None:
    async with connected(autojump_clock, dialect) as client:
        await client.push_to_talk()
        first = (await client.ask(tone(1000)))["usage"]
        assert first["input_token_details"]["audio_tokens"] == 10
        assert first["output_token_details"]["audio_tokens"] == 40
        assert first["total_tokens"] == first["input_tokens"] + first["output_tokens"]
        second = (await client.ask(tone(5000)))["usage"]
        assert second["input_token_details"]["audio_tokens"] == 10 + 40 + 50
        third = (await client.ask(tone(1000)))["usage"]
        assert third["input_token_details"]["audio_tokens"] == 10 + 40 + 50 + 40 + 10
        assert third["input_token_details"]["cached_tokens"] == 64  # of the 100 that were read for the second


async def test_a_session_of_text_gets_text(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        await client.push_to_talk()
        done = await client.ask()
        assert done["output"][0]["content"] == [{"type": "output_text", "text": client.brain.reply}]
        assert "response.output_text.done" in client.kinds()
        assert "response.output_audio.delta" not in client.kinds()


async def test_a_written_question_is_read(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Continue"}]}
        await client.send("conversation.item.create", item=message)
        await client.send("response.create")
        await client.until("response.done")
        assert client.brain.read_texts == ["Continue"]


async def test_a_limit_of_tokens_ends_the_answer_incomplete(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.send("session.update", session={"type": "realtime", "max_output_tokens": 20})
        done = await client.ask()
        assert done["status"] == "incomplete"
        assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        assert done["usage"]["output_tokens"] <= 21
        assert done["output"][0]["status"] == "incomplete"


async def test_a_brain_that_fails_fails_the_response_and_not_the_session(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, brain=ScriptedBrain(broken="espeak-ng is missing")) as client:
        await client.push_to_talk()
        done = await client.ask()
        assert done["status"] == "failed"
        assert done["status_details"]["error"]["message"] == "espeak-ng is missing"
        client.brain.broken = ""
        assert (await client.ask())["status"] == "completed"


async def test_metadata_comes_back(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create", response={"metadata": {"turn": "7"}})
        assert (await client.until("response.created"))["response"]["metadata"] == {"turn": "7"}
        assert (await client.until("response.done"))["response"]["metadata"] == {"turn": "7"}


async def test_a_response_out_of_band_leaves_no_item(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        item_id = await client.say(tone(300))
        await client.send("response.create", response={"conversation": "none"})
        await client.send("response.create")
        first = (await client.until("response.done"))["response"]
        second = (await client.until("response.done"))["response"]
        beside, inside = sorted([first, second], key=lambda response: response["conversation_id"] is not None)
        assert beside["conversation_id"] is None
        known = [item.id for item in client.conversation.history]
        assert known == [item_id, inside["output"][0]["id"]]


async def test_a_client_that_reads_nothing_more_is_cut_off(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, reads=0) as client:
        for _ in range(5000):
            await client.send("input_audio_buffer.clear")
        with trio.fail_after(60):
            while client.channel.closed is None:
                await trio.sleep(1)
        assert client.channel.closed[0] == 1008


async def test_a_slow_reader_gets_a_long_answer_whole(autojump_clock: MockClock) -> None:
    brain = ScriptedBrain(reply="Yes.", sound=bytes(26 * 2**20))  # in more deltas than may wait
    async with connected(autojump_clock, brain=brain, pace=Pace(speed=1e6), reads=0) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await trio.sleep(600)
        assert (await client.until("response.done"))["response"]["status"] == "completed"
        assert sum(event["type"] == "response.output_audio.delta" for event in client.events) > 4096


async def test_the_session_expires_with_an_error_and_close_1001(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock, pace=Pace(session_s=3600)) as client:
        began = trio.current_time()
        error = await client.error()
        assert error["code"] == "session_expired"
        assert trio.current_time() - began == pytest.approx(3600)
        with pytest.raises(trio.EndOfChannel):
            await client.next()
        assert client.channel.closed[0] == 1001


async def test_a_client_that_goes_in_mid_answer_ends_the_conversation(autojump_clock: MockClock) -> None:
    async with connected(autojump_clock) as client:
        await client.push_to_talk()
        await client.say(tone(300))
        await client.send("response.create")
        await client.until("response.output_audio.delta")
