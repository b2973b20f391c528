"""What a response costs, by the provider's own rules of thumb. Only the shape and the order of magnitude are real."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from kioskd.config.schema import Dialect
from kioskd.simulator.items import Content, Item

INPUT_AUDIO_TOKENS_PER_S = 10
OUTPUT_AUDIO_TOKENS_PER_S = 20
CHARS_PER_TOKEN = 4
CACHE_BLOCK = 64  # input is cached in blocks of so many tokens
TOKENS_PER_MINUTE = 15_000_000
REQUESTS_PER_MINUTE = 5_000


@frozen
class Tokens:
    """So many tokens of text and of sound."""

    text: int = 0
    audio: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.text + self.audio


def of_text(text: str) -> int:
    """How many tokens a text has."""
    return -(-len(text) // CHARS_PER_TOKEN)


def of_input_audio(duration_ms: int) -> int:
    """How many tokens somebody's speech has."""
    return -(-duration_ms * INPUT_AUDIO_TOKENS_PER_S // 1000)


def of_output(text: str, duration_ms: int) -> Tokens:
    """How many tokens an answer has."""
    return Tokens(of_text(text), -(-duration_ms * OUTPUT_AUDIO_TOKENS_PER_S // 1000))


def of_input(instructions: str, items: Iterable[Item]) -> Tokens:
    """How many tokens the model reads before it answers."""
    text, audio = of_text(instructions), 0
    for item in items:
        text += of_text(item.fields.get("output", "") + item.fields.get("arguments", ""))
        for part in item.parts:
            if part.content is Content.INPUT_AUDIO:
                audio += of_input_audio(part.duration_ms)
            elif part.content is Content.AUDIO:
                audio += of_output("", part.duration_ms).audio
                text += of_text(part.text or "")
            else:
                text += of_text(part.text or "")
    return Tokens(text, audio)


def cached(before: Tokens, now: Tokens) -> Tokens:
    """How much of the input was read for the response before this one, too."""
    text, audio = min(before.text, now.text), min(before.audio, now.audio)
    return Tokens(text - text % CACHE_BLOCK, audio - audio % CACHE_BLOCK)


def rendered(dialect: Dialect, read: Tokens, from_cache: Tokens, said: Tokens) -> dict[str, Any]:
    """The usage object of `response.done`."""
    details: dict[str, Any] = {
        "text_tokens": read.text,
        "audio_tokens": read.audio,
        "cached_tokens": from_cache.total,
    }
    if dialect is Dialect.GA:
        details["image_tokens"] = 0
        details["cached_tokens_details"] = {
            "text_tokens": from_cache.text,
            "audio_tokens": from_cache.audio,
            "image_tokens": 0,
        }
    return {
        "total_tokens": read.total + said.total,
        "input_tokens": read.total,
        "output_tokens": said.total,
        "input_token_details": details,
        "output_token_details": {"text_tokens": said.text, "audio_tokens": said.audio},
    }


def rate_limits(used: int) -> list[dict[str, Any]]:
    """The list of `rate_limits.updated`, `used` tokens after a full minute's worth."""
    remaining = max(0, TOKENS_PER_MINUTE - used)
    reset_s = round((TOKENS_PER_MINUTE - remaining) / TOKENS_PER_MINUTE * 60, 3)
    return [
        {
            "name": "requests",
            "limit": REQUESTS_PER_MINUTE,
            "remaining": REQUESTS_PER_MINUTE - 1,
            "reset_seconds": 0.012,
        },
        {"name": "tokens", "limit": TOKENS_PER_MINUTE, "remaining": remaining, "reset_seconds": reset_s},
    ]
