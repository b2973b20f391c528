"""What comes over a client's WebSocket: its messages, each whole, and its control frames (RFC 6455, 5 to 8). PURE.

Nearly all of it is texts in one frame each, that come at once: these are not gathered first.
"""

from __future__ import annotations

import codecs
from enum import Enum, auto
from io import BytesIO, StringIO

from kioskd.endpoints import frames
from kioskd.endpoints.frames import CloseReason, Frame

_KNOWN = frozenset({frames.MORE, frames.TEXT, frames.BYTES, frames.CLOSE, frames.PING, frames.PONG})
_CODES_THAT_MEAN_NOTHING = frozenset({1004, 1005, 1006, 1015})  # RFC 6455, 7.4.1: never in a frame
_LAST_STANDARD_CODE, _FIRST_FREE_CODE, _LAST_CODE = 1014, 3000, 4999


class Unfinished(Enum):
    """A frame of a message that has not come whole yet."""

    MESSAGE = auto()


class _BrokenError(Exception):
    """The server broke the rules: the code that it is told, and words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.reason = CloseReason(code, words)


class Incoming:
    """`feed` it with bytes; `take` gives what they mean, a frame at a time."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._data = b""
        self._at = 0
        self._left: int | None = None  # bytes of a message's frame that are still to come; None: a header comes next
        self._last = False  # the frame under way is its message's last
        self._parts: StringIO | BytesIO | None = None  # no list: fragments may be tiny, or empty, and without number
        self._decoder: codecs.IncrementalDecoder | None = None  # where the message under way is a text
        self._size = 0  # bytes of the message under way

    def feed(self, data: bytes) -> None:
        """These have come."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def take(self) -> str | bytes | Frame | CloseReason | Unfinished | None:
        """A message, a ping or pong, or why it ends (of its close frame, or of the rules that it broke).

        None: nothing, before more has come. After a CloseReason nothing else is to be taken.
        """
        try:
            return self._begin_frame() if self._left is None else self._go_on(self._left)
        except _BrokenError as error:
            return error.reason

    def _begin_frame(self) -> str | bytes | Frame | CloseReason | Unfinished | None:
        header = self._header()
        if header is None:
            return None
        first, size, begin = header
        opcode, last = first & frames.OPCODE, bool(first & frames.FIN)
        if opcode >= frames.CLOSE:
            if size > frames.SHORT_MAX or not last:
                raise _BrokenError(frames.WRONG_FRAME, "a control frame that is long, or in fragments")
            if len(self._data) < begin + size:
                return None
            self._at = begin + size
            payload = self._data[begin : self._at]
            return _goodbye(payload) if opcode == frames.CLOSE else Frame(opcode, payload)
        if (opcode == frames.MORE) is (self._parts is None):
            raise _BrokenError(frames.WRONG_FRAME, "a fragment without its message, or a message amid another")
        self._size += size
        if self._size > self._message_bytes_max:
            words = f"a message of more than {self._message_bytes_max} bytes"
            raise _BrokenError(frames.MESSAGE_TOO_BIG, words)
        self._at, self._last = begin, last
        if opcode == frames.TEXT and last and begin + size <= len(self._data):
            return self._whole_text(size)
        if opcode == frames.TEXT:
            self._parts, self._decoder = StringIO(), codecs.getincrementaldecoder("utf-8")()
        elif opcode == frames.BYTES:
            self._parts = BytesIO()
        return self._go_on(size)

    def _whole_text(self, size: int) -> str:
        begin, self._at, self._size = self._at, self._at + size, 0
        try:
            return self._data[begin : self._at].decode()
        except UnicodeDecodeError:
            raise _BrokenError(frames.WRONG_TEXT, "a text that is no UTF-8") from None

    def _header(self) -> tuple[int, int, int] | None:
        """(first byte, the payload's length, where that begins); None: it has not come yet."""
        header = self._data[self._at : self._at + 10]
        if len(header) < 2:
            return None
        first, said = header[0], header[1]
        if first & frames.RESERVED or first & frames.OPCODE not in _KNOWN or said & frames.MASK:
            raise _BrokenError(frames.WRONG_FRAME, "a frame that is masked, or of a kind that nobody agreed on")
        if said <= frames.SHORT_MAX:
            return first, said, self._at + 2
        end, least = (4, frames.SHORT_MAX) if said == frames.IN_2_BYTES else (10, frames.IN_2_BYTES_MAX)
        if len(header) < end:
            return None
        size = int.from_bytes(header[2:end], "big")
        if not least < size < 2**63:
            raise _BrokenError(frames.WRONG_FRAME, "a length that is written in too many bytes")
        return first, size, self._at + end

    def _go_on(self, left: int) -> str | bytes | Unfinished | None:
        """What has come of the frame under way; the message, if that was all of it."""
        piece = self._data[self._at : self._at + left]
        self._at += len(piece)
        self._left = left - len(piece) or None
        finished = self._last and self._left is None
        self._keep(piece, finished)
        if not finished:
            return Unfinished.MESSAGE if self._left is None or piece else None
        assert self._parts is not None
        message = self._parts.getvalue()
        self._parts, self._decoder, self._size = None, None, 0
        return message

    def _keep(self, piece: bytes, finished: bool) -> None:
        if isinstance(self._parts, BytesIO):
            self._parts.write(piece)
        elif self._parts is not None and self._decoder is not None:
            try:
                self._parts.write(self._decoder.decode(piece, finished))
            except UnicodeDecodeError:
                raise _BrokenError(frames.WRONG_TEXT, "a text that is no UTF-8") from None


def _goodbye(payload: bytes) -> CloseReason:
    """Raises _BrokenError for a code that no frame may hold."""
    if not payload:
        return CloseReason(frames.NO_CODE)
    code = int.from_bytes(payload[:2], "big")
    standard = 1000 <= code <= _LAST_STANDARD_CODE and code not in _CODES_THAT_MEAN_NOTHING
    if not (standard or _FIRST_FREE_CODE <= code <= _LAST_CODE):
        raise _BrokenError(frames.WRONG_FRAME, "a close frame without a code that there is")
    try:
        return CloseReason(code, payload[2:].decode() or None)
    except UnicodeDecodeError:
        raise _BrokenError(frames.WRONG_TEXT, "a close frame whose words are no UTF-8") from None
