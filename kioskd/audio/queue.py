"""What waits for the speaker: answers and earcons, piece by piece, in the order in which they were given. PURE."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attrs import define, field, frozen

from kioskd.audio.fade import FADE_BYTES
from kioskd.audio.jitter import Filling, JitterBuffer, Lateness
from kioskd.audio.pcm import BYTES_PER_MS, FRAME_BYTES


@define(eq=False, repr=False)
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
    begun_at: float | None = None
    """When its first frame leaves the device, as far as is known; None before it was handed over."""
    gaps: int = 0
    given_bytes: int = 0
    heard_bytes: int = 0
    filling: Filling = field(factory=Filling)
    """What came since it began, or ran dry."""
    lateness: Lateness | None = None
    """How late its pieces came; None for an earcon."""


@frozen(eq=False, repr=False)
class Piece:
    """Some bytes of a sound; of none: silence. `last`: the sound ends with it."""

    sound: Sound | None
    pcm: bytes | memoryview
    last: bool = False


@define(eq=False, repr=False)
class PlaybackQueue:
    """A first-in first-out of pieces, by reference. Its bound is kept by who fills it (`speaker.MAX_ANSWER_MS`)."""

    _jitter: JitterBuffer | None = None
    """None: every sound begins at once, and is taken to its last frame."""
    _pieces: deque[Piece] = field(factory=deque, init=False)

    def __len__(self) -> int:
        """Bytes that wait."""
        return size_of(self._pieces)

    def add(self, sound: Sound, pcm: bytes, now: float = 0.0) -> None:
        """More of a sound that is not complete yet; `now` is when it came."""
        sound.given_bytes += len(pcm)
        self._pieces.append(Piece(sound, pcm))
        ms = len(pcm) / BYTES_PER_MS
        if not sound.flowing:
            sound.filling.came(ms, now)
        if self._jitter is not None and sound.turn is not None:
            sound.lateness = sound.lateness or Lateness()
            sound.lateness.came(ms, now)

    def close(self, sound: Sound) -> None:
        """A sound is complete. Half a frame at its end is made whole, or else all that follows would be noise."""
        rest = bytes(-sound.given_bytes % FRAME_BYTES)
        sound.complete = True
        self._pieces.append(Piece(sound, rest, last=True))
        self._learn(sound)

    def take(self, size: int, now: float = 0.0, unit: int | None = None) -> list[Piece]:
        """The next `size` bytes; where fewer wait, all whole `unit`s (None: `size`) of them, or up to a sound's end.

        Of a growing sound, enough to fade out on stays behind (`take_rest`). An end may come as an empty piece.
        """
        taken: list[Piece] = []
        room = size
        kept = self._kept(size)
        while self._pieces and (room > kept or not self._pieces[0].pcm):
            piece = self._pieces[0]
            if not self._may_flow(piece, now):
                break
            self._pieces.popleft()
            fitting, rest = split_at([piece], room - kept)
            self._pieces.extendleft(rest)
            room -= size_of(fitting)
            taken += fitting
        if room:  # a block is only padded where a sound has ended: part of a growing one waits for the rest
            end = next((i for i in range(len(taken), 0, -1) if taken[i - 1].last), 0)
            whole = (size - room) // (unit or size) * (unit or size)
            taken, rest = split_at(taken, whole) if whole > size_of(taken[:end]) else (taken[:end], taken[end:])
            self.put_back(rest)
        return taken

    def take_rest(self) -> list[Piece]:
        """All whole frames of a growing sound that was flowing, and that nothing follows: less than `take` gives.

        To be called when it is about to run dry.
        """
        if not self._pieces or len(sounds := sounds_of(self._pieces)) != 1 or not sounds[0].flowing:
            return []
        pieces = self.clear()
        whole, half = split_at(pieces, size_of(pieces) // FRAME_BYTES * FRAME_BYTES)
        self.put_back(half)
        return whole if size_of(whole) else []

    def starve(self, sound: Sound, now: float) -> None:
        """It ran dry before its end: it goes on once there is enough again."""
        sound.starved = True
        sound.flowing = False
        sound.filling = Filling()
        waiting = size_of(piece for piece in self._pieces if piece.sound is sound)
        if waiting >= FRAME_BYTES:
            sound.filling.held(waiting / BYTES_PER_MS, now)

    def ready_in(self, now: float) -> float:
        """Seconds until the first sound may begin, if no more of it comes; 0 if it may, infinity if none waits."""
        sound = self._pieces[0].sound if self._pieces else None
        if sound is None:
            return float("inf")
        return max(0.0, self._ready_at(sound) - now)

    def put_back(self, pieces: Iterable[Piece]) -> None:
        """Return pieces to the front, in their order (silence is not kept)."""
        self._pieces.extendleft(piece for piece in reversed(list(pieces)) if piece.sound is not None)

    def remove_signs(self) -> list[Sound]:
        """Take all earcons out; each once."""
        signs = [piece for piece in self._pieces if is_sign(piece)]
        self._pieces = deque(piece for piece in self._pieces if not is_sign(piece))
        return sounds_of(signs)

    def clear(self) -> list[Piece]:
        """Take everything out; what was there."""
        pieces = list(self._pieces)
        self._pieces.clear()
        return pieces

    def forget(self) -> list[Sound]:
        """Throw everything away; the sounds that were there. What came of them is learned from."""
        sounds = sounds_of(self.clear())
        for sound in sounds:
            self._learn(sound)
        return sounds

    def _learn(self, sound: Sound) -> None:
        if self._jitter is not None and sound.lateness is not None:
            self._jitter.learn(sound.lateness)
            sound.lateness = None

    def _may_flow(self, piece: Piece, now: float) -> bool:
        sound = piece.sound
        if sound is None or sound.flowing:
            return True
        sound.flowing = self._ready_at(sound) <= now
        return sound.flowing

    def _ready_at(self, sound: Sound) -> float:
        """When it may begin; an answer that ran dry waits for what it would have needed itself."""
        if self._jitter is None or sound.complete:
            return 0.0
        if sound.starved and sound.lateness is not None:
            return sound.filling.ready_at(self._jitter.target_again_ms(sound.lateness), self._jitter.margin_ms)
        return sound.filling.ready_at(self._jitter.target_ms, self._jitter.margin_ms)

    def _kept(self, size: int) -> int:
        """How much of the next `size` bytes has to stay: the last thing that waits may be the last for a while."""
        newest = self._pieces[-1].sound if self._pieces else None
        if self._jitter is None or newest is None or newest.complete:
            return 0
        tail = 0
        for piece in reversed(self._pieces):
            if piece.sound is not newest or tail >= FADE_BYTES:
                break
            tail += len(piece.pcm)
        room = size + min(tail, FADE_BYTES)
        for piece in self._pieces:
            room -= len(piece.pcm)
            if room <= 0:
                return 0
        return min(size, room)


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
