"""What a process knows of itself. Imports next to nothing: it is part of what is measured."""

from __future__ import annotations

import os
import time

_SOUND_SERVERS = ("threaded-ml", "data-loop", "pw-")
"""How the client libraries of PulseAudio and PipeWire name their threads. A sound card has none of them."""


def cpu_ms() -> float:
    """Processor time of this process so far, user and system, all threads."""
    return time.process_time() * 1000


def own_cpu_ms() -> float:
    """The same without the threads that a sound server's client library keeps in it while a device is open."""
    return cpu_ms() - sound_server_ms()


def sound_server_ms() -> float:
    """What these threads have taken so far; those that have ended count no more."""
    nanoseconds = 0
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208 - pathlib would be an import more
        try:
            with open(f"/proc/self/task/{task}/comm") as name:  # noqa: PTH123
                if not name.read().startswith(_SOUND_SERVERS):
                    continue
            with open(f"/proc/self/task/{task}/schedstat") as spent:  # noqa: PTH123
                nanoseconds += int(spent.read().split()[0])
        except OSError:  # it has ended meanwhile
            continue
    return nanoseconds / 1e6


def rss_mb() -> float:
    """Resident memory now."""
    with open("/proc/self/smaps_rollup") as lines:  # noqa: PTH123 - pathlib would be an import more
        for line in lines:
            if line.startswith("Rss:"):
                return int(line.split()[1]) / 1024
    raise OSError("/proc/self/smaps_rollup tells no Rss")
