"""What a process knows of itself. Imports next to nothing: it is part of what is measured."""

from __future__ import annotations

import time


def cpu_ms() -> float:
    """Processor time of this process so far, user and system, all threads."""
    return time.process_time() * 1000


def rss_mb() -> float:
    """Resident memory now."""
    with open("/proc/self/smaps_rollup") as lines:  # noqa: PTH123 - pathlib would be an import more
        for line in lines:
            if line.startswith("Rss:"):
                return int(line.split()[1]) / 1024
    raise OSError("/proc/self/smaps_rollup tells no Rss")
