"""What comes over a client's WebSocket, cut at its frames' ends (RFC 6455, 5.2). PURE.

Nearly all of it is texts in one frame each: these are read here, in a tenth of the library's time. All else is for the
library, which also tells what breaks the rules.
"""

from __future__ import annotations

import math

from attrs import define, field

_WHOLE_TEXT = 0x81  # FIN, no reserved bit, opcode 1
_FIN, _OPCODE, _FIRST_CONTROL = 0x80, 0x0F, 0x08
_SHORT_MAX, _IN_2_BYTES, _IN_8_BYTES = 125, 126, 127  # what a header's second byte says of the length


@define(eq=False, repr=False)
class Incoming:
    """`feed` it with bytes; `take` gives whole texts, and what is for the library: of one frame at most, each time."""

    _data: bytes = field(default=b"", init=False)
    _at: int = field(default=0, init=False)
    _passing: float = field(default=0, init=False)
    """So many bytes more are for the library."""
    _fragmented: bool = field(default=False, init=False)
    """The message under way goes on in another frame."""

    def feed(self, data: bytes) -> None:
        """These have come."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def take(self) -> str | bytes | None:
        """What comes next; None: nothing, before more has come."""
        if not self._passing:
            text = self._text()
            if text is not None:
                return text
            self._passing = self._frame_bytes()
        if not self._passing:
            return None
        begin, end = self._at, int(min(self._at + self._passing, len(self._data)))
        self._at = end
        self._passing -= end - begin
        return self._data[begin:end] or None

    def _text(self) -> str | None:
        """The next frame, if it is a whole text without a fault and all of it is there."""
        data, begin = self._data, self._at + 2
        if len(data) < begin or data[begin - 2] != _WHOLE_TEXT or self._fragmented:
            return None
        size = data[begin - 1]
        if size == _IN_2_BYTES:
            size = int.from_bytes(data[begin : begin + 2], "big")
            begin += 2
            if size <= _SHORT_MAX:  # the short form had to be used; or it is not all there
                return None
        elif size > _SHORT_MAX:
            return None
        if len(data) < begin + size:
            return None
        try:
            text = data[begin : begin + size].decode()
        except UnicodeDecodeError:
            return None
        self._at = begin + size
        return text

    def _frame_bytes(self) -> float:
        """How long the next frame is, header and all; 0 while that can't be told; infinite: nothing after it counts."""
        header = self._data[self._at : self._at + 10]
        if len(header) < 2:
            return 0
        first, size = header[0], header[1]
        begin = {_IN_2_BYTES: 4, _IN_8_BYTES: 10}.get(size, 2)
        if size > _IN_8_BYTES:  # masked, which a server's never is
            return math.inf
        if len(header) < begin:
            return 0
        if begin > 2:
            size = int.from_bytes(header[2:begin], "big")
        if first & _OPCODE < _FIRST_CONTROL:
            self._fragmented = not first & _FIN
        return begin + size
