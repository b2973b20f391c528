"""The audio threads go before all else on the processor, where the system allows it to this user (LimitRTPRIO=)."""

from __future__ import annotations

import logging
import os
import resource

log = logging.getLogger(__name__)

PRIORITY = 10  # of 99: before everything ordinary, behind the kernel's own threads (50)


def be_prompt() -> bool:
    """Let the calling thread be scheduled in real time (SCHED_RR); True if it is now. Never raises.

    Nothing it starts inherits that, and a kernel that allows none leaves it as it was.
    """
    allowed = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    if allowed == 0:
        return False
    priority = PRIORITY if allowed == resource.RLIM_INFINITY else min(PRIORITY, allowed)
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:  # a container, or a control group without a share of real time
        log.debug("no real-time scheduling for sound: %s", error.strerror)
        return False
    return True
