"""How the C library keeps the memory that is free: as little of it as possible, for a process that runs for years."""

from __future__ import annotations

import ctypes
import linecache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h
_LARGE_BYTES = 128 * 1024  # glibc's own first choice


def keep_small() -> bool:
    """To be called before the first thread starts. False where the C library has no such knobs (it isn't glibc's).

    By itself glibc gives each thread a heap of its own, and raises what it calls large to whatever was freed last: the
    sound that passes from thread to thread then leaves holes in all of them, a MB in an hour of talk.
    """
    linecache.clearcache()  # attrs leaves the source of each method that it made there, for debuggers
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    knobs = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE_BYTES), (_TRIM_THRESHOLD, _LARGE_BYTES))
    done = [mallopt(knob, value) == 1 for knob, value in knobs]
    return all(done)
