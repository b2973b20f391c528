"""The ledger: files that lines are appended to, each safe on the disk before the next, whatever kills the kiosk.

A file holds lines of one day, and begins with the number of its first; no clock has a say in its name. The oldest
are summed up by day once there are too many, so that all of it stays small. One process writes, others may read.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from attrs import evolve

from kioskd.config.disk import Disk, replace_file
from kioskd.spend.lines import Booking, DaySum, Line, Moment, decode, decode_all, encode, highest, settled

NAME = "spend"  # of its directory, in the state directory
SUMS = "days.log"
MAX_FILE_BYTES = 1024 * 1024  # 3,000 turns
MAX_FILES = 64  # two months of days; 64 MiB at the very worst
MAX_SUMS = 4000  # of days and models: years


class LedgerError(Exception):
    """Nothing can be read or written there; the text says why, and what to do."""


class LedgerDisk(Disk):
    """The steps that a cut can fall between: those of settings, and one more."""

    def append(self, path: Path, content: bytes) -> None:
        """Behind what is there; not yet safe."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            size, left = os.fstat(descriptor).st_size, content
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)  # half a line is no line: the whole one is tried again
            raise
        finally:
            os.close(descriptor)


def read(directory: Path) -> list[Line]:
    """All lines that are whole, in their order, each counted once. Raises LedgerError where they can't be read."""
    try:
        return _read(directory)[0]
    except OSError as error:
        raise LedgerError(f"{error.filename or directory}: {error.strerror}{_remedy(error)}") from None


class Ledger:
    """The one who writes. Every method raises LedgerError, and then nothing of what it was to do counts."""

    def __init__(self, directory: Path, disk: LedgerDisk | None = None) -> None:
        self._directory = directory
        self._disk = disk or LedgerDisk()
        self._next = 1
        self._file: Path | None = None
        self._day = ""

    def open(self) -> list[Line]:
        """What is there, in its order; from here on it can be written."""
        with _told(self._directory):
            if not self._directory.is_dir():
                self._disk.make_directory(self._directory)
                self._disk.sync(self._directory.parent)
            lines, files = _read(self._directory)
            # A file's name is a number that was used, also where its first line was torn.
            self._next = max(highest(lines), *(_number(path) for path in files), 0) + 1
            self._file, self._day = None, ""
            if files and (last := self._whole_end(files[-1])) is not None:
                self._file, self._day = files[-1], day_of(last.at)
            self._sum_up(files)
        return lines

    def append(self, *lines: Line) -> list[Line]:
        """Write them down, numbered; safe on the disk when it returns. After an error the same come first again."""
        with _told(self._directory):
            numbered = [evolve(line, number=number) for number, line in enumerate(lines, self._next)]
            if not numbered:
                return []
            content = b"".join(map(encode, numbered))
            file = self._file_for(numbered[0])
            is_new = not file.exists()
            self._disk.append(file, content)
            self._disk.sync(file)
            if is_new:
                self._disk.sync(self._directory)
            self._next, self._file, self._day = self._next + len(numbered), file, day_of(numbered[0].at)
            if is_new:
                self._sum_up(_files(self._directory))
        return numbered

    def _whole_end(self, file: Path) -> Line | None:
        """The last line of a file that can be gone on with; None: a torn end stays the end of its file."""
        content = file.read_bytes()
        if _number(file) in {each.file for each in _sums(self._directory)}:
            return None  # it counts no more
        return decode(content.split(b"\n")[-2]) if content.endswith(b"\n") else None

    def _file_for(self, line: Line) -> Path:
        file = self._file
        if file is not None and self._day == day_of(line.at) and file.exists() and file.stat().st_size < MAX_FILE_BYTES:
            return file
        return self._directory / f"{line.number:010d}.log"

    def _sum_up(self, files: list[Path]) -> None:
        """Keep it small where that can be done. What fails is no loss: the lines are safe, and the next file tries."""
        with contextlib.suppress(OSError):
            self._make_sums(files)

    def _make_sums(self, files: list[Path]) -> None:
        """The oldest files become a line a day and model. A file whose sums are safe counts no more, and goes."""
        sums = _sums(self._directory)
        done = {each.file for each in sums}
        oldest = [path for path in files if _number(path) not in done][:-MAX_FILES]
        for path in oldest:
            sums += summed(_number(path), decode_all(path.read_bytes()))
        if oldest:
            content = b"".join(map(encode, sums[-MAX_SUMS:]))
            replace_file(self._disk, self._directory / SUMS, content, mode=0o640)
        done = {each.file for each in sums} | {_number(path) for path in oldest}
        for path in files:
            if _number(path) in done:
                self._disk.remove(path)


def summed(file: int, lines: Iterable[Line]) -> list[DaySum]:
    """The turns of one file by day, endpoint and model. Notes are let go. Numbered as the last line of each."""
    found: dict[tuple[str, ...], DaySum] = {}
    for line in settled(lines):
        if not isinstance(line, Booking):
            continue
        key = (day_of(line.at), line.endpoint, line.model, line.currency)
        before = found.get(key) or DaySum(
            0, file, key[0], line.at, line.endpoint, line.model, type(line.amounts)(), 0, line.currency, 0, 0
        )
        found[key] = evolve(
            before,
            number=line.number,
            at=line.at,
            amounts=before.amounts + line.amounts,
            cost=before.cost + line.net,
            turns=before.turns + (not line.corrects),
            estimated=before.estimated + line.estimated,
        )
    return list(found.values())


def day_of(at: Moment) -> str:
    """The day by this machine's local time, as 2026-11-21."""
    try:
        return datetime.fromtimestamp(at.wall_s).astimezone().date().isoformat()
    except (OverflowError, ValueError, OSError):
        return "1970-01-01"  # a clock that says what no calendar has


def _read(directory: Path) -> tuple[list[Line], list[Path]]:
    files = _files(directory)
    sums = _sums(directory)
    done = {each.file for each in sums}
    kept = (decode_all(path.read_bytes()) for path in files if _number(path) not in done)
    unique = {line.number: line for line in itertools.chain(*kept)}
    return [*sums, *unique.values()], files


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*.log") if path.stem.isdecimal()) if directory.is_dir() else []


def _sums(directory: Path) -> list[DaySum]:
    path = directory / SUMS
    content = path.read_bytes() if path.exists() else b""
    return [line for line in decode_all(content) if isinstance(line, DaySum)]


def _number(path: Path) -> int:
    return int(path.stem)


def _remedy(error: OSError) -> str:
    return {
        errno.EACCES: "; use sudo",
        errno.ENOSPC: "; the disk is full: make room (df -h)",
        errno.EROFS: "; its file system is read-only",
    }.get(error.errno or 0, "")


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"{error.filename or directory}: {error.strerror}{_remedy(error)}") from None
