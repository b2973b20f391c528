"""Every event that the simulator sends, held against the types of the `openai` package, strictly."""

from __future__ import annotations

from typing import Any, get_args

import openai.types.beta.realtime as beta_types
import openai.types.realtime as ga_types
import pytest
import trio
from pydantic import BaseModel, TypeAdapter
from simulator_client import ScriptedBrain, connected, silence, tone
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.settings import Pace

TYPES = {Dialect.GA: ga_types, Dialect.BETA: beta_types}

# What the real server sends though the package's types don't have it (REALTIME.md, "Server events").
UNTYPED = {
    Dialect.GA: {
        "session.id",  # in RealtimeSessionCreateResponse, which is not the events' type
        "session.object",
        "session.expires_at",
        "obfuscation",
    },
    Dialect.BETA: {"session.object", "session.expires_at"},
}

BOTH = {
    "session.created",
    "session.updated",
    "error",
    "input_audio_buffer.committed",
    "input_audio_buffer.cleared",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.failed",
    "conversation.item.truncated",
    "conversation.item.deleted",
    "conversation.item.retrieved",
    "response.created",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.done",
    "rate_limits.updated",
}
ALL = {
    Dialect.GA: BOTH
    | {
        "conversation.item.added",
        "conversation.item.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.output_text.delta",
        "response.output_text.done",
    },
    Dialect.BETA: BOTH
    | {
        "conversation.created",
        "conversation.item.created",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.delta",
        "response.audio_transcript.done",
        "response.text.delta",
        "response.text.done",
    },
}


async def conversation_of_everything(clock: MockClock, dialect: Dialect) -> list[dict[str, Any]]:
    """All events of a conversation in which everything happens that can."""
    is_ga = dialect is Dialect.GA
    brain = ScriptedBrain()
    async with connected(clock, dialect, brain, pace=Pace(speed=2.0, session_s=600)) as client:
        await client.append(tone(500) + silence(700))  # voice detection is on
        await client.until("response.done")
        await client.push_to_talk()
        listen = {"model": "whisper-1", "language": "en"}
        settings: dict[str, Any] = {
            "input_audio_transcription": listen,
            "tools": [],
            "max_response_output_tokens": 4096,
        }
        if is_ga:
            settings = {"type": "realtime", "audio": {"input": {"transcription": listen}}, "max_output_tokens": 4096}
        await client.send("session.update", session=settings)
        await client.until("session.updated")
        asked = await client.say(tone(500))
        await client.send("response.create", response={"metadata": {"turn": "7"}})
        answered = (await client.until("response.done"))["response"]["output"][0]["id"]
        for item_id in (asked, answered):
            await client.send("conversation.item.retrieve", item_id=item_id)
            await client.until("conversation.item.retrieved")
        await client.send("conversation.item.truncate", item_id=answered, content_index=0, audio_end_ms=700)
        await client.until("conversation.item.truncated")
        await client.send("conversation.item.retrieve", item_id=answered)
        await client.send("conversation.item.delete", item_id=asked)
        await client.until("conversation.item.deleted")
        await client.append(tone(50))
        await client.send("input_audio_buffer.commit", event_id="c2")
        await client.error()
        await client.send("input_audio_buffer.clear")
        await client.send("response.cancel")
        await client.error()
        await client.sending.send("{")
        await client.sending.send(b"{}")
        await client.send("made.up")
        reply = "output_text" if is_ga else "text"
        for role, kind in (("system", "input_text"), ("user", "input_text"), ("assistant", reply)):
            content = [{"type": kind, "text": "hi"}]
            await client.send("conversation.item.create", item={"type": "message", "role": role, "content": content})
        calls = [
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "{}"},
        ]
        for item in calls:
            await client.send("conversation.item.create", item=item)
        modality = {"output_modalities" if is_ga else "modalities": ["text"]}
        await client.send("response.create", response=modality)
        await client.until("response.done")
        limit = {"max_output_tokens" if is_ga else "max_response_output_tokens": 10}
        await client.send("response.create", response={**limit, "conversation": "none"})
        assert (await client.until("response.done"))["response"]["status"] == "incomplete"
        await client.send("response.create")
        await client.until("response.audio.delta", "response.output_audio.delta")
        await client.send("response.cancel")
        assert (await client.until("response.done"))["response"]["status"] == "cancelled"
        brain.broken = "nobody listens"
        assert (await client.ask())["status"] == "failed"
        assert (await client.error())["code"] == "session_expired"
        with pytest.raises(trio.EndOfChannel):
            await client.next()
        return client.events


def untyped_fields(model: BaseModel, path: str = "") -> set[str]:
    """The paths of all fields in it that its types don't have."""
    found = {f"{path}{name}" for name in model.model_extra or {}}
    for name in model.model_fields_set:
        value = getattr(model, name, None)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                found |= untyped_fields(inner, f"{path}{name}.")
    return found


def known_types(dialect: Dialect) -> set[str]:
    union = get_args(TYPES[dialect].RealtimeServerEvent)[0]
    return {get_args(member.model_fields["type"].annotation)[0] for member in get_args(union)}


@pytest.mark.parametrize("dialect", Dialect)
async def test_every_event_is_of_the_packages_types(autojump_clock: MockClock, dialect: Dialect) -> None:
    events = await conversation_of_everything(autojump_clock, dialect)
    adapter: TypeAdapter[Any] = TypeAdapter(TYPES[dialect].RealtimeServerEvent)
    for event in events:
        parsed = adapter.validate_python(event, strict=True)
        assert untyped_fields(parsed) <= UNTYPED[dialect], event
        assert parsed.model_dump(exclude_unset=True) == event
    assert {event["type"] for event in events} == ALL[dialect]


@pytest.mark.parametrize("dialect", Dialect)
async def test_no_event_of_the_other_dialect_is_sent(autojump_clock: MockClock, dialect: Dialect) -> None:
    other = Dialect.BETA if dialect is Dialect.GA else Dialect.GA
    events = await conversation_of_everything(autojump_clock, dialect)
    assert {event["type"] for event in events} <= known_types(dialect)
    assert not {event["type"] for event in events} & (ALL[other] - ALL[dialect])


@pytest.mark.parametrize("dialect", Dialect)
async def test_the_items_of_events_are_of_the_class_that_their_role_says(
    autojump_clock: MockClock, dialect: Dialect
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(TYPES[dialect].RealtimeServerEvent)
    for event in await conversation_of_everything(autojump_clock, dialect):
        parsed = adapter.validate_python(event, strict=True)
        if (item := getattr(parsed, "item", None)) is not None:
            assert item.type == event["item"]["type"]
            assert getattr(item, "role", None) == event["item"].get("role")


def test_the_strict_check_finds_a_field_too_many() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ga_types.RealtimeServerEvent)
    event = {
        "type": "conversation.item.done",
        "event_id": "event_1",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi", "made_up": 1}]},
    }
    assert untyped_fields(adapter.validate_python(event)) == {"item.content.made_up"}
