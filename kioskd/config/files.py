"""Reading a small file whose path the owner wrote down, without ever hanging, flooding or crashing on it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import frozen


class UnreadableFileError(ValueError):
    """A file can't be read; the text is one line for the owner, the path is not part of it."""


class MissingFileError(UnreadableFileError):
    """There is nothing at this path."""


@frozen(eq=False, repr=False)
class SmallFile:
    """A regular file's content together with whose it is, both of the same open file."""

    content: bytes
    mode: int
    owner: int


def read_small_file(path: Path, limit: int) -> SmallFile:
    """The content of the regular file at `path`, of at most `limit` bytes.

    Raises MissingFileError where there is nothing, UnreadableFileError for a directory, a FIFO or a device, for one
    that may not be read, and for one that is larger.
    """
    try:
        _expect_regular(path.stat())  # to open a device can do something: /dev/watchdog begins to count
        # O_NONBLOCK: opening a FIFO would otherwise wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError("there is no such file") from None
    except PermissionError:
        raise UnreadableFileError(f"may not be read by user id {os.geteuid()}; change its owner or its mode") from None
    except OSError as error:
        raise UnreadableFileError(f"can't be opened: {error.strerror}") from None
    except UnreadableFileError:
        raise
    except ValueError:
        raise UnreadableFileError("is not the name of a file") from None
    try:
        found = os.fstat(descriptor)
        _expect_regular(found)
        content = _read_up_to(descriptor, limit + 1)
    except OSError as error:
        raise UnreadableFileError(f"can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise UnreadableFileError(f"is larger than {limit} bytes; it is not what is wanted here")
    return SmallFile(content=content, mode=stat.S_IMODE(found.st_mode), owner=found.st_uid)


def _expect_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableFileError("is not a regular file")


def _read_up_to(descriptor: int, size: int) -> bytes:
    content = b""
    while len(content) < size and (piece := os.read(descriptor, size - len(content))):
        content += piece
    return content
