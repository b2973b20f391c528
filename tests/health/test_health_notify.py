"""What reaches the service manager, and that nothing of it can ever hold up or end the kiosk."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kioskd.health.notify import LONGEST_VALUE, notify, watchdog_s


@pytest.mark.parametrize("abstract", [False, True])
def test_both_kinds_of_socket(tmp_path: Path, abstract: bool) -> None:
    name = f"kioskd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        environ = {"NOTIFY_SOCKET": "@" + name if abstract else name}
        assert notify(environ, READY=1, STATUS="two\nlines=1; " + "x" * 500)
        ready, status = manager.recv(4096).decode().split("\n")
    assert ready == "READY=1"
    assert status.startswith("STATUS=two lines=1; xxx") and len(status) == len("STATUS=") + LONGEST_VALUE


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nobody/is/there", "@nobody-is-there", "/" + "x" * 200])
def test_nobody_to_be_told(address: str) -> None:
    assert not notify({"NOTIFY_SOCKET": address} if address else {}, WATCHDOG=1)


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        told = [notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, WATCHDOG=1) for _ in range(5000)]
    assert told[0] and not told[-1]


@pytest.mark.parametrize(
    ("variables", "within_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_only_ours_if_it_says_so(variables: dict[str, str], within_s: float | None) -> None:
    assert watchdog_s(variables) == within_s
