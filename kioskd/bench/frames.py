"""WebSocket frames (RFC 6455, 5.2) by concatenation: for the server that answers from a can, and for the floor."""

from __future__ import annotations

import os
from collections.abc import Iterator

from websockets.speedups import apply_mask

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked message, as a server sends it."""
    return _head(len(payload), opcode, 0) + payload


def masked_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One masked message, as a client sends it."""
    mask = os.urandom(4)
    return _head(len(payload), opcode, _MASKED) + mask + apply_mask(payload, mask)


def _head(size: int, opcode: int, masked: int) -> bytes:
    if size < 126:
        return bytes((_FINAL | opcode, masked | size))
    if size < 65536:
        return bytes((_FINAL | opcode, masked | 126)) + size.to_bytes(2, "big")
    return bytes((_FINAL | opcode, masked | 127)) + size.to_bytes(8, "big")


class FrameReader:
    """Whole frames out of pieces of a stream. Messages in fragments are not expected from anybody here."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(opcode, payload) of each frame that is whole now."""
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            at += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:at], "big")
        masked = buffer[1] & _MASKED
        begin = at + 4 if masked else at
        if len(buffer) < begin + size:
            return None
        payload, opcode = bytes(buffer[begin : begin + size]), buffer[0] & 0x0F
        if masked:
            payload = apply_mask(payload, bytes(buffer[at:begin]))
        del buffer[: begin + size]
        return opcode, payload
