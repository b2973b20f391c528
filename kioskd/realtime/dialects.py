"""What differs between the GA and the beta dialect on the way out: address, headers, and the session's settings.

Sources: `openai/types/realtime/session_update_event.py` (GA), `openai/types/beta/realtime/session_update_event.py`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from kioskd.config.schema import Conversation, Dialect, Endpoint, NoiseReduction

AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
MODEL_PARAMETERS = frozenset({"model", "deployment"})  # Azure's beta address names a deployment instead

_PCM = {"type": "audio/pcm", "rate": 24_000}


def resource_url(settings: Endpoint) -> str:
    """The address of the socket: the endpoint's, with the model in its query unless it is there already."""
    parts = urlsplit(settings.url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if settings.model and not MODEL_PARAMETERS & {name for name, _ in query}:
        query.append(("model", settings.model))
    return urlunsplit(parts._replace(query=urlencode(query), fragment=""))


def headers(settings: Endpoint, key: str) -> list[tuple[bytes, bytes]]:
    """The headers of the upgrade. Raises ValueError for a key that no header can hold; the text is without the key."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"the key of endpoint {settings.name} is empty or has a blank, a line break or a non-ASCII character in it;"
            " write the key alone into its place"
        )
    host = urlsplit(settings.url).hostname or ""
    fields = (
        [(b"api-key", key.encode())] if host.endswith(AZURE_HOSTS) else [(b"Authorization", b"Bearer " + key.encode())]
    )
    if settings.dialect is Dialect.BETA:
        fields.append((b"OpenAI-Beta", b"realtime=v1"))
    return fields


def session_settings(settings: Endpoint, conversation: Conversation) -> dict[str, Any]:
    """The session object of `session.update`. Turn detection is off by explicit null: push-to-talk."""
    if settings.dialect is Dialect.BETA:
        return _beta(settings, conversation)
    return _ga(settings, conversation)


def _transcription(settings: Endpoint, conversation: Conversation) -> dict[str, str] | None:
    if settings.transcription_model is None:
        return None
    transcription = {"model": settings.transcription_model}
    if conversation.language is not None:
        transcription["language"] = conversation.language
    return transcription


def _noise_reduction(settings: Endpoint) -> dict[str, str] | None:
    if settings.noise_reduction is NoiseReduction.OFF:
        return None
    return {"type": settings.noise_reduction.value}


def _ga(settings: Endpoint, conversation: Conversation) -> dict[str, Any]:
    listening: dict[str, Any] = {"format": _PCM, "turn_detection": None} | _present(
        noise_reduction=_noise_reduction(settings), transcription=_transcription(settings, conversation)
    )
    output = {"format": _PCM} | _present(voice=settings.voice)
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": conversation.instructions,
        "audio": {
            "input": listening,
            "output": output,
        },
    }
    return session | _present(max_output_tokens=settings.max_tokens)


def _beta(settings: Endpoint, conversation: Conversation) -> dict[str, Any]:
    session: dict[str, Any] = {
        "modalities": ["text", "audio"],
        "instructions": conversation.instructions,
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": None,
    }
    return session | _present(
        input_audio_noise_reduction=_noise_reduction(settings),
        input_audio_transcription=_transcription(settings, conversation),
        voice=settings.voice,
        temperature=settings.temperature,
        max_response_output_tokens=settings.max_tokens,
    )


def _present(**fields: Any) -> dict[str, Any]:
    """What is not set is left out: in a new session it is off, and the reference types allow few nulls."""
    return {name: value for name, value in fields.items() if value is not None}
