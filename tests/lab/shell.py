"""Programs of this machine, each with a time limit, their failures told in words."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

TAIL_LINES = 25  # of a failed program's output: its reason stands at the end


class LabError(Exception):
    """The lab itself can't work: what is missing, and what to do. Not a failed case."""


class CommandError(Exception):
    """A program failed or took too long; the message holds the end of what it said."""


def run(command: Sequence[str], *, timeout: float, check: bool = True, stdin: str | bytes | None = None) -> str:
    """What a program prints. Its errors are part of a CommandError, raised if it fails or takes `timeout` seconds."""
    data = stdin.encode() if isinstance(stdin, str) else stdin or b""
    try:
        # Without something to say, its stdin is empty: no program waits for a terminal.
        done = subprocess.run(list(command), input=data, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as late:
        said = tail((late.stdout or b"") + (late.stderr or b""))
        raise CommandError(f"{named(command)}: not done after {timeout:.0f} s\n{said}") from None
    except OSError as error:
        raise CommandError(f"{named(command)}: {error}") from None
    if check and done.returncode:
        said = tail(done.stdout + done.stderr)
        raise CommandError(f"{named(command)}: exit code {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")


def named(command: Sequence[str]) -> str:
    """A command for a message, in one short line."""
    text = " ".join(" ".join(command).split())
    return text if len(text) <= 160 else f"{text[:100]} … {text[-55:]}"


def tail(output: bytes, lines: int = TAIL_LINES) -> str:
    """The last lines of an output."""
    return "\n".join(output.decode(errors="replace").splitlines()[-lines:])


def until(what: str, reached: Callable[[], object], timeout: float, every: float = 0.1) -> float:
    """Ask until the answer is true; the seconds that it took. Raises CommandError after `timeout` seconds."""
    begin = time.monotonic()
    trouble = ""
    while True:
        try:
            if reached():
                return time.monotonic() - begin
        except CommandError as error:
            trouble = f"\n{error}"
        if time.monotonic() - begin > timeout:
            raise CommandError(f"not {what} after {timeout:.0f} s{trouble}")
        time.sleep(every)


def say(text: str) -> None:
    """What is going on, for who watches."""
    print(f"lab: {text}", file=sys.stderr, flush=True)
