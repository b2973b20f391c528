"""The commands that ask a running kiosk, as an owner would run them: against a kiosk of stand-ins, and a real one."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "control"))  # a stand-in for the parts, which the socket's own tests use too

from control_parts import Kiosk, served  # noqa: E402

CONFIG = """
endpoints:
  - name: here
    url: "ws://127.0.0.1:9/v1/realtime"
    model: m
    key: {environment: KIOSKD_TEST_KEY}
audio: {microphone: "plughw:CARD=NoSuchCard", speaker: "plughw:CARD=NoSuchCard"}
panel: {lamp: {kind: none, pins: []}}
"""


def kioskd(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an owner would."""
    return subprocess.run(
        [sys.executable, "-m", "kioskd", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with served(tmp_path / "control.sock", Kiosk()) as path:
        yield path


def test_a_healthy_kiosk_on_one_screen(path: Path) -> None:
    done = kioskd("status", "--socket", path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80 and lines[0].endswith("HEALTHY")
    done = kioskd("status", "--json", RUNTIME_DIRECTORY=str(path.parent))
    status = json.loads(done.stdout)
    assert (done.returncode, status["health"], status["state"]) == (0, "healthy", "ready")


def test_a_press_prints_what_came_of_it(path: Path) -> None:
    done = kioskd("press", "--ms", "400", "--socket", path)
    assert done.returncode == 0 and done.stdout.startswith("turn 1:   answered")
    assert "heard 100 ms" in done.stdout and "what time" not in done.stdout
    done = kioskd("press", "--ms", "20", "--socket", path)
    assert done.returncode == 1 and "too-short" in done.stdout
    done = kioskd("press", "--ms", "11000", "--socket", path)
    assert done.returncode == 1 and done.stderr == "ms must be a number from 1 to 10000, and is 11000\n"


def test_words_are_said(path: Path) -> None:
    done = kioskd("say", "good", "morning", "--socket", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = kioskd("say", " ", "--socket", path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_the_log_level(path: Path) -> None:
    done = kioskd("log-level", "error", "--socket", path)
    assert done.returncode == 0 and done.stdout.startswith("log level error, until the next start (it was ")
    kioskd("log-level", "warning", "--socket", path)
    assert kioskd("log-level", "loud", "--socket", path).returncode == 2


@pytest.mark.parametrize(
    "command", [["status"], ["status", "--watch"], ["say", "hello"], ["press"], ["log-level", "info"]]
)
def test_without_a_kiosk_the_remedy_is_told(command: list[str], tmp_path: Path) -> None:
    done = kioskd(*command, RUNTIME_DIRECTORY=str(tmp_path))
    assert done.returncode == (2 if command[0] == "status" else 1)
    assert done.stderr.startswith("kioskd is not running: sudo systemctl start kioskd")
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_json_also_says_that_nobody_is_there(tmp_path: Path) -> None:
    done = kioskd("status", "--json", RUNTIME_DIRECTORY=str(tmp_path))
    assert done.returncode == 2 and json.loads(done.stdout)["health"] == "down"


def test_asking_imports_nothing_heavy(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kioskd", "status", "--socket", path],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "socket" in imported
    assert not imported & {"numpy", "gpiozero", "alsaaudio", "trio", "yaml", "soundfile", "rich"}


def test_watching_without_a_terminal_is_a_line_a_change(path: Path) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-m", "kioskd", "status", "--watch", "--socket", path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert watch.stdout is not None
    assert watch.stdout.readline().strip().endswith("healthy, ready, link up, 0 turns")
    kioskd("press", "--ms", "20", "--socket", path)
    assert watch.stdout.readline().strip().endswith("link up, 1 turns")
    watch.send_signal(signal.SIGINT)
    assert watch.wait(30) == 0


@pytest.mark.parametrize("how", [b"q", b"\x03"])
def test_watching_on_a_terminal_until_q_or_control_c(path: Path, how: bytes) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        os.execve(
            sys.executable, [sys.executable, "-m", "kioskd", "status", "--watch", "--socket", str(path)], environment
        )
    shown = read_until(terminal, b"microphone")
    assert b"\x1b[?1049h" in shown, "the screen is taken, so that what was on it comes back"
    assert b"plughw:CARD=Mic" in read_until(terminal, b"speaker", shown)
    os.write(terminal, how)
    assert b"\x1b[?1049l" in read_until(terminal, b"\x1b[?1049l")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)


def read_until(terminal: int, mark: bytes, shown: bytes = b"") -> bytes:
    """What is on the terminal, with at least `mark`."""
    while mark not in shown:
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 4096)
    return shown


def test_a_real_kiosk_without_any_hardware_answers_is_killed_and_comes_back(tmp_path: Path) -> None:
    config = tmp_path / "kioskd.yaml"
    config.write_text(CONFIG)
    environment = {
        "RUNTIME_DIRECTORY": str(tmp_path),
        "STATE_DIRECTORY": str(tmp_path),
        "KIOSKD_TEST_KEY": "sk-aBcDeFgHiJkLmNoP",
    }

    def run() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "kioskd", "run", "--config", config],
            cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ready() -> dict[str, object]:
        while True:
            status = json.loads(kioskd("status", "--json", **environment).stdout)
            refused = "Connection refused" in str(status.get("link"))
            if status["health"] == "degraded" and len(status["faults"]) == 3 and refused:
                return dict(status)
            time.sleep(0.1)

    first = run()
    try:
        status = ready()
        assert status["pid"] == first.pid and "aBcDeF" not in json.dumps(status)
        second = kioskd("run", "--config", config, **environment)
        assert "Traceback" not in second.stderr
        assert second.returncode == 1 and f"another kioskd is running (process {first.pid}" in second.stderr
        assert kioskd("press", **environment).stderr.startswith("the press was not taken: ")
        first.kill()
        first.wait(30)
        assert (tmp_path / "control.sock").exists()
        assert kioskd("status", **environment).returncode == 2
        first = run()
        assert ready()["pid"] == first.pid
        first.terminate()
        assert first.wait(30) == 0
        assert not (tmp_path / "control.sock").exists()
    finally:
        first.kill()
        first.wait(30)
