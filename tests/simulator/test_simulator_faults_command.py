"""kioskd simulate --faults, as a developer runs it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

GUARD_S = 60.0  # a test that hangs fails
COMMAND = [sys.executable, "-m", "kioskd", "simulate", "--port", "0", "--faults"]
HELLO = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("faults:\n  - kind: clse-1011\n", "{file}:2: faults[0].kind: there is no clse-1011 here; did you mean close-"),
        ("faults:\n  - kind: dns-failure\n", "{file}: no server can make a dns-failure: delete it, and give the kiosk"),
        (None, "{file}: there is no such file"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "f.yaml"
    if text is not None:
        file.write_text(text)
    done = subprocess.run([*COMMAND, file], capture_output=True, text=True, timeout=GUARD_S)
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(told.format(file=file))


def ask(port: int) -> bytes:
    """The answer to an upgrade; b"" if the connection is reset."""
    try:
        with socket.create_connection(("127.0.0.1", port), GUARD_S) as client:
            client.sendall(HELLO)
            return client.recv(65_536)
    except (ConnectionResetError, BrokenPipeError):
        return b""


def test_each_fault_is_made_and_logged(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(
        "faults:\n  - {kind: refuse-connect, times: 1}\n  - {kind: upgrade-429-header, times: 1}\n"
        "  - {kind: close-1012, phase: setup}\n"
    )
    with subprocess.Popen([*COMMAND, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            first = running.stdout.readline()
            found = re.search(r"listening on ws://127\.0\.0\.1:(\d+)/v1/realtime", first)
            assert found is not None
            port = int(found[1])
            assert ask(port) == b""
            refused = ask(port)
            assert refused.startswith(b"HTTP/1.1 429")
            assert b"retry-after: 2\r\n" in refused.lower()
            assert ask(port).startswith(b"HTTP/1.1 101")
        finally:
            running.send_signal(signal.SIGTERM)
            _, log = running.communicate(timeout=GUARD_S)
    assert running.returncode == 0
    assert re.findall(r"fault (\S+) \((\w+)\)", log)[:2] == [
        ("refuse-connect", "connect"),
        ("upgrade-429-header", "connect"),
    ]
    assert "Traceback" not in log
