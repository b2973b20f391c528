"""What the server's errors mean to a session. One table; `code` and `type` count alike, for either can be null.

Sources: recorded frames and issue threads; see the texts beside each row.
"""

from __future__ import annotations

from enum import Enum

from kioskd.dialogue.events import Ending
from kioskd.realtime.wire import ResponseDone, ServerError

LINE_LENGTH_MAX = 200  # a server's words go into the owner's log as one line


class Meaning(Enum):
    """What follows from an error."""

    FATAL = "fatal"  # this session can't go on, whoever must act
    ALREADY_ACTIVE = "already active"  # a response.create came while another response was active
    NOT_ACTIVE = "not active"  # a response.cancel came too late, or too early
    COMMIT_EMPTY = "commit empty"  # less than 100 ms since the last commit
    STALE = "stale"  # an item that we touched is gone or shorter: nothing follows
    OTHER = "other"


_MEANINGS = {
    "invalid_api_key": Meaning.FATAL,
    "incorrect_api_key": Meaning.FATAL,
    "insufficient_quota": Meaning.FATAL,
    "credit_balance_exhausted": Meaning.FATAL,
    "account_deactivated": Meaning.FATAL,
    "billing_hard_limit_reached": Meaning.FATAL,
    "authentication_error": Meaning.FATAL,
    "missing_model": Meaning.FATAL,
    "invalid_model": Meaning.FATAL,
    "model_not_found": Meaning.FATAL,
    "beta_api_shape_disabled": Meaning.FATAL,
    "session_expired": Meaning.FATAL,
    "rate_limit_exceeded": Meaning.OTHER,
    "rate_limit_error": Meaning.OTHER,
    "slow_down": Meaning.OTHER,
    "429": Meaning.OTHER,
    "conversation_already_has_active_response": Meaning.ALREADY_ACTIVE,
    "response_cancel_not_active": Meaning.NOT_ACTIVE,
    "input_audio_buffer_commit_empty": Meaning.COMMIT_EMPTY,
    "item_truncate_invalid_item_id": Meaning.STALE,
    "item_delete_invalid_item_id": Meaning.STALE,
    "item_not_found": Meaning.STALE,
}

# Both fields can be empty or say "invalid_request_error" only: then the text tells. Lower case.
_PHRASES = (
    ("already has an active response", Meaning.ALREADY_ACTIVE),
    ("no active response", Meaning.NOT_ACTIVE),
    ("buffer too small", Meaning.COMMIT_EMPTY),
    ("buffer is empty", Meaning.COMMIT_EMPTY),
    ("is already shorter than", Meaning.STALE),
)


def meaning_of(error: ServerError) -> Meaning:
    """What follows from this error."""
    for name in (error.code, error.kind):
        if name in _MEANINGS:
            return _MEANINGS[name]
    message = error.message.lower()
    return next((meaning for phrase, meaning in _PHRASES if phrase in message), Meaning.OTHER)


def name_of(error: ServerError) -> str:
    """The identifier to judge by: a known one first, then `code`, then `type`."""
    for name in (error.code, error.kind):
        if name in _MEANINGS:
            return name
    return error.code or error.kind or "error"


def line_of(error: ServerError) -> str:
    """The error as one line for the owner."""
    message = " ".join(error.message.split())[:LINE_LENGTH_MAX]
    name = name_of(error)[:LINE_LENGTH_MAX]
    return f"{name}: {message}" if message else name


def may_concern(error: ServerError, turn: int) -> bool:
    """Servers echo our event_id only sometimes: an error without it concerns the answer that is awaited."""
    return error.event_id in (None, f"create-{turn}", f"commit-{turn}")


def create_of(error: ServerError) -> int | None:
    """The turn whose `response.create` an error is about, where the server says so."""
    name, _, turn = (error.event_id or "").partition("-")
    return int(turn) if name == "create" and turn.isdecimal() else None


def ending_of(event: ResponseDone, *, sounded: bool) -> tuple[Ending, str]:
    """How a response ended for the one who hears it, and why."""
    if event.status == "failed" or event.error is not None:
        return Ending.FAILED, line_of(event.error) if event.error else f"failed: {event.reason or 'no reason given'}"
    if not sounded:
        return Ending.FAILED, f"answered without sound ({event.reason or event.status or 'no reason given'})"
    if event.status in ("incomplete", "cancelled"):
        return Ending.TRUNCATED, event.reason or event.status
    return Ending.COMPLETE, ""
