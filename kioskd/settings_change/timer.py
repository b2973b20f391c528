"""What takes a change back when its maker is gone: a timer outside of the command that made it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

UNIT = "kioskd-config-revert"  # always the same: two at once can't be
_COMMAND_S = 20.0


class TimerError(Exception):
    """No timer can be set; the text says why."""


class Timer(Protocol):
    """One at most. `command` is run once, `after_s` seconds from now, whatever becomes of this process."""

    def arm(self, after_s: float, command: Sequence[str]) -> None:
        """Set it. Raises TimerError."""

    def disarm(self) -> None:
        """It is not wanted any more. Nothing is raised, also where there is none."""

    def armed(self) -> bool:
        """Whether it will run, or is just running."""


def timer_here(directory: Path) -> Timer:
    """systemd's where it runs the machine; else a process of its own, which a power cut ends."""
    if Path("/run/systemd/system").is_dir() and shutil.which("systemd-run"):
        return SystemdTimer()
    return ProcessTimer(directory / "timer")


class SystemdTimer:
    """A transient timer unit."""

    def arm(self, after_s: float, command: Sequence[str]) -> None:
        """See Timer."""
        self.disarm()
        done = _run(
            "systemd-run", "--quiet", "--collect", f"--unit={UNIT}", f"--on-active={after_s:g}s",
            "--timer-property=AccuracySec=100ms", "--description=Takes settings of kioskd back", "--", *command,
        )  # fmt: skip
        if done is None or done.returncode:
            said = done.stderr.strip().splitlines()[-1:] if done else ["it does not answer"]
            raise TimerError(f"systemd-run: {''.join(said)}; without it a bad change could not be taken back")

    def disarm(self) -> None:
        """See Timer. The service that the timer may have started already is left alone: it looks for itself."""
        _run("systemctl", "--quiet", "stop", f"{UNIT}.timer")

    def armed(self) -> bool:
        """See Timer."""
        units = (f"{UNIT}.timer", f"{UNIT}.service")
        done = _run("systemctl", "is-active", *units)
        return done is not None and any(line in ("active", "activating") for line in done.stdout.split())


class ProcessTimer:
    """A process of its own session, for machines without systemd: it outlives the SSH line, but not the power."""

    def __init__(self, note: Path) -> None:
        """`note`: where the process's number is kept."""
        self._note = note

    def arm(self, after_s: float, command: Sequence[str]) -> None:
        """See Timer."""
        self.disarm()
        try:
            process = subprocess.Popen(
                ["sh", "-c", 'sleep "$0" && exec "$@"', f"{after_s:g}", *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            self._note.write_text(f"{process.pid} {_began(process.pid)}")
        except OSError as error:
            raise TimerError(f"no timer can be set: {error}") from None

    def disarm(self) -> None:
        """See Timer. Only while it sleeps: one that is at work already looks for itself."""
        pid = self._pid()
        if pid is not None and pid != os.getpid() and _sleeps(pid):
            with contextlib.suppress(OSError):
                os.killpg(pid, 15)
        with contextlib.suppress(OSError):
            self._note.unlink()

    def armed(self) -> bool:
        """See Timer."""
        return self._pid() is not None

    def _pid(self) -> int | None:
        """The timer's, if it is still that process, and not another one of the same number."""
        try:
            pid, began = self._note.read_text().split()
            return int(pid) if began == _began(int(pid)) else None
        except (OSError, ValueError):
            return None


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks. Raises OSError, also for one that is dead and not yet buried."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return fields[19]


def _sleeps(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "sh"
    return False


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
