"""How the recogniser and its child talk over stdin and stdout: frames of a length and so many bytes.

The parent sends a `Vocabulary` as JSON, then utterances as s16le mono 24 kHz. To each, the child answers a JSON object:
`{"ready": true}`, `{"missing": [words]}`, `{"question": text or null, "score": float or null}`, or `{"error": text}`.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("!I")
SAMPLE_RATE_HZ = 24_000
SAMPLE_BYTES = 2
MAX_UTTERANCE_S = 20  # twice the longest question that a FAQ may hold
MAX_FRAME_BYTES = MAX_UTTERANCE_S * SAMPLE_RATE_HZ * SAMPLE_BYTES  # the largest frame is an utterance


def framed(payload: bytes) -> bytes:
    """The payload with its length before it. Raises `ValueError` over `MAX_FRAME_BYTES`."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes; {MAX_FRAME_BYTES} at most")
    return HEADER.pack(len(payload)) + payload


def length_of(header: bytes) -> int:
    """The length that a header announces. Raises `ValueError` over `MAX_FRAME_BYTES`."""
    (length,) = HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes was announced; {MAX_FRAME_BYTES} at most")
    return int(length)
