"""A WebSocket's frames, and a client's bytes for them (RFC 6455, 5.2 and 5.3). PURE."""

from __future__ import annotations

import struct
from functools import cache

from attrs import frozen

from kioskd.value import Value

MORE, TEXT, BYTES, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10  # opcodes
FIN, RESERVED, OPCODE, MASK = 0x80, 0x70, 0x0F, 0x80  # bits of a header's first two bytes
SHORT_MAX, IN_2_BYTES, IN_8_BYTES = 125, 126, 127  # what the second byte says of the payload's length
IN_2_BYTES_MAX = 0xFFFF

NO_CODE, ABNORMAL_CLOSURE = 1005, 1006  # RFC 6455, 7.4.1: for no frame, but for whoever asks why it ended
WRONG_FRAME, WRONG_TEXT, MESSAGE_TOO_BIG = 1002, 1007, 1009
_REASON_BYTES = SHORT_MAX - 2


@frozen(eq=False, repr=False)
class Frame(Value):
    """A whole message, or a control frame."""

    opcode: int
    payload: bytes


@frozen(eq=False, repr=False)
class CloseReason(Value):
    """Why a connection ended: the close frame's code (RFC 6455, 7.4) and words."""

    code: int
    reason: str | None = None


def close_frame(why: CloseReason) -> Frame:
    """Says goodbye; words that are too long are cut."""
    if why.code == NO_CODE:
        return Frame(CLOSE, b"")
    words = (why.reason or "").encode()[:_REASON_BYTES].decode(errors="ignore")
    return Frame(CLOSE, struct.pack("!H", why.code) + words.encode())


def masked(frame: Frame, key: bytes) -> bytes:
    """Its bytes. `key`: 4 bytes for this frame alone, which nobody can foresee."""
    size = len(frame.payload)
    first = FIN | frame.opcode
    if size <= SHORT_MAX:
        head = struct.pack("!BB", first, MASK | size)
    elif size <= IN_2_BYTES_MAX:
        head = struct.pack("!BBH", first, MASK | IN_2_BYTES, size)
    else:
        head = struct.pack("!BBQ", first, MASK | IN_8_BYTES, size)
    payload = bytearray(frame.payload)
    for place, byte in enumerate(key):
        payload[place::4] = payload[place::4].translate(_each_xor(byte))
    return head + key + payload


@cache
def _each_xor(byte: int) -> bytes:
    """A table for `translate`."""
    return bytes(other ^ byte for other in range(256))
