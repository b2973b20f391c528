"""What is sent to transcriptions, speech and spoken chat, held against the request types of the `openai` package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.audio.transcription_create_params import (
    TranscriptionCreateParamsNonStreaming,
    TranscriptionCreateParamsStreaming,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

sys.path.insert(0, str(Path(__file__).parents[1] / "endpoints"))

from test_endpoints_audio_sse import FIRST as QUESTION
from test_endpoints_audio_sse import Asker, Tools, follow_up, says, spoken, wants_lights
from test_endpoints_voice import DONE, form_of, hear, sends, speak, streamed
from text_servers import reply

from kioskd.config.schema import Hearing


def check(kind: Any, body: Any) -> None:
    """No field too many, none too few, each of its type, also within its lists."""
    adapter: TypeAdapter[Any] = TypeAdapter(with_config(ConfigDict(extra="forbid", arbitrary_types_allowed=True))(kind))
    found = adapter.validate_python(body)
    for name, value in body.items():
        if isinstance(value, list):  # the types' iterables are only looked at as they are read
            assert len(list(found[name])) == len(value)


def typed(form: dict[str, Any]) -> dict[str, Any]:
    """A form's fields as what they stand for."""
    return form | ({"stream": {"true": True, "false": False}[form["stream"]]} if "stream" in form else {})


@pytest.mark.parametrize("language", [None, "de-AT"])
async def test_hearing(language: str | None) -> None:
    _, (asked,) = await hear(streamed(DONE), language=language)
    check(TranscriptionCreateParamsStreaming, typed(form_of(asked)))
    _, (asked,) = await hear(sends(reply({"text": "Hi."})), language=language, hearing=Hearing(stream=False))
    check(TranscriptionCreateParamsNonStreaming, typed(form_of(asked)))


async def test_speech() -> None:
    _, (asked,) = await speak(sends(reply(bytes(100), kind="audio/pcm")))
    check(SpeechCreateParams, asked.json)


async def test_spoken_chat_with_history_and_tools() -> None:
    asker = Asker(Tools(), max_tokens=100, temperature=0.8)
    await asker.run(says(spoken(), wants_lights(), spoken()), QUESTION, follow_up())
    assert len(asker.asked) == 3
    for asked in asker.asked:
        body = asked.json
        check(CompletionCreateParamsStreaming, body)
        for message in body["messages"]:
            assert message["role"] in ("system", "user", "assistant", "tool")
    assert "audio" in asker.asked[1].json["messages"][2]


def test_the_check_finds_what_no_type_knows() -> None:
    with pytest.raises(ValidationError):
        check(SpeechCreateParams, {"input": "a", "model": "m", "voice": "v", "made_up": 1})
    with pytest.raises(ValidationError):
        check(SpeechCreateParams, {"input": "a", "model": "m", "voice": "v", "response_format": "raw"})
    with pytest.raises(ValidationError):
        check(CompletionCreateParamsStreaming, {"model": "m", "messages": [{"role": "nobody"}], "stream": True})
