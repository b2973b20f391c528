"""What an answer cost, in the words of chat, of Responses and of Anthropic's. PURE."""

from __future__ import annotations

from typing import Any

from kioskd.dialogue.events import Usage


def usage_of(turn: int, told: object) -> Usage | None:
    """The tokens of a `usage` object; None for what is none. Cached tokens are part of the input, as in `Usage`."""
    if not isinstance(told, dict):
        return None
    sent = _first(told, "prompt_tokens", "input_tokens")
    written = _first(told, "completion_tokens", "output_tokens")
    if sent is None and written is None:
        return None
    sent, written = sent or 0, written or 0
    into = _object(told, "prompt_tokens_details", "input_tokens_details")
    out = _object(told, "completion_tokens_details", "output_tokens_details")
    cached = _first(into, "cached_tokens")
    if cached is None:
        cached = _first(told, "prompt_cache_hit_tokens", "cached_tokens")  # DeepSeek's, Moonshot's
    if cached is None:
        cached = _first(told, "cache_read_input_tokens") or 0  # Anthropic's, which isn't in its input_tokens
        if "prompt_tokens" not in told:
            sent += cached + (_first(told, "cache_creation_input_tokens") or 0)
    heard = min(_first(into, "audio_tokens") or 0, sent)
    spoken = min(_first(out, "audio_tokens") or 0, written)
    cached = min(cached, sent)
    cached_text = min(cached, sent - heard)
    return Usage(
        turn,
        input_text=sent - heard,
        input_audio=heard,
        cached_text=cached_text,
        cached_audio=cached - cached_text,
        output_text=written - spoken,
        output_audio=spoken,
    )


def _first(told: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = told.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
            return value
    return None


def _object(told: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((told[name] for name in names if isinstance(told.get(name), dict)), {})
