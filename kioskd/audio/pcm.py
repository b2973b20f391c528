"""The one format of sound inside kioskd, and its arithmetic."""

from __future__ import annotations

RATE_HZ = 24_000
FRAME_BYTES = 2  # s16le mono
BYTES_PER_MS = RATE_HZ * FRAME_BYTES // 1000


def bytes_of(ms: float) -> int:
    """The length in bytes of so many ms, in whole frames."""
    return int(ms * RATE_HZ / 1000) * FRAME_BYTES


def ms_of(size: int) -> int:
    """The length in whole ms of so many bytes."""
    return size // BYTES_PER_MS
