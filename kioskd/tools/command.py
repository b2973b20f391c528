"""Runs the command of one action, and nothing else: its own argv, no shell, arguments on stdin, all of it bounded."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import frozen

from kioskd.config.tool_schema import Action, Tools
from kioskd.value import Value

MAX_OUTPUT_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}


class NotStartedError(Exception):
    """The command was not run at all; the text says why."""


class NobodyKnowsError(Exception):
    """It may have been run, to its end or not; the text says what happened."""


@frozen(eq=False, repr=False)
class Ran(Value):
    """What came of a command. `code` is its exit code, negative for a signal; `output` what of stdout was taken."""

    code: int
    output: str
    truncated: bool = False
    timed_out: bool = False


def action_called(tools: Tools, name: str) -> Action | None:
    """The action of this name."""
    return next((action for action in tools.actions if action.name == name), None)


def schema_of(tools: Tools, action: Action) -> Mapping[str, Any]:
    """What its arguments must satisfy; those of the action that gets the answers are an answer."""
    wanted = tools.answer_schema if action.name == tools.answer_action else None
    return action.parameters if wanted is None else wanted


def run(action: Action, given: str) -> Ran:
    """Run it in this thread, for `action.longest_s` at most, with `given` as its stdin. Raises NotStartedError."""
    stdin = os.memfd_create("arguments", os.MFD_CLOEXEC)  # a pipe could fill up
    try:
        os.write(stdin, given.encode() + b"\n")
        os.lseek(stdin, 0, os.SEEK_SET)
        child = subprocess.Popen(
            action.command,
            executable=action.command[0],
            stdin=stdin,
            stdout=subprocess.PIPE,
            env={**_ENVIRONMENT, "KIOSKD_TOOL": action.name},
            cwd="/",
            umask=0o077,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NotStartedError(f"{action.command[0]} can't be started: {reason}") from None
    finally:
        os.close(stdin)
    try:
        output, timed_out = _listen(child, time.monotonic() + action.longest_s)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # also what it left behind
        code = child.wait()
        assert child.stdout is not None
        child.stdout.close()
    taken = bytes(output[:MAX_OUTPUT_BYTES]).decode("utf-8", "replace")
    return Ran(code, taken, truncated=len(output) > MAX_OUTPUT_BYTES, timed_out=timed_out)


def _listen(child: subprocess.Popen[bytes], deadline: float) -> tuple[bytearray, bool]:
    """What it prints until it ends, and whether it did not in time. What it prints too much of is thrown away."""
    assert child.stdout is not None
    output, out = bytearray(), child.stdout.fileno()
    os.set_blocking(out, False)
    ended = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return output, True
                ready = {key.fd for key, _ in selector.select(left_s)}
                if out in ready and not _take(out, output):
                    selector.unregister(out)
                    out = -1
                if ended in ready:
                    while out >= 0 and len(output) <= MAX_OUTPUT_BYTES and _take(out, output):
                        pass
                    return output, False
    finally:
        os.close(ended)


def _take(out: int, output: bytearray) -> bool:
    """False where there is nothing more, for now or at all."""
    try:
        piece = os.read(out, _PIECE_BYTES)
    except BlockingIOError:
        return False
    output += piece[: MAX_OUTPUT_BYTES + 1 - len(output)]
    return bool(piece)
