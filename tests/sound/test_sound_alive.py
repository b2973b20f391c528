"""The whole daemon under a service manager, and a sound server that is stopped in its tracks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kioskd.commands import exits
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90
SETTINGS = f"""
endpoints:
  - name: lobby
    url: "ws://127.0.0.1:9/v1/realtime"
    model: m
    key: {{environment: KIOSKD_TEST_KEY}}
audio: {{microphone: {PrivatePulse.MICROPHONE}, speaker: {PrivatePulse.SPEAKER}}}
"""


class Manager:
    """What systemd does, as far as a daemon can tell: a socket, a watchdog's interval, signals."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.settings = folder / "kioskd.yaml"
        self.settings.write_text(SETTINGS)
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._log = (folder / "log").open("w+")
        (folder / "run").mkdir()
        (folder / "state").mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kioskd", "run", "--config", str(self.settings)],
            stderr=self._log,
            cwd=ROOT,
            env={
                **os.environ,
                **environment,
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": "30000000",
                "RUNTIME_DIRECTORY": str(folder / "run"),
                "STATE_DIRECTORY": str(folder / "state"),
                "KIOSKD_TEST_KEY": "key-of-nobody-0123456789",
            },
        )

    def until(self, what: str, told: Callable[[str], bool]) -> str:
        """The next message that is it."""
        deadline = time.monotonic() + PATIENCE_S
        while (left_s := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                self.told.append(self._socket.recv(4096).decode())
            except TimeoutError:
                break
            if told(self.told[-1]):
                return self.told[-1]
        pytest.fail(f"{what} was never told; told: {self.told[-5:]}; log: {self.log[-2000:]}")

    def rest(self) -> list[str]:
        """All that it told without having been asked about."""
        self._socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._socket.close()
        self._log.close()


@pytest.fixture
def manager(pulse: PrivatePulse, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path, pulse.environment)
    yield manager
    manager.close()


def test_from_ready_over_a_reload_to_stopping(manager: Manager) -> None:
    assert "STATUS=" in manager.until("READY", lambda told: "READY=1" in told)
    manager.until("WATCHDOG", lambda told: "WATCHDOG=1" in told)
    manager.until("an open microphone", lambda told: "STATUS=ready" in told and "microphone" not in told)
    manager.settings.write_text(SETTINGS + "nonsense: 1\n")
    manager.process.send_signal(signal.SIGHUP)
    manager.until("RELOADING", lambda told: "RELOADING=1" in told and "MONOTONIC_USEC=" in told)
    manager.until("what is wrong", lambda told: "STATUS=" in told and f"{manager.settings}:8: nonsense" in told)
    manager.settings.write_text(SETTINGS + "conversation: {stop_grace_s: 3}\n")
    manager.process.send_signal(signal.SIGHUP)
    manager.until("the right ones", lambda told: "STATUS=ready" in told and "nonsense" not in told)
    manager.process.send_signal(signal.SIGTERM)
    manager.until("STOPPING", lambda told: "STOPPING=1" in told)
    assert manager.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in manager.log and "key-of-nobody" not in manager.log
    assert manager.log.count("the new settings count") == 1, "those that were right, and no others"
    assert manager.log.count("endpoint lobby") == 1, "nothing was begun anew"


def test_a_sound_server_that_is_stopped_in_its_tracks(manager: Manager, pulse: PrivatePulse) -> None:
    manager.until("READY", lambda told: "READY=1" in told)
    manager.until("WATCHDOG", lambda told: "WATCHDOG=1" in told)
    manager.until("an open microphone", lambda told: "STATUS=ready" in told and "microphone" not in told)
    pulse.freeze()
    manager.until("what is wrong", lambda told: "STATUS=" in told and "'mic': gave no sound" in told)
    code = manager.process.wait(PATIENCE_S)
    # pyalsaaudio keeps the interpreter's lock while it closes a device: then the alarm ends what can't end itself.
    assert code == -signal.SIGALRM or code in exits.STOOD_STILL
    assert sum("WATCHDOG=1" in told for told in manager.rest()) <= 2
    assert "gave no sound" in manager.log
    assert "kioskd/audio/" in manager.log, "where the thread hangs"
