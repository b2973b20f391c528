"""The versions of the settings, and which of them counts.

    versions/7/kioskd.yaml, about.json, outcome.json
    current -> versions/7      the last one that was kept
    pending -> versions/8      the one on trial, if there is one
    starts                     how often the daemon was started under it: "8 1"

The settings file itself is a copy of one of them (or of none, after an edit by hand), and the only one that the daemon
reads: the rename that puts it in place is the one moment in which a change happens. Whatever else a power cut leaves
undone is put right by what is decided from the links (`trial.at_start`).
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kioskd.config.disk import Disk, WriteError, replace_file, replace_link, told
from kioskd.config.files import UnreadableFileError, read_small_file
from kioskd.config.lock import WAIT_S, locked
from kioskd.config.versions import About, next_number, read_about, superfluous
from kioskd.config.yaml_text import MAX_BYTES

MAX_ABOUT_BYTES = 64 * 1024
KEPT_AT_LEAST = 3  # of the versions that were kept: the one that counts, and two to roll back to


class Store:
    """Of one settings file. All that write want `hold()` around them, and raise `disk.WriteError`."""

    def __init__(self, settings: Path, directory: Path, disk: Disk | None = None) -> None:
        self.settings = settings
        self.directory = directory
        self._disk = disk or Disk()

    @contextlib.contextmanager
    def hold(self, who: str, wait_s: float = WAIT_S) -> Iterator[None]:
        """Nobody else changes anything meanwhile. Raises lock.BusyError, WriteError."""
        with told(self.directory):
            if not self._versions.is_dir():
                self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
                self.directory.chmod(0o755)
                if not self._versions.is_dir():
                    self._disk.make_directory(self._versions)
                self._disk.sync(self.directory)
                self._disk.sync(self.directory.parent)
        with contextlib.ExitStack() as held:
            with told(self.directory):
                held.enter_context(locked(self.directory / "lock", who, wait_s))
            yield

    # What there is

    def in_force(self) -> bytes | None:
        """The settings file's content; None where there is none that can be read."""
        try:
            return read_small_file(self.settings, MAX_BYTES).content
        except UnreadableFileError:
            return None

    def numbers(self) -> list[int]:
        """Of all versions, oldest first."""
        try:
            return sorted(int(each.name) for each in self._versions.iterdir() if each.name.isdecimal())
        except OSError:
            return []

    @property
    def current(self) -> int | None:
        """The last version that was kept."""
        return self._linked("current")

    @property
    def pending(self) -> int | None:
        """The version on trial."""
        return self._linked("pending")

    def content(self, number: int) -> bytes:
        """A version's text. Raises UnreadableFileError."""
        return read_small_file(self._version(number) / "kioskd.yaml", MAX_BYTES).content

    def about(self, number: int) -> About:
        """Where a version comes from."""
        return read_about(self._json(self._version(number) / "about.json"))

    def outcome(self, number: int) -> tuple[str, str]:
        """What came of a version, and why, in words; empty where that isn't known."""
        known = self._json(self._version(number) / "outcome.json")
        known = known if isinstance(known, dict) else {}
        return str(known.get("outcome", "")), str(known.get("why", ""))

    def is_version(self, content: bytes | None, number: int | None) -> bool:
        """Whether this is the text of that version."""
        if number is None or content is None:
            return False
        try:
            return self.content(number) == content
        except UnreadableFileError:
            return False

    @property
    def starts(self) -> int:
        """How often the daemon was started under the version on trial."""
        known = self._json(self.directory / "starts")
        if isinstance(known, list) and len(known) == 2 and known[0] == self.pending and isinstance(known[1], int):
            return known[1]
        return 0

    # What is done

    def add(self, content: bytes, about: About) -> int:
        """A new version, of which nothing follows yet; its number."""
        number = next_number(self.numbers())
        new = self._versions / ".new"
        with told(self.directory):
            self._disk.remove_tree(new)
            self._disk.make_directory(new)
            for name, what in (("kioskd.yaml", content), ("about.json", _as_json(about.as_dict()))):
                self._disk.write(new / name, what)
                self._disk.sync(new / name)
            self._disk.sync(new)
            self._disk.rename(new, self._version(number))
            self._disk.sync(self._versions)
        return number

    def begin_trial(self, number: int) -> None:
        """From here on the settings file is this version, until further notice."""
        with told(self.directory):
            replace_link(self._disk, self.directory / "pending", f"versions/{number}")
        self._put(self.content(number))

    def keep(self, number: int, why: str = "") -> None:
        """The version counts, for good. Does not touch the settings file."""
        with told(self.directory):
            replace_link(self._disk, self.directory / "current", f"versions/{number}")
        self.end_trial()
        self.note(number, "kept", why)
        self.prune()

    def go_back(self, number: int, why: str) -> None:
        """The settings file is again what it was before the version on trial, if it still is that one."""
        self.put_back(number)
        self.end_reverted(number, why)

    def put_back(self, number: int) -> None:
        """The first half of `go_back`: all that the daemon sees of it."""
        base = self.about(number).base
        if base is not None and self.is_version(self.in_force(), number):
            self.restore(base)

    def end_reverted(self, number: int, why: str) -> None:
        """The other half: the version is no longer on trial."""
        self.end_trial()
        with contextlib.suppress(WriteError):  # a history must not stop a going back
            self.note(number, "reverted", why)
            self.prune()

    def restore(self, number: int) -> None:
        """The settings file is this version, as it was before."""
        self._put(self.content(number))

    def end_trial(self) -> None:
        """No version is on trial any more."""
        with told(self.directory):
            if (self.directory / "pending").is_symlink():
                self._disk.remove(self.directory / "pending")
                self._disk.sync(self.directory)

    def count_start(self) -> None:
        """The daemon is about to be started under the version on trial."""
        with told(self.directory):
            replace_file(self._disk, self.directory / "starts", _as_json([self.pending, self.starts + 1]))

    def note(self, number: int, outcome: str, why: str) -> None:
        """For the history: what came of a version."""
        with told(self.directory):
            path = self._version(number) / "outcome.json"
            replace_file(self._disk, path, _as_json({"outcome": outcome, "why": why[:1000]}))

    def prune(self) -> None:
        """Old versions go, but not those that may yet be gone back to, however many failed since."""
        linked = [number for number in (self.current, self.pending) if number is not None]
        kept = [number for number in self.numbers() if self.outcome(number)[0] == "kept"]
        needed = [*linked, *(self.about(number).base for number in linked), *kept[-KEPT_AT_LEAST:]]
        with told(self.directory):
            for number in superfluous(self.numbers(), needed):
                old = self._versions / ".old"
                self._disk.remove_tree(old)
                self._disk.rename(self._version(number), old)
                self._disk.sync(self._versions)
                self._disk.remove_tree(old)

    # How

    @property
    def _versions(self) -> Path:
        return self.directory / "versions"

    def _version(self, number: int) -> Path:
        return self._versions / str(number)

    def _linked(self, name: str) -> int | None:
        try:
            target = str((self.directory / name).readlink())
        except OSError:
            return None
        number = target.removeprefix("versions/")
        return int(number) if number.isdecimal() and self._version(int(number)).is_dir() else None

    def _put(self, content: bytes) -> None:
        """Where the settings file is a link, what it points to is replaced: so /etc may be read-only."""
        path = Path(os.path.realpath(self.settings))
        mode, owner = 0o644, None
        with contextlib.suppress(OSError):
            found = path.stat()
            mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        with told(path):
            replace_file(self._disk, path, content, mode, owner)

    def _json(self, path: Path) -> Any:
        try:
            return json.loads(read_small_file(path, MAX_ABOUT_BYTES).content)
        except (UnreadableFileError, ValueError, RecursionError):
            return None


def _as_json(known: object) -> bytes:
    return json.dumps(known, indent=1).encode() + b"\n"
