"""What a process knows of itself. Imports next to nothing: it is part of what is measured."""

from __future__ import annotations

import os
import time

_SOUND_SERVERS = ("threaded-ml", "data-loop", "pw-")
"""How the client libraries of PulseAudio and PipeWire name their threads. A sound card has none of them."""


def cpu_ms() -> float:
    """Processor time of this process so far, user and system, all threads."""
    return time.process_time() * 1000


class Meter:
    """What this process takes from here on; to look does not count."""

    def __init__(self) -> None:
        self._server_ms, self._cpu_ms = _sound_server_ms(), cpu_ms()

    def spent(self) -> tuple[float, float]:
        """Processor ms (of our own threads, of those that a sound server's client library keeps in this process)."""
        cpu = cpu_ms() - self._cpu_ms
        server = _sound_server_ms() - self._server_ms
        return cpu - server, server


def _sound_server_ms() -> float:
    """So far; threads that have ended count no more."""
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
