"""A file of a fixed size that holds the newest records, through a memory map: what was written outlives a kill -9.

Each record is framed by a mark, its length, its number and a checksum, and lies in one piece. A kill at any byte costs
the record being written, and those that it was to replace. The file is of this boot: a reboot empties /run.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from pathlib import Path

from attrs import frozen

from kioskd.value import Value

SIZE = 2 << 20  # bytes: 15 minutes with the kiosk speaking half of the time, in 20 pieces a second, are 1.4 MB
LONGEST = 0xFFFF  # bytes of one record: the length has 16 bits, and a checkpoint is about 1500

_MAGIC = b"kioskd-flight-1\n"  # its version too
_HEADER = struct.Struct("<16sIIQI")  # magic, size, 1 + where the next record goes (0: unknown), its number, checksum
_FRAME = struct.Struct("<2sHQI")  # mark, length, number, checksum of length, number and text
_CHECKED = struct.Struct("<HQ")
_MARK = b"\xf1\x1e"  # no bytes of ASCII: no record's text holds it
_BEGIN = 64  # where the records begin


class RingError(OSError):
    """There is no ring, or none that can be used: one line, with a remedy where there is one."""


@frozen(eq=False, repr=False)
class Record(Value):
    """One record as it was found."""

    number: int
    text: bytes


@frozen(eq=False, repr=False)
class Found(Value):
    """What a ring holds, the oldest record first. `clean`: whoever wrote it took leave."""

    records: list[Record]
    clean: bool
    next_at: int
    next_number: int


class Ring:
    """The one writer. `append` is cheap, and does no system call."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        """Open, or make, the ring. Raises RingError. A file that is none is set aside as `NAME.unreadable`."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _claim(path)
            try:
                if os.fstat(file).st_size not in (0, size) or (os.fstat(file).st_size and not _is_ring(file, size)):
                    path.replace(path.with_name(path.name + ".unreadable"))
                    os.close(file)
                    file = _claim(path)
                os.posix_fallocate(file, 0, size)  # now, and not by a SIGBUS when the file system is full
                self._map = mmap.mmap(file, size)
            except BaseException:
                os.close(file)
                raise
        except OSError as error:
            raise RingError(f"{path}: {error.strerror or error}") from error
        self._file = file  # open for its lock
        self._size = size
        self.before = self._take_over()

    def _take_over(self) -> Found:
        """Where the one before left off. Only what it did not say itself is looked for."""
        magic, _, next_at, number, check = _HEADER.unpack_from(self._map)
        if magic == _MAGIC and next_at and check == zlib.crc32(self._map[: _HEADER.size - 4]):
            before = Found([], True, next_at - 1, number)
        elif magic == _MAGIC:
            before = find(self._map[:])
        else:
            before = Found([], True, _BEGIN, 1)
        self._next_at, self._number = before.next_at, before.next_number
        self._write_header(0)
        return before

    def append(self, text: bytes) -> None:
        """One record (ASCII), at the cost of the oldest. Raises ValueError if it is longer than `LONGEST`."""
        length, at, number = len(text), self._next_at, self._number
        if length > LONGEST:
            raise ValueError(f"a record of {length} bytes")
        end = at + _FRAME.size + length
        if end > self._size:
            self._map[at:] = bytes(self._size - at)  # or what is left there would look newer than it is
            at, end = _BEGIN, _BEGIN + _FRAME.size + length
        check = zlib.crc32(text, zlib.crc32(_CHECKED.pack(length, number)))
        self._map[at:end] = _FRAME.pack(_MARK, length, number, check) + text
        self._next_at, self._number = end, number + 1

    def copy(self) -> bytes:
        """All of it as it is now, for `find`."""
        return self._map[:]

    def close(self, *, clean: bool) -> None:
        """`clean`: nothing went wrong, and the next one need not look."""
        if clean:
            self._write_header(self._next_at + 1)
        self._map.close()
        os.close(self._file)

    def _write_header(self, next_at: int) -> None:
        header = _HEADER.pack(_MAGIC, self._size, next_at, self._number, 0)
        check = zlib.crc32(header[:-4])
        self._map[: _HEADER.size] = header[:-4] + check.to_bytes(4, "little")


def read(path: Path) -> bytes:
    """A ring as it is now, for `find`, also while somebody writes it. Raises RingError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RingError(f"{path}: {error.strerror or error}") from error
    if not content.startswith(_MAGIC) or len(content) < _BEGIN:
        raise RingError(f"{path}: no flight record of this version")
    return content


def find(content: bytes) -> Found:
    """All whole records of a ring, in order. What is torn or damaged is left out."""
    records: dict[int, Record] = {}  # by where they end
    at = content.find(_MARK, _BEGIN)
    while at >= 0:
        record = _record_at(content, at)
        if record is not None:
            at += _FRAME.size + len(record.text)
            records[at] = record
            if content[at : at + 2] == _MARK:
                continue
        at = content.find(_MARK, at + (record is None))
    clean = _HEADER.unpack_from(content)[2] > 0
    if not records:
        return Found([], clean, _BEGIN, 1)
    newest_end = max(records, key=lambda end: records[end].number)
    newest = records[newest_end].number
    # Behind the newest lies what is left of the round before.
    ordered = [record for end, record in records.items() if end > newest_end]
    ordered += [record for end, record in records.items() if end <= newest_end]
    rising: list[Record] = []
    for record in ordered:
        if not rising or record.number > rising[-1].number:
            rising.append(record)
    return Found(rising, clean, newest_end, newest + 1)


def _record_at(content: bytes, at: int) -> Record | None:
    if at + _FRAME.size > len(content):
        return None
    _, length, number, check = _FRAME.unpack_from(content, at)
    text = content[at + _FRAME.size : at + _FRAME.size + length]
    if len(text) < length or check != zlib.crc32(text, zlib.crc32(_CHECKED.pack(length, number))):
        return None
    return Record(number, text)


def _claim(path: Path) -> int:
    """The file, open and locked: two writers would ruin each other's records."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise RingError(f"{path}: another kioskd writes it") from None
    except BaseException:
        os.close(file)
        raise
    return file


def _is_ring(file: int, size: int) -> bool:
    header = os.pread(file, _HEADER.size, 0)
    if len(header) < _HEADER.size:
        return False
    magic, written_size, *_ = _HEADER.unpack(header)
    return (magic, written_size) in ((bytes(len(_MAGIC)), 0), (_MAGIC, size))
