"""Sound that tells whose it is: every millisecond carries its turn's number and its own place. PURE.

Four bytes are a mark: 7 bits each of the turn (low, high) and of the place (low, high). The first alone has its high
bit set, so that marks are found again wherever the sound was cut, even within a sample. A place is part * 4096 + ms:
what a visitor says, an answer and its continuations are different parts, and never taken for another.
"""

from __future__ import annotations

from itertools import pairwise

from attrs import frozen

from kioskd.audio.arrays import np
from kioskd.audio.pcm import BYTES_PER_MS as BYTES_PER_MS

MAX_TURN = 0x3FFF
PART_MS = 4096  # longer than any sound of a run
ANSWER, SECOND_PART, THIRD_PART, QUESTION = range(4)
_MARK_BYTES = 4
_MARKS_PER_MS = BYTES_PER_MS // _MARK_BYTES
_FIRST = 0x80


@frozen
class Stretch:
    """Sound without a hole: `ms` of one part of one turn, from its `first` ms on."""

    turn: int
    part: int
    first: int
    ms: int

    @property
    def end(self) -> int:
        """The first ms that is not in it."""
        return self.first + self.ms


Sound = tuple[Stretch, ...]


def marked(turn: int, part: int, first: int, ms: int) -> bytes:
    """So many ms of a turn's sound, s16le."""
    places = np.arange(part * PART_MS + first, part * PART_MS + first + ms)
    sound = np.empty((ms, _MARKS_PER_MS, _MARK_BYTES), dtype=np.uint8)
    sound[:, :, 0] = _FIRST | (turn & 0x7F)
    sound[:, :, 1] = (turn & MAX_TURN) >> 7
    sound[:, :, 2] = (places & 0x7F)[:, None]
    sound[:, :, 3] = (places >> 7)[:, None]
    return sound.tobytes()


def owner(pcm: bytes | bytearray) -> int | None:
    """The turn that a sound begins with; None for sound without marks."""
    for place in range(min(len(pcm) - 1, _MARK_BYTES)):
        if pcm[place] & _FIRST:
            return pcm[place + 1] << 7 | pcm[place] & 0x7F
    return None


def read(pcm: bytes) -> Sound:
    """What a sound consists of. A millisecond that was begun counts; sound without marks is not there at all."""
    sound = np.frombuffer(pcm, dtype=np.uint8)
    firsts = np.flatnonzero(sound[: 1 - _MARK_BYTES] & _FIRST)
    if not len(firsts):
        return ()
    second, third, fourth = (sound[firsts + more].astype(np.int64) for more in (1, 2, 3))
    whole = (second | third | fourth) < _FIRST
    codes = (second << 21 | (sound[firsts].astype(np.int64) & 0x7F) << 14 | fourth << 7 | third)[whole]
    if not len(codes):
        return ()
    places = codes[np.concatenate(([True], codes[1:] != codes[:-1]))]
    starts = [0, *(np.flatnonzero(places[1:] - places[:-1] != 1) + 1).tolist(), len(places)]
    stretches = []
    for start, end in pairwise(starts):
        turn, place = divmod(int(places[start]), 1 << 14)
        stretches.append(Stretch(turn, place // PART_MS, place % PART_MS, end - start))
    return tuple(stretches)


def repeated(sound: Sound) -> list[Stretch]:
    """The stretches that overlap one before them by more than a millisecond (a cut one counts on both sides)."""
    found: list[Stretch] = []
    seen: list[Stretch] = []
    for stretch in sound:
        for other in seen:
            same = (other.turn, other.part) == (stretch.turn, stretch.part)
            if same and min(other.end, stretch.end) - max(other.first, stretch.first) > 1:
                found.append(stretch)
                break
        seen.append(stretch)
    return found
