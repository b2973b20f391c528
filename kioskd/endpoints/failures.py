"""What an HTTP answer in place of a connection means, as a `policy.Failure`; and the error that carries one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from kioskd.config.secrets import mask_keys
from kioskd.endpoints.policy import LIMIT_CODES, TROUBLE_CODES, Failure, Kind, most_telling

EXCERPT_CHARACTERS = 200  # of an error's body: enough for its message
_UNKNOWN_FIELD = frozenset({400, 404, 405, 406, 415, 422, 501})  # where the words behind name the field
_LEAST_SECRET = 8  # shorter header values ("realtime=v1" is longer, but no harm to mask) are no secrets

Headers = Sequence[tuple[bytes, bytes]]


class DialError(Exception):
    """There is no connection; `failure` says why, for `policy.judge`. The text is one line without secrets."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def excerpt(text: bytes, sent: Headers = ()) -> str:
    """One line of what the other side says, without control characters, keys, or the values of the headers we sent."""
    line = text.decode("utf-8", "replace")
    for _, value in sent:
        for word in value.decode("latin-1").split():
            if len(word) >= _LEAST_SECRET:
                line = line.replace(word, "***")
    line = "".join(character if character.isprintable() else " " for character in mask_keys(line))
    return " ".join(line.split())[:EXCERPT_CHARACTERS]


def refused_upgrade(host: str, status: int, headers: Headers, body: bytes, sent: Headers) -> Failure:
    """The upgrade brought this HTTP answer; `sent` are our own headers, which some relays repeat in their words."""
    fields = {name.lower(): value.decode("latin-1") for name, value in headers}
    error = _error_object(body)
    said = error.get("message")
    told = retry_after_s(fields.get(b"retry-after"), fields.get(b"date"))
    words = excerpt(said.encode("utf-8", "replace") if isinstance(said, str) else body, sent)
    return Failure(
        Kind.UPGRADE,
        f"{host} refuses with HTTP {status}" + (f": {words}" if words else ""),
        status=status,
        code=most_telling(_names(error)),
        retry_after_s=_seconds(error.get("reset_seconds")) if told is None else told,
    )


def told_in_answer(host: str, answer: dict[str, Any], sent: Headers = ()) -> Failure:
    """An error that came in place of an answer or in the middle of one: nested, flat, or a mere text."""
    error = _error_of(answer)
    said = error.get("message")
    words = excerpt(said.encode("utf-8", "replace"), sent) if isinstance(said, str) else ""
    code = most_telling(name for name in _names(error) if name != "error")  # the type of a flat one
    told = _seconds(error.get("reset_seconds"))
    statuses = (answer.get("status"), error.get("status"), error.get("code"))
    status = next((n for n in statuses if isinstance(n, int) and 400 <= n < 600), None)  # no bool is
    message = f"{host}: {words or code or 'an error without a word'}"
    return Failure(Kind.ERROR, message, status=status, code=code, retry_after_s=told)


def told_by_endpoint(code: str, message: str, setting_up: bool) -> Failure:
    """A fatal error event; `setting_up`: it came in place of `session.updated`."""
    rejected = setting_up and code not in (*LIMIT_CODES, *TROUBLE_CODES)
    return Failure(Kind.SETTINGS if rejected else Kind.ERROR, message, code=code)


def refuses_field(failure: Failure, field: str) -> bool:
    """Whether the request was refused for the sake of this field ("upstream failed" says nothing of a stream)."""
    return failure.status in _UNKNOWN_FIELD and re.search(rf"\b{field}", failure.message.lower()) is not None


def retry_after_s(value: str | None, date: str | None) -> float | None:
    """The header in seconds or as a date (RFC 9110, 10.2.3).

    A date counts from the server's own `Date`: a Pi may not know the time. Without one it says nothing.
    """
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return float(value)
    until, now = moment_of(value), moment_of(date or "")
    return max(0.0, (until - now).total_seconds()) if until and now else None


def moment_of(text: str) -> datetime | None:
    """An HTTP date (RFC 9110, 5.6.7); None for what is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _error_object(body: bytes) -> dict[str, Any]:
    """The error of a JSON body, nested or flat; empty where there is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return _error_of(answer) if isinstance(answer, dict) else {}


def _error_of(answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error") or answer
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _names(error: dict[str, Any]) -> Iterator[str]:
    for name in ("code", "type"):
        value = error.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
            yield str(value)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        return None
    return float(value)
