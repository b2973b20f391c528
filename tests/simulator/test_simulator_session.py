"""The session's settings: what an update changes, and what it must not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_client import connected
from trio.testing import MockClock

from kioskd.config.schema import Dialect
from kioskd.simulator.errors import ClientError
from kioskd.simulator.session import Session


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
