"""Memory that threads free goes back to the system, no thread has a heap of its own, no garbage is sought in vain."""

from __future__ import annotations

import subprocess
import sys

MEASURE = """
import ctypes, sys, threading
from kioskd import heap

if sys.argv[1] == "small":
    assert heap.keep_small()

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Info

def pass_sound():
    for size in (2**20, 2**20 - 1, 100_000):  # freed, the first one would make all of its size an affair of the heap
        pieces = [bytearray(size) for _ in range(10)]
        del pieces

def address_space():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * 4096

before, space = library.mallinfo2().fordblks, address_space()
pins = []
for _ in range(4):
    thread = threading.Thread(target=lambda: (pass_sound(), pins.append(bytearray(2000))))
    thread.start()
    thread.join()
print(library.mallinfo2().fordblks - before, address_space() - space)
"""


GARBAGE = """
import gc
from kioskd import heap

usual = gc.get_threshold()
heap.collect_seldom()
assert gc.get_threshold()[0] > 10 * usual[0]
import kioskd.composition
heap.keep_small()
assert gc.get_threshold() == usual and len(gc.get_objects()) < gc.get_freeze_count() / 10
"""


def test_what_is_imported_is_not_looked_through_for_garbage() -> None:
    subprocess.run([sys.executable, "-c", GARBAGE], check=True)


def growth(how: str) -> tuple[int, int]:
    """What the C library keeps for itself after some threads have passed sound on, and the room that it reserved."""
    command = [sys.executable, "-c", MEASURE, how]
    free, space = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return int(free), int(space)


HOLES = """
from kioskd import heap
from kioskd.bench.process import rss_mb

pieces = [bytearray(20_000) for _ in range(400)]
pins = pieces[::20]
before = rss_mb()
del pieces
assert before - rss_mb() < 1
assert heap.give_back()
assert before - rss_mb() > 5
"""


def test_what_is_free_amid_what_is_in_use_goes_back() -> None:
    subprocess.run([sys.executable, "-c", HOLES], check=True)


def test_little_memory_is_kept_that_nobody_uses_and_no_thread_has_a_heap_of_its_own() -> None:
    (free, space), (free_else, space_else) = growth("small"), growth("as it is")
    assert free < 512 * 1024 < free_else
    assert space < 60 * 2**20 < space_else  # a thread's heap reserves 64 MB
