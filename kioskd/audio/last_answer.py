"""The last answer to the visitor who is there, so that it can be said once more. PURE."""

from __future__ import annotations

from collections.abc import Sequence

from kioskd.audio.pcm import bytes_of

LONGEST_MS = 120_000  # 5.8 MB; nobody listens to more a second time


class LastAnswer:
    """The pieces of an answer as they came, by reference. The one before is kept until the first piece of a new one.

    Saying it again costs nothing, needs no connection, and is what was said; an endpoint would say something else.
    """

    def __init__(self, longest_ms: int = LONGEST_MS) -> None:
        """Keep so much of it, from its beginning; 0: nothing."""
        self._longest_bytes = bytes_of(longest_ms)
        self._turn: int | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._fresh = False  # the next piece begins a new answer

    @property
    def pieces(self) -> Sequence[bytes]:
        """What there is to be said again, s16le mono at 24 kHz."""
        return tuple(self._pieces)

    def resize(self, longest_ms: int) -> None:
        """Keep so much from the next answer on."""
        self._longest_bytes = bytes_of(longest_ms)
        if not longest_ms:
            self._clear()

    def expect(self, turn: int, *, rest: bool = False) -> None:
        """The answer to this turn comes next: a new one, or the `rest` of the one before."""
        self._turn = turn
        self._fresh = not rest

    def add(self, turn: int, pcm: bytes) -> None:
        """A piece that is being played; another turn's than the one expected, or too much, is not kept."""
        if turn != self._turn:
            return
        if self._fresh:
            self._clear()
        if self._size < self._longest_bytes:
            self._pieces.append(pcm[: self._longest_bytes - self._size])
            self._size += len(self._pieces[-1])

    def forget(self) -> None:
        """Its visitor has gone."""
        self._turn = None
        self._clear()

    def _clear(self) -> None:
        self._pieces = []
        self._size = 0
        self._fresh = False
