"""What a visitor said in one press: an append-only, bounded buffer that the endpoint reads at its own pace."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kioskd.audio.pcm import FRAME_BYTES, ms_of

log = logging.getLogger(__name__)

FIRST_CHUNK_MS = 20  # soon on the wire
CHUNK_MS = 240  # then few messages: each wakes two threads, and costs the event loop two passes
FOLLOWED_CHUNK_MS = 100  # by so much later is silence noticed, at most


class Utterance:
    """s16le mono at 24 kHz, growing until `end`. All methods are called in the trio thread.

    Whoever sends it keeps a cursor of its own, so that a new connection can begin at 0 again.
    """

    def __init__(self, turn: int, limit_bytes: int) -> None:
        """Hold at most `limit_bytes` (cut to whole frames); what exceeds them is not recorded."""
        self._turn = turn
        self._limit_bytes = limit_bytes // FRAME_BYTES * FRAME_BYTES
        self._pcm = bytearray()
        self.began_at = float("inf")
        """When its first frame was heard, on the monotonic clock: the earliest that any piece of it allows."""
        self.followed = False
        """Somebody listens along for its end, and would notice it late if it grew in long pieces."""
        self._ended = False
        self._full = False
        self._on_growth: Callable[[], None] | None = None

    @property
    def turn(self) -> int:
        """The number of the turn it belongs to."""
        return self._turn

    @property
    def size(self) -> int:
        """Bytes recorded so far; it never shrinks."""
        return len(self._pcm)

    @property
    def duration_ms(self) -> int:
        """Whole ms recorded so far."""
        return ms_of(len(self._pcm))

    @property
    def chunk_ms(self) -> int:
        """How long the pieces are in which it grows, behind the first. May be asked in any thread."""
        return FOLLOWED_CHUNK_MS if self.followed else CHUNK_MS

    @property
    def ended(self) -> bool:
        """True when nothing will be appended any more."""
        return self._ended

    def since(self, cursor: int) -> bytes:
        """Everything recorded after the first `cursor` bytes (a copy); b"" at the end or beyond it."""
        with memoryview(self._pcm) as view:
            return bytes(view[max(0, cursor) :])

    def subscribe(self, on_growth: Callable[[], None]) -> None:
        """Call `on_growth` after each append. One subscriber: the newest."""
        self._on_growth = on_growth

    def append(self, block: bytes) -> None:
        """Record a block of whole frames and tell the subscriber; after `end`, or beyond the limit, nothing happens."""
        room = self._limit_bytes - len(self._pcm)
        if self._ended or not block:
            return
        if len(block) > room and not self._full:
            self._full = True
            log.warning(
                "utterance %d: the limit of %d ms is reached, the rest is not recorded", self._turn, self._limit_ms
            )
        if room > 0:
            self._pcm += block[:room]
            if self._on_growth is not None:
                self._on_growth()

    def end(self) -> None:
        """Nothing more will be appended."""
        self._ended = True

    @property
    def _limit_ms(self) -> int:
        return ms_of(self._limit_bytes)
