"""A disk that remembers every step, and all that a power cut may leave of them.

What POSIX promises, and no more: a file's content is safe after its fsync, a directory's entries after the directory's;
until then each of the steps may have reached the disk or not, in any combination, and a rename is whole or not at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from kioskd.config.disk import Disk


@define(eq=False)
class Inode:
    """A file, a directory or a link, as it is safe on the disk, and what isn't yet."""

    content: bytes = b""
    safe: bool = True
    target: str | None = None
    entries: dict[str, Inode] | None = None
    waiting: list[list[tuple[str, Inode | None]]] = field(factory=list)  # steps: entries set, or taken out

    def now(self) -> dict[str, Inode]:
        """The entries as a running system sees them."""
        assert self.entries is not None
        return _after(self.entries, self.waiting)


def _after(entries: dict[str, Inode], steps: list[list[tuple[str, Inode | None]]]) -> dict[str, Inode]:
    entries = dict(entries)
    for step in steps:
        for name, inode in step:
            if inode is None:
                entries.pop(name, None)
            else:
                entries[name] = inode
    return entries


def read(path: Path) -> Inode:
    """What is on a real disk, all of it safe."""
    if path.is_symlink():
        return Inode(target=str(path.readlink()))
    if path.is_dir():
        return Inode(entries={each.name: read(each) for each in path.iterdir()})
    return Inode(path.read_bytes())


class Recording(Disk):
    """Does everything, and notes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[tuple[str, Path, object]] = []

    def _note(self, what: str, path: Path, more: object = None) -> None:
        self.steps.append((what, path.relative_to(self.root), more))

    def write(self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        super().write(path, content, mode, owner)
        self._note("write", path, content)

    def sync(self, path: Path) -> None:
        super().sync(path)
        if path.is_relative_to(self.root):
            self._note("sync", path)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._note("rename", old, new.relative_to(self.root))

    def link(self, path: Path, target: str) -> None:
        super().link(path, target)
        self._note("link", path, target)

    def remove(self, path: Path) -> None:
        if path.is_symlink() or path.exists():
            super().remove(path)
            self._note("remove", path)

    def make_directory(self, path: Path) -> None:
        super().make_directory(path)
        self._note("directory", path)

    def remove_tree(self, path: Path) -> None:
        for each in sorted(path.iterdir()) if path.is_dir() else ():
            self.remove(each)
        if path.is_dir():
            super().remove_tree(path)
            self._note("remove", path)


class Model:
    """A disk under the recorded steps, up to one of them."""

    def __init__(self, root: Path) -> None:
        self.root = read(root)

    def find(self, path: Path) -> Inode:
        inode = self.root
        for part in path.parts:
            inode = inode.now()[part]
        return inode

    def do(self, what: str, path: Path, more: object) -> None:
        above = self.find(path.parent)
        match what:
            case "write":
                assert isinstance(more, bytes)
                above.waiting.append([(path.name, Inode(more, safe=False))])
            case "link":
                above.waiting.append([(path.name, Inode(target=str(more)))])
            case "directory":
                above.waiting.append([(path.name, Inode(entries={}))])
            case "remove":
                above.waiting.append([(path.name, None)])
            case "rename":
                assert isinstance(more, Path) and more.parent == path.parent
                above.waiting.append([(path.name, None), (more.name, above.now()[path.name])])
            case "sync":
                inode = self.find(path)
                inode.safe = True
                if inode.entries is not None:
                    inode.entries, inode.waiting = inode.now(), []

    def cuts(self) -> Iterator[dict[str, object]]:
        """Every tree that the power may leave: names with bytes (a file), str (a link) or a tree."""
        yield from self._trees(self.root)

    def _trees(self, inode: Inode) -> Iterator[dict[str, object]]:
        assert inode.entries is not None
        for kept in itertools.product((True, False), repeat=len(inode.waiting)):
            entries = _after(inode.entries, [step for step, keep in zip(inode.waiting, kept, strict=True) if keep])
            names = list(entries)
            for contents in itertools.product(*(self._contents(entries[name]) for name in names)):
                yield dict(zip(names, contents, strict=True))

    def _contents(self, inode: Inode) -> list[object]:
        if inode.target is not None:
            return [inode.target]
        if inode.entries is not None:
            return list(self._trees(inode))
        if inode.safe:
            return [inode.content]
        return list(dict.fromkeys([b"", inode.content[: len(inode.content) // 2], inode.content]))


def build(tree: dict[str, object], root: Path) -> None:
    """A real directory of such a tree."""
    root.mkdir(parents=True)
    for name, what in tree.items():
        path = root / name
        if isinstance(what, dict):
            build(what, path)
        elif isinstance(what, str):
            path.symlink_to(what)
        else:
            assert isinstance(what, bytes)
            path.write_bytes(what)
