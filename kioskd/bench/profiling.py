"""What the kiosk spends its processor time on, thread by thread: for the rows whose targets are not met."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN = 40


@contextmanager
def profiled(path: str) -> Iterator[None]:
    """Write what ran meanwhile to `path`, the main thread by its functions; "" does nothing. It slows that one down."""
    if not path:
        yield
        return
    import cProfile
    import pstats
    import time

    profile = cProfile.Profile(time.thread_time)
    before, began = threads_ms(), time.monotonic()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        seconds = time.monotonic() - began
        with Path(path).open("w") as text:
            for name, ms in threads_ms().items():
                spent = ms - before.get(name, 0.0)
                text.write(f"thread {name}: {spent:.1f} ms in {seconds:.1f} s, {spent / seconds:.2f} ms/s\n")
            stats = pstats.Stats(profile, stream=text)
            stats.sort_stats("tottime").print_stats(_SHOWN)
            stats.sort_stats("cumulative").print_stats(_SHOWN)


def threads_ms() -> dict[str, float]:
    """The processor time of each thread so far, by its name; those that are none of Python's by the library's name."""
    names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    spent = {}
    for task in sorted(Path("/proc/self/task").iterdir(), key=lambda task: int(task.name)):
        try:
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            library = (task / "comm").read_text().strip()
        except OSError:  # it has ended meanwhile
            continue
        spent[names.get(task.name, f"{library} {task.name}")] = nanoseconds / 1e6
    return spent
