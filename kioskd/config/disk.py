"""Writing files so that a power cut leaves the old one or the new one, whole.

`Disk` has the steps that a cut can fall between, one method each; a test records them and cuts at every place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


class WriteError(Exception):
    """Nothing could be written; the text says what, where, and what to do."""


class Disk:
    """The file system. Every method raises OSError."""

    def write(self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        """A new file, which nothing stands in the way of; not yet safe. `owner`: user and group id."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if owner is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)  # after the owner: changing that clears bits; and umask has no say

    def sync(self, path: Path) -> None:
        """A file's content, or a directory's entries, are safe from here on."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Takes the place of what is there, at once."""
        old.rename(new)

    def link(self, path: Path, target: str) -> None:
        """A symbolic link."""
        path.symlink_to(target)

    def remove(self, path: Path) -> None:
        """A file or link; none is no error."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """One, for everybody to read."""
        path.mkdir(mode=0o755)
        path.chmod(0o755)

    def remove_tree(self, path: Path) -> None:
        """A directory and all in it; what was there before is no error."""
        shutil.rmtree(path, ignore_errors=True)


def replace_file(
    disk: Disk, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """The file at `path` has this content, or, if the power goes, still what it had."""
    new = path.with_name(f".{path.name}.new")
    disk.remove(new)
    disk.write(new, content, mode, owner)
    disk.sync(new)
    disk.rename(new, path)
    disk.sync(path.parent)


def replace_link(disk: Disk, path: Path, target: str) -> None:
    """The link at `path` points to `target`, or, if the power goes, to what it did."""
    new = path.with_name(f".{path.name}.new")
    disk.remove(new)
    disk.link(new, target)
    disk.rename(new, path)
    disk.sync(path.parent)


@contextlib.contextmanager
def told(what: Path) -> Iterator[None]:
    """OSError as WriteError, in the owner's words."""
    try:
        yield
    except OSError as error:
        remedy = {
            errno.EACCES: "only root may; use sudo",
            errno.EPERM: "only root may; use sudo",
            errno.EROFS: "its file system is read-only; see README, Changing settings",
            errno.ENOSPC: "the disk is full; make room (df -h)",
        }.get(error.errno or 0, "look at the disk (dmesg | tail)")
        where = error.filename or what
        raise WriteError(f"{where}: {error.strerror or error}: {remedy}. Nothing was changed by this step") from None
