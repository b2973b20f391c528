"""The ends of a process that hangs: real ones, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HANGS = """
import ctypes, time, trio
from kioskd.health import watchdog

class Nothing:
    def beat(self, now): pass
    def readings(self, now): return ()

async def hang():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.Watchdog(Nothing).run)
        await trio.sleep({before_s})
        {hang}
        nursery.cancel_scope.cancel()

watchdog.LAST_RESORT_S = {resort_s}
init = watchdog.LoopGuard.__init__
watchdog.LoopGuard.__init__ = lambda self, leave: init(self, leave, {look_s})
trio.run(hang)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_a_loop_that_hangs_is_ended_by_the_guard_with_every_stack_in_the_log() -> None:
    done = run(HANGS.format(before_s=0.1, hang="time.sleep(50)", resort_s=40, look_s=0.1))
    assert done.returncode == 80
    assert "event loop does not turn" in done.stderr and "in hang" in done.stderr


def test_where_no_thread_can_run_the_kernel_ends_it() -> None:
    done = run(HANGS.format(before_s=0.1, hang="ctypes.PyDLL(None).sleep(50)", resort_s=0.5, look_s=0.1))
    assert done.returncode == -signal.SIGALRM
    assert "in hang" in done.stderr


@pytest.mark.parametrize("busy_s", [0, 0.25])
def test_a_loop_that_turns_ends_when_it_is_told_to(busy_s: float) -> None:
    done = run(HANGS.format(before_s=0.1, hang=f"time.sleep({busy_s})", resort_s=40, look_s=2))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_last_words_do_not_wait_for_a_log_that_hangs() -> None:
    code = """
import logging, threading
from kioskd.health import watchdog
class Stuck(logging.Handler):
    def emit(self, record): threading.Event().wait()
logging.getLogger().addHandler(Stuck())
watchdog.LAST_WORDS_S = 0.1
watchdog.leave(82, "the speaker hangs")
"""
    assert run(code).returncode == 82
