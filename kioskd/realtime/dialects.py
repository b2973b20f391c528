"""What differs between the GA and the beta dialect on the way out: address, headers, and the session's settings.

Sources: `openai/types/realtime/session_update_event.py` (GA), `openai/types/beta/realtime/session_update_event.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from kioskd.config.addresses import AZURE_HOSTS
from kioskd.config.schema import Auth, Conversation, Dialect, Endpoint, MintKind, NoiseReduction

MODEL_PARAMETERS = frozenset({"model", "deployment"})  # Azure's beta address names a deployment instead


class Offer(Protocol):
    """A tool that the model may call. `parameters` is a JSON Schema."""

    @property
    def name(self) -> str:
        """As the model calls it."""

    @property
    def description(self) -> str:
        """What it is good for, for the model."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments."""


_PCM = {"type": "audio/pcm", "rate": 24_000}


def resource_url(settings: Endpoint) -> str:
    """The address of the socket, without the key: what its own query lacks comes from `query` and the model."""
    parts = urlsplit(settings.url)
    query = _query(settings)
    if settings.model and not {settings.model_parameter, *MODEL_PARAMETERS} & {name for name, _ in query}:
        query.append((settings.model_parameter, settings.model))
    return urlunsplit(parts._replace(query=urlencode(query), fragment=""))


def _query(settings: Endpoint) -> list[tuple[str, str]]:
    query = parse_qsl(urlsplit(settings.url).query, keep_blank_values=True)
    given = {name for name, _ in query}
    return query + [(name, value) for name, value in settings.query.items() if name not in given]


def auth_of(settings: Endpoint) -> Auth:
    """How the key travels; never `auto`."""
    if settings.auth is not Auth.AUTO:
        return settings.auth
    host = urlsplit(settings.url).hostname or ""
    return Auth.API_KEY_HEADER if host.endswith(AZURE_HOSTS) else Auth.BEARER


def headers(settings: Endpoint, key: str) -> list[tuple[bytes, bytes]]:
    """The headers of the upgrade. Raises ValueError for a key that no header can hold; the text is without the key."""
    if not fits_header(key):
        raise ValueError(
            f"the key of endpoint {settings.name} is empty or has a blank, a line break or a non-ASCII character in it;"
            " write the key alone into its place"
        )
    return key_headers(settings, key) + more_headers(settings)


def fits_header(key: str) -> bool:
    """Whether a key can be sent at all: printable ASCII in one piece (RFC 9110, 5.5)."""
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def key_headers(settings: Endpoint, key: str) -> list[tuple[bytes, bytes]]:
    """The header that carries the key; none where the address does."""
    match auth_of(settings):
        case Auth.QUERY:
            return []
        case Auth.API_KEY_HEADER:
            return [(b"api-key", key.encode())]
        case _:
            return [(b"Authorization", b"Bearer " + key.encode())]


def more_headers(settings: Endpoint) -> list[tuple[bytes, bytes]]:
    """The headers that carry no key: the owner's, and the beta's unless the owner wrote one of that name."""
    fields = [(name.encode(), value.encode()) for name, value in settings.headers.items()]
    beta = settings.dialect is Dialect.BETA if settings.beta_header is None else settings.beta_header
    if beta and b"openai-beta" not in {name.lower() for name, _ in fields}:
        fields.insert(0, (b"OpenAI-Beta", b"realtime=v1"))
    return fields


def with_key(settings: Endpoint, url: str, key: str) -> str:
    """The address with the key in it, where `auth` wants it there; else as it is."""
    if auth_of(settings) is not Auth.QUERY:
        return url
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query, True) if name != settings.key_parameter]
    return urlunsplit(parts._replace(query=urlencode([*query, (settings.key_parameter, key)])))


def mint_url(settings: Endpoint, kind: MintKind) -> str:
    """Where the endpoint itself mints: wss://H/v1/realtime -> https://H/v1/realtime/client_secrets, or /sessions."""
    parts = urlsplit(settings.url)
    last = "sessions" if kind is MintKind.SESSION else "client_secrets"
    query = [pair for pair in _query(settings) if pair[0] not in MODEL_PARAMETERS]  # the body names the model
    scheme = "http" if parts.scheme == "ws" else "https"
    path = f"{parts.path.rstrip('/')}/{last}"
    return urlunsplit((scheme, parts.netloc, path, urlencode(query), ""))


def mint_body(settings: Endpoint, kind: MintKind) -> dict[str, Any]:
    """What is asked for. A broker is asked in the words of the endpoint's dialect."""
    beta = kind is MintKind.SESSION or (kind is MintKind.BROKER and settings.dialect is Dialect.BETA)
    return {"model": settings.model} if beta else {"session": {"type": "realtime", "model": settings.model}}


def session_settings(settings: Endpoint, conversation: Conversation, offers: Sequence[Offer] = ()) -> dict[str, Any]:
    """The session object of `session.update`. Turn detection is off by explicit null: push-to-talk."""
    session = _beta(settings, conversation) if settings.dialect is Dialect.BETA else _ga(settings, conversation)
    if offers:  # written alike in both
        session["tools"] = [
            {"type": "function", "name": each.name, "description": each.description, "parameters": each.parameters}
            for each in offers
        ]
        session["tool_choice"] = "auto"
    return session


def session_change(dialect: Dialect, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any] | None:
    """The session object that turns the one into the other, both by `session_settings`; {} where nothing changes.

    None where the wire has no word for it: what is set can't be taken back. Turn detection is off by explicit null
    once more, for a server that takes what is left out for its default.
    """
    changed = _difference(before, after)
    if not changed:
        return changed
    if dialect is Dialect.BETA:
        return {**changed, "turn_detection": None}
    audio = changed.get("audio", {})
    listening = {**audio.get("input", {}), "turn_detection": None}
    return {**changed, "type": "realtime", "audio": {**audio, "input": listening}}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any] | None:
    changed: dict[str, Any] = {}
    for name, value in after.items():
        inner = _difference(before[name], value) if name in ("audio", "input", "output") else value
        if inner is None and value is not None:
            return None
        if before.get(name) != value:
            changed[name] = inner
    return None if before.keys() - after.keys() else changed


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
