"""When to look at what the endpoint sends: at once, or, of an answer that is well ahead, a few times a second. PURE.

An answer comes several times faster than it is heard. Each look at the wire costs the same, whether one piece of sound
waits there or ten, and on a small machine that is most of what an answer costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from attrs import define, field

from kioskd.dialogue.events import AnswerAudio
from kioskd.realtime.events import Saying, SessionEvent

READ_BYTES = 98_304  # at a time
AHEAD_S = 0.5  # of sound in store when the wire is left alone for the first time
NAPS_AHEAD = 4  # of the sound in store, a nap is no more than this part: the link's jitter needs some, too
NAP_MAX_S = 0.25  # a ping or a close frame may wait that long; what five times real time brings meanwhile fits a read
BYTES_PER_S = 66_000  # of an answer on the wire: 24,000 frames of 2 bytes in base64, and their frames of JSON
_SOUND_BYTES = 2000  # whatever is shorter is no sound, and may be what somebody waits for
_MORE_BYTES = 92_160  # so much at once: there is more
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
        """How long to leave the wire alone: more than 0 only after sound, while plenty of it is in store."""
        ahead_s = self._heard_at - now
        if ahead_s < AHEAD_S or not _SOUND_BYTES <= self._size < _MORE_BYTES:
            return 0.0
        return min(ahead_s / NAPS_AHEAD, NAP_MAX_S)


def with_sound_joined(events: Iterable[SessionEvent]) -> Iterator[SessionEvent]:
    """What had time to gather: each stretch of a turn's sound in one piece, behind the text that came amid it.

    All else keeps its place.
    """
    sound: list[AnswerAudio] = []
    for event in events:
        if isinstance(event, Saying):
            yield event
        elif isinstance(event, AnswerAudio) and (not sound or event.turn == sound[0].turn):
            sound.append(event)
        else:
            yield from _joined(sound)
            sound = []
            if isinstance(event, AnswerAudio):
                sound.append(event)
            else:
                yield event
    yield from _joined(sound)


def _joined(sound: list[AnswerAudio]) -> Iterator[AnswerAudio]:
    if sound:
        pcm = b"".join(piece.pcm for piece in sound)
        yield AnswerAudio(sound[0].turn, pcm, sum(piece.duration_ms for piece in sound))
