"""The fields of a multipart/form-data body. Source: RFC 7578."""

from __future__ import annotations

import re

from attrs import frozen

from kioskd.simulator.errors import ClientError

MAX_FIELDS = 100


@frozen
class Field:
    """One field; `filename` "" where it is no file."""

    name: str
    filename: str
    value: bytes

    @property
    def text(self) -> str:
        """The value of a field that is no file."""
        return self.value.decode("utf-8", "replace")


def fields_in(content_type: str, body: bytes) -> list[Field]:
    """All fields, in their order. Raises `ClientError`: it is no such body."""
    boundary = re.search(r'boundary="?([^";,]+)"?', content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise ClientError(
            "Request Content-Type must be multipart/form-data with a boundary.", "unsupported_content_type"
        )
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    if len(pieces) < 3 or not pieces[-1].startswith(b"--") or len(pieces) > MAX_FIELDS:
        raise ClientError("Could not parse multipart form.")
    return [_field(piece) for piece in pieces[1:-1]]


def _field(piece: bytes) -> Field:
    head, separator, value = piece.partition(b"\r\n\r\n")
    found = dict(re.findall(r'[;\s](name|filename)="((?:[^"\\]|\\.)*)"', head.decode("utf-8", "replace")))
    if not separator or "name" not in found:
        raise ClientError("Could not parse multipart form.")
    return Field(found["name"], found.get("filename", ""), value)
