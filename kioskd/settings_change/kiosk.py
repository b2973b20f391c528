"""The running kiosk, as far as a change of its settings goes: how it is, and telling it to read them anew."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from kioskd.config.trial import Health, health_of
from kioskd.control.client import ControlError, NotRunningError, ask
from kioskd.settings_change.daemon_user import trouble_for_daemon

UNIT = "kioskd.service"
_ASK_S = 5.0
_COMMAND_S = 120.0  # a stop waits for the answer that is being spoken: TimeoutStopSec= of the unit


class Kiosk:
    """The one whose control socket is at `socket`; None: where it usually is."""

    def __init__(self, socket: Path | None = None) -> None:
        self._socket = socket

    def health(self, first: str = "") -> Health:
        """How it is. `first`: the endpoint that should answer."""
        try:
            return health_of(self._status(), first)
        except ControlError as error:  # it hangs, or is only just starting
            return Health("unhealthy", frozenset({"answers"}), (str(error),))

    def reload(self) -> bool:
        """Have the settings read anew; whether there is a kiosk that will."""
        pid: Any = None
        with contextlib.suppress(ControlError):
            pid = (self._status() or {}).get("pid")
        if isinstance(pid, int) and pid > 1:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGHUP)
                return True
        match self.unit_state():
            case "active" | "reloading":
                return self._systemctl("reload", "--no-block")
            case "failed" | "activating":  # settings that it can't start under, most likely
                return self._systemctl("restart", "--no-block")
        return False

    def trouble_with(self, content: bytes, settings: Path) -> str:
        """Why it couldn't start under the settings in this file, though root finds them right; "" where it could."""
        return trouble_for_daemon(content, settings, UNIT)

    def unit_state(self) -> str:
        """Of the service, by systemd; "unknown" where that doesn't run."""
        try:
            done = subprocess.run(
                ["systemctl", "is-active", UNIT], capture_output=True, text=True, timeout=_ASK_S, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        return done.stdout.strip() or "unknown"

    def _status(self) -> dict[str, Any] | None:
        try:
            return ask(self._socket, "status", timeout_s=_ASK_S)
        except NotRunningError:
            return None

    def _systemctl(self, *words: str) -> bool:
        if words[0] == "restart":
            _quietly("systemctl", "reset-failed", UNIT)
        return _quietly("systemctl", *words, UNIT)


def _quietly(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_COMMAND_S, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
