"""Real-time scheduling of the audio threads: taken where it is allowed, done without where it isn't."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

LOOK = """
import os, resource, sys, threading
from kioskd.audio.priority import be_prompt
allowed = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_RTPRIO, (allowed, allowed))
if os.geteuid() == 0:
    os.setuid(65534)  # root may do anything: what counts is what the limit allows
def work():
    print(be_prompt(), os.sched_getscheduler(0) & 7, os.sched_getparam(0).sched_priority)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(os.sched_getscheduler(0))
"""


def scheduled(allowed: int) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOOK, str(allowed)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_permission_nothing_changes() -> None:
    assert scheduled(0) == [f"False {os.SCHED_OTHER} 0", str(os.SCHED_OTHER)]


@pytest.mark.parametrize(("allowed", "taken"), [(20, 10), (5, 5)])
def test_with_permission_only_the_calling_thread_is_prompt(allowed: int, taken: int) -> None:
    if resource.getrlimit(resource.RLIMIT_RTPRIO)[1] < allowed and os.geteuid() != 0:
        pytest.skip("this user can't raise the limit")
    try:
        found = scheduled(allowed)
    except AssertionError as error:
        pytest.skip(f"this machine can't raise the limit: {error}")
    if found[0].startswith("False"):
        pytest.skip("this kernel has no share of real time for this process")
    assert found == [f"True {os.SCHED_RR} {taken}", str(os.SCHED_OTHER)]
