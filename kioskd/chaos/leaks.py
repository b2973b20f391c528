"""What must not grow: tasks, connections, and everything that the kiosk's own objects hold."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import trio

WATCHED = ("kioskd.", "trio_websocket", "wsproto", "trio._")
UNWATCHED = ("kioskd.chaos", "kioskd.simulator")  # the record of a run grows, and the server's memory is its own
MORE_OBJECTS = 24  # of a type, between two quiet moments: a connection more or less
MORE_ELEMENTS = 256  # in one type's containers: above every bound of the rooms that are watched


def census() -> Counter[str]:
    """How many objects of each of the kiosk's types there are, and how many elements their containers hold."""
    gc.collect()
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        module = kind.__module__
        if not isinstance(module, str) or not module.startswith(WATCHED) or module.startswith(UNWATCHED):
            continue
        name = f"{module}.{kind.__qualname__}"
        found[name] += 1
        if module.startswith("kioskd."):
            for attribute, size in _containers(thing):
                found[f"{name}.{attribute} elements"] += size
    return found


def growth(before: Counter[str], after: Counter[str]) -> list[str]:
    """What has grown beyond what two quiet moments may differ by."""
    grown = []
    for name, count in sorted(after.items()):
        more = count - before[name]
        if more > (MORE_ELEMENTS if name.endswith(" elements") else MORE_OBJECTS):
            grown.append(f"{name}: {before[name]} -> {count}")
    return grown


def tasks() -> list[str]:
    """The names of the tasks that live, but for trio's own."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return sorted(_names(root))


def _names(task: trio.lowlevel.Task) -> Iterator[str]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child.name
            yield from _names(child)


def _containers(thing: Any) -> Iterator[tuple[str, int]]:
    names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
    for name in names:
        value: Any = getattr(thing, name, None)
        if isinstance(value, (bytes, bytearray, str, int, float)):
            continue
        if isinstance(value, (list, dict, set)) or type(value).__name__ == "deque":
            yield name, len(value)
