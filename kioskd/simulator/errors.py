"""What the server says to a client that broke a rule: the texts and codes of the real one.

Sources: public recordings of the provider's frames (see REALTIME.md, "Semantics and the texts of errors"). Where no
recording of a code or text is known, the nearest of the same family stands here, marked "not recorded".
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field


@define
class ClientError(Exception):
    """A rule that the client broke: becomes a non-fatal `error` event, and changes nothing in the session."""

    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"
    event_id: str | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"{self.code or self.type}: {self.message}"


def quoted(values: Iterable[str]) -> str:
    """The provider's way to list values: 'a', 'b', and 'c'."""
    names = [f"'{value}'" for value in values]
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def unknown_parameter(path: str) -> ClientError:
    """A field that does not exist in this dialect."""
    return ClientError(f"Unknown parameter: '{path}'.", "unknown_parameter", path)


def missing_parameter(path: str) -> ClientError:
    """A field without which the event means nothing."""
    return ClientError(f"Missing required parameter: '{path}'.", "missing_required_parameter", path)


def invalid_value(path: str, value: object, supported: Iterable[str]) -> ClientError:
    """A value outside of a closed set."""
    text = f"Invalid value: '{value}'. Supported values are: {quoted(supported)}."
    return ClientError(text, "invalid_value", path)


def invalid_type(path: str, expected: str, got: str) -> ClientError:
    """A JSON value of another type."""
    text = f"Invalid type for '{path}': expected {expected}, but got {got} instead."
    return ClientError(text, "invalid_type", path)


def invalid_json() -> ClientError:
    """A text frame that is no JSON object (code and text not recorded)."""
    return ClientError("Failed to parse the event: it is not a JSON object.", "invalid_json")


def binary_frame() -> ClientError:
    """Events are text frames (code and text not recorded)."""
    return ClientError("Binary frames are not supported: send events as JSON in text frames.", "invalid_frame")


def invalid_audio(path: str) -> ClientError:
    """No base64, or half a sample in it."""
    text = f"Invalid '{path}'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got an invalid value."
    return ClientError(text, "invalid_value", path)


def audio_too_long(path: str, limit_bytes: int) -> ClientError:
    """More audio than fits (text not recorded)."""
    return ClientError(f"Invalid '{path}': more than {limit_bytes} bytes of audio.", "string_above_max_length", path)


def commit_too_short(buffered_ms: float) -> ClientError:
    """Under 100 ms in the buffer."""
    text = (
        "Error committing input audio buffer: buffer too small. "
        f"Expected at least 100ms of audio, but buffer only has {buffered_ms:.2f}ms of audio."
    )
    return ClientError(text, "input_audio_buffer_commit_empty")


def already_responding(response_id: str) -> ClientError:
    """Only one response can write to the conversation."""
    text = (
        f"Conversation already has an active response in progress: {response_id}. "
        "Wait until the response is finished before creating a new one."
    )
    return ClientError(text, "conversation_already_has_active_response")


def not_responding() -> ClientError:
    """Nothing to cancel."""
    return ClientError("Cancellation failed: no active response found", "response_cancel_not_active")


def voice_is_fixed(path: str) -> ClientError:
    """The voice can't change after the first audio; the whole update is refused."""
    return ClientError(
        "Cannot update a conversation's voice if assistant audio is present.", "cannot_update_voice", path
    )


def model_is_fixed(path: str) -> ClientError:
    """The model is chosen in the URL (code and text not recorded)."""
    return ClientError("Cannot update a session's model.", "invalid_value", path)


def unknown_item(action: str, item_id: str) -> ClientError:
    """An item that is not in the conversation. `action`: truncate, delete or retrieve."""
    doing = action.rstrip("e") + "ing"
    text = f"Error {doing} item: the item with id '{item_id}' does not exist."
    return ClientError(text, f"item_{action}_invalid_item_id", "item_id")


def unknown_previous_item(item_id: str) -> ClientError:
    """An item can't be put behind one that does not exist."""
    text = f"Error adding item: the previous item with id '{item_id}' does not exist."
    return ClientError(text, "item_create_invalid_previous_item_id", "previous_item_id")


def duplicate_item(item_id: str) -> ClientError:
    """Ids are unique within a conversation (code not recorded)."""
    return ClientError(f"Error adding item: an item with id '{item_id}' already exists.", "invalid_value", "item.id")


def not_truncatable() -> ClientError:
    """Only what the model said can be cut; nothing said, nothing to cut. Code and param are null in recordings."""
    return ClientError("Only model output audio messages can be truncated")


def shorter_already(audio_ms: int, end_ms: int) -> ClientError:
    """The client claims to have played more than it was sent."""
    text = f"Audio content of {audio_ms}ms is already shorter than {end_ms}ms"
    return ClientError(text, "invalid_value", "audio_end_ms")


def session_expired(minutes: int) -> ClientError:
    """The end of every session; the socket closes after it."""
    text = f"Your session hit the maximum duration of {minutes} minutes."
    return ClientError(text, "session_expired")
