"""The exit codes of every command, and the one way in which a command complains."""

from __future__ import annotations

import sys

OK = 0
FAILED = 1
USAGE = 2
BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h: a restart won't mend it
INTERRUPTED = 130

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings, 130 interrupted."


def complain(text: object, code: int) -> int:
    """Say what is wrong on standard error; `code`."""
    print(text, file=sys.stderr)
    return code
