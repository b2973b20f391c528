"""What a fault says at once, in front of what the server was about to say: whole frames, and perhaps a close."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from kioskd.simulator.errors import ClientError, session_expired
from kioskd.simulator.events import new_id

OVERSIZED_BYTES = 20 * 2**20


@frozen
class Words:
    """Frames to send, then the close code and its reason, if it ends so."""

    frames: tuple[str | bytes, ...] = ()
    close: tuple[int, str] | None = None


def event(kind: str, **fields: Any) -> str:
    """A server event with an id of its own."""
    return json.dumps({"type": kind, "event_id": new_id("event"), **fields})


def error(cause: ClientError) -> str:
    """An `error` event."""
    details = {
        "type": cause.type,
        "code": cause.code,
        "message": cause.message,
        "param": cause.param,
        "event_id": cause.event_id,
    }
    return event("error", error=details)


def update_rejected(event_id: str | None) -> str:
    """What comes instead of `session.updated`."""
    text = "Invalid session: these settings are not supported by this model."
    return error(ClientError(text, "invalid_value", "session", event_id=event_id))


def words_of(kind: str) -> Words | None:
    """What the fault of this name says; None: it says nothing of its own, but changes what is said."""
    if kind.startswith("close-"):
        return Words(close=(int(kind.removeprefix("close-")), ""))
    make = _MAKERS.get(kind)
    return make() if make is not None else None


def _wrong_key() -> Words:
    cause = ClientError("Incorrect API key provided. Check the key in your settings.", "invalid_api_key")
    return Words((error(cause),), (3000, f"{cause.type}.{cause.code}"))


def _missing_model() -> Words:
    cause = ClientError("You must provide a model parameter.", "missing_model")
    return Words((error(cause),), (4000, f"{cause.type}.{cause.code}"))


def _session_expired() -> Words:
    return Words((error(session_expired(60)),), (1001, "session_expired"))


def _oversized() -> Words:
    return Words((event("response.oversized", padding="A" * OVERSIZED_BYTES),))


def _garbage() -> Words:
    return Words(('{"type":"response.output_audio.delta","event_id":"event_1","del',))


def _binary() -> Words:
    return Words((b"\x00\xff\x00\xff not an event",))


def _unknown_event() -> Words:
    return Words((event("response.mood.updated", mood="serene"),))


def _null_code() -> Words:
    text = "Cancellation failed: no active response found"
    return Words((error(ClientError(text, None, type="response_cancel_not_active")),))


_MAKERS = {
    "error-close-3000": _wrong_key,
    "error-close-4000": _missing_model,
    "session-expired": _session_expired,
    "frame-20mb": _oversized,
    "garbage-json": _garbage,
    "binary-frame": _binary,
    "unknown-event": _unknown_event,
    "null-code-error": _null_code,
}
