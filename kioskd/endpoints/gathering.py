"""When to look at what the endpoint sends: at once, or, of an answer that is well ahead, ten times a second. PURE.

An answer comes several times faster than it is heard. Each look at the wire costs the same, whether one piece of sound
waits there or ten, and on a small machine that is most of what an answer costs.
"""

from __future__ import annotations

import math

from attrs import define, field

NAP_S = 0.1  # a ping or a close frame may wait that long; the kernel keeps it meanwhile
AHEAD_S = 0.5  # of sound in store when the wire is left alone: several naps, and the link's jitter
BYTES_PER_S = 66_000  # of an answer on the wire: 24,000 frames of 2 bytes in base64, and their frames of JSON
_SOUND_BYTES = 2000  # whatever is shorter is no sound, and may be what somebody waits for
_MORE_BYTES = 49_152  # so much at once: there is more
_PAUSE_S = 0.3  # after it something new begins: nothing of it is in store


@define(eq=False, repr=False)
class Gathering:
    """One connection's. Times are seconds of one clock."""

    _came_at: float = field(default=-math.inf, init=False)
    _heard_at: float = field(default=-math.inf, init=False)
    """When all that has come would have been heard, if it was sound."""
    _size: int = field(default=0, init=False)

    def came(self, size: int, now: float) -> None:
        """So many bytes were read."""
        if now - self._came_at > _PAUSE_S:
            self._heard_at = now
        self._came_at, self._size = now, size
        self._heard_at = max(self._heard_at, now) + size / BYTES_PER_S

    def nap_s(self, now: float) -> float:
        """How long to leave the wire alone: more than 0 only after sound, while half a second of it is in store."""
        return NAP_S if _SOUND_BYTES <= self._size < _MORE_BYTES and self._heard_at - now >= AHEAD_S else 0.0
