"""Memory, and the search for garbage in it, of a process that starts quickly, stays small and runs for years."""

from __future__ import annotations

import ctypes
import gc
import linecache
from collections.abc import Callable
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h
_LARGE_BYTES = 128 * 1024  # glibc's own first choice
_SELDOM = 40_000, 1000  # objects until a search; searches until one of older objects, too: a start has three
_USUAL = gc.get_threshold()


def collect_seldom() -> None:
    """To be called before the daemon's modules are imported: hardly anything of them is garbage.

    To look for it all the same, as often as usual, takes a tenth of the start; with no search at all it would take 2 MB
    more.
    """
    gc.set_threshold(*_SELDOM)


def keep_small() -> bool:
    """To be called after the daemon's modules were imported, and before the first thread starts.

    The modules are looked through for garbage no more. As little free memory as possible is kept: by itself glibc
    gives each thread a heap of its own, and raises what it calls large to whatever was freed last; the sound that
    passes from thread to thread then leaves holes in all of them, a MB in an hour of talk. False where the C library
    has no such knobs (it isn't glibc's).
    """
    linecache.clearcache()  # attrs leaves the source of each method that it made there, for debuggers
    gc.freeze()
    gc.collect()  # of what is left: by its number of objects the next search is timed
    gc.set_threshold(*_USUAL)
    mallopt = _libc("mallopt")
    if mallopt is None:
        return False
    knobs = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE_BYTES), (_TRIM_THRESHOLD, _LARGE_BYTES))
    done = [mallopt(knob, value) == 1 for knob, value in knobs]
    return all(done)


def give_back() -> bool:
    """Whole pages that are free, also amid what is in use, go back to the system; takes some tenths of a ms.

    To be called when much was freed: after a turn that is half a MB. False where the C library can't.
    """
    malloc_trim = _libc("malloc_trim")
    if malloc_trim is None:
        return False
    malloc_trim(0)
    return True


@cache
def _libc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return function
