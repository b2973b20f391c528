"""What waits for the speaker: answers and earcons, piece by piece, in the order in which they were given. PURE."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attrs import define, field, frozen

from kioskd.audio.pcm import FRAME_BYTES, bytes_of


@define(eq=False)
class Sound:
    """One answer, or one earcon (`turn` is None), on its way through the speaker."""

    turn: int | None = None
    complete: bool = False
    """Nothing more of it will come."""
    flowing: bool = False
    """Its pre-buffer was full once, and it has not run dry since."""
    starved: bool = False
    """It ran dry in mid-answer: what comes next comes after a gap."""
    started: bool = False
    """A piece of it has been handed to the device."""
    abandoned: bool = False
    """Its device was lost: what still comes of it is not played."""
    over: bool = False
    """Its end has been told."""
    gaps: int = 0
    given_bytes: int = 0
    heard_bytes: int = 0


@frozen(eq=False)
class Piece:
    """Some bytes of a sound; of none: silence. `last`: the sound ends with it."""

    sound: Sound | None
    pcm: bytes | memoryview
    last: bool = False


@frozen
class PreBuffer:
    """How much of an answer has to be there before it begins, or goes on after it ran dry.

    The network delivers in bursts: without it the first word stutters.
    """

    target_ms: int = 80

    def is_full(self, waiting_bytes: int) -> bool:
        """True when so much of an unfinished answer is enough to begin with."""
        return waiting_bytes >= bytes_of(self.target_ms)


@define
class PlaybackQueue:
    """A first-in first-out of pieces, by reference. Its bound is kept by who fills it (`speaker.MAX_ANSWER_MS`)."""

    _pre_buffer: PreBuffer = field(factory=PreBuffer)
    _pieces: deque[Piece] = field(factory=deque, init=False)

    def __len__(self) -> int:
        """Bytes that wait."""
        return size_of(self._pieces)

    def add(self, sound: Sound, pcm: bytes) -> None:
        """More of a sound that is not complete yet."""
        sound.given_bytes += len(pcm)
        self._pieces.append(Piece(sound, pcm))

    def close(self, sound: Sound) -> None:
        """A sound is complete. Half a frame at its end is made whole, or else all that follows would be noise."""
        rest = bytes(-sound.given_bytes % FRAME_BYTES)
        sound.complete = True
        self._pieces.append(Piece(sound, rest, last=True))

    def take(self, size: int) -> list[Piece]:
        """The next `size` bytes; fewer only where a sound ends, or the next has to fill its pre-buffer; else nothing.

        An end may come as an empty piece.
        """
        taken: list[Piece] = []
        room = size
        while self._pieces and (room or not self._pieces[0].pcm):
            piece = self._pieces[0]
            if not self._may_flow(piece):
                break
            self._pieces.popleft()
            fitting, rest = split_at([piece], room)
            self._pieces.extendleft(rest)
            room -= size_of(fitting)
            taken += fitting
        if room:  # a block is only padded where a sound has ended: part of a growing one waits for the rest
            end = next((i for i in range(len(taken), 0, -1) if taken[i - 1].last), 0)
            self.put_back(taken[end:])
            del taken[end:]
        return taken

    def put_back(self, pieces: Iterable[Piece]) -> None:
        """Return pieces to the front, in their order (silence is not kept)."""
        self._pieces.extendleft(piece for piece in reversed(list(pieces)) if piece.sound is not None)

    def remove_signs(self) -> list[Sound]:
        """Take all earcons out; each once."""
        signs = [piece for piece in self._pieces if is_sign(piece)]
        self._pieces = deque(piece for piece in self._pieces if not is_sign(piece))
        return sounds_of(signs)

    def clear(self) -> list[Piece]:
        """Throw everything away; what was there."""
        pieces = list(self._pieces)
        self._pieces.clear()
        return pieces

    def _may_flow(self, piece: Piece) -> bool:
        sound = piece.sound
        if sound is None or sound.flowing:
            return True
        waiting = size_of(other for other in self._pieces if other.sound is sound)
        sound.flowing = sound.complete or self._pre_buffer.is_full(waiting)
        return sound.flowing


def split_at(pieces: Iterable[Piece], size: int) -> tuple[list[Piece], list[Piece]]:
    """The first `size` bytes, and the rest."""
    head: list[Piece] = []
    tail: list[Piece] = []
    for piece in pieces:
        fits = min(size, len(piece.pcm))
        size -= fits
        if fits == len(piece.pcm) and not tail:
            head.append(piece)
            continue
        view = memoryview(piece.pcm)
        if fits:
            head.append(Piece(piece.sound, view[:fits]))
        tail.append(Piece(piece.sound, view[fits:], piece.last))
    return head, tail


def sounds_of(pieces: Iterable[Piece]) -> list[Sound]:
    """Each sound once, in order; silence is none."""
    return list(dict.fromkeys(piece.sound for piece in pieces if piece.sound is not None))


def size_of(pieces: Iterable[Piece]) -> int:
    """Bytes altogether."""
    return sum(len(piece.pcm) for piece in pieces)


def is_sign(piece: Piece) -> bool:
    """True for a piece of an earcon."""
    return piece.sound is not None and piece.sound.turn is None
