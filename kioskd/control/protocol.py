"""What is said over the control socket: one request a connection, a JSON line; then JSON lines as its answer.

    {"v": 1, "do": "say", "text": "hello"}   ->   {"v": 1, "ok": true, "heard_ms": 410}
                                             or   {"v": 1, "ok": false, "error": "what is wrong, and what to do"}

A stream (`watch`) answers with one line after another until the client closes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from kioskd.value import Value

VERSION = 1
MAX_REQUEST_BYTES = 64 * 1024  # the longest text to be said, every character escaped, and as much again
MAX_ANSWER_BYTES = 256 * 1024  # a status is about 3 KiB

SOCKET_NAME = "control.sock"
SYSTEM_DIRECTORY = Path("/run/kioskd")  # RuntimeDirectory= of the unit

Fields = Mapping[str, Any]


class BadRequestError(ValueError):
    """A request that can't be understood; the message says why."""


@frozen(eq=False, repr=False)
class Request(Value):
    """What a client wants: a verb, and what belongs to it."""

    verb: str
    fields: Fields


def write_request(verb: str, fields: Fields) -> bytes:
    """The line that asks for `verb`."""
    return _line({"v": VERSION, "do": verb, **fields})


def read_request(line: bytes) -> Request:
    """The request in a line. Raises BadRequestError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequestError("this is no JSON in UTF-8") from None
    if not isinstance(message, dict):
        raise BadRequestError('a request is an object: {"v": 1, "do": "status"}')
    version, verb = message.pop("v", None), message.pop("do", None)
    if version != VERSION:
        raise BadRequestError(
            f"this kioskd speaks version {VERSION} of the control protocol, and was asked in {version!r:.40}"
        )
    if not isinstance(verb, str):
        raise BadRequestError('a request names what is to be done: "do"')
    return Request(verb, message)


def write_answer(fields: Fields) -> bytes:
    """The line of an answer, or of one piece of a stream."""
    return _line({"v": VERSION, "ok": True, **fields})


def write_error(words: str, **fields: object) -> bytes:
    """The line that says why not. What else is known stands in `fields`."""
    return _line({"v": VERSION, "ok": False, "error": words, **fields})


def _line(message: Fields) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def socket_places(environ: Mapping[str, str]) -> list[Path]:
    """Where the socket may be, in the order in which it is made and looked for.

    The directory that systemd gave; the system's; the user's own, for a kiosk that was started by hand.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd separates several by colons
    if given:
        return [Path(given) / SOCKET_NAME]
    mine = environ.get("XDG_RUNTIME_DIR", "")
    return [SYSTEM_DIRECTORY / SOCKET_NAME, *([Path(mine) / "kioskd" / SOCKET_NAME] if mine else [])]


def make_place(environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """A path whose directory exists and can be written to, made where that is possible; else None and why, in words."""
    why_not = []
    for path in socket_places(environ):
        try:
            path.parent.mkdir(mode=0o755 if path.parent == SYSTEM_DIRECTORY else 0o700, exist_ok=True)
        except OSError as error:
            why_not.append(f"{path.parent}: {error.strerror}")
            continue
        if os.access(path.parent, os.W_OK | os.X_OK):
            return path, ""
        why_not.append(f"{path.parent}: not this user's to write to")
    return None, "; ".join(why_not)
