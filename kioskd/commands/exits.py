"""The exit codes of every command, and the one way in which a command complains."""

from __future__ import annotations

import sys

OK = 0
FAILED = 1
USAGE = 2
REVERTED = 3  # of `config`: the change did no good, or nobody confirmed it
BUSY = 4  # of `config`: another change is under way
BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h: a restart won't mend it
STOOD_STILL = range(80, 86)  # of `run`, one a vital (health/vitals.py): a restart may mend it
INTERRUPTED = 130

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings, 80-85 a part hung (run), 130 interrupted."


def complain(text: object, code: int) -> int:
    """Say what is wrong on standard error; `code`."""
    print(text, file=sys.stderr)
    return code
