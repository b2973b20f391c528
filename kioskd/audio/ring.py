"""The pre-roll: the newest moments of sound, so that a press can begin before the finger came down. PURE."""

from __future__ import annotations

from kioskd.audio.pcm import FRAME_BYTES


class PreRollRing:
    """The newest `capacity_bytes` (cut to whole frames) of what was pushed. It never leaves the device unless asked."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = max(0, capacity_bytes // FRAME_BYTES * FRAME_BYTES)
        self._pcm = bytearray()

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._pcm)

    def push(self, block: bytes) -> None:
        """Add a block of whole frames; what is older than the capacity is forgotten."""
        self._pcm += block
        excess = len(self._pcm) - self._capacity
        if excess > 0:
            del self._pcm[:excess]

    def take(self, size: int) -> bytes:
        """The newest `size` bytes (cut to whole frames, or all that there is); the ring is empty afterwards."""
        size = min(max(0, size) // FRAME_BYTES * FRAME_BYTES, len(self._pcm))
        taken = bytes(self._pcm[len(self._pcm) - size :])
        self._pcm.clear()
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._pcm.clear()
