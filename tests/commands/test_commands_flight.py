"""kioskd flight, as an owner meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kioskd.chaos import virtual
from kioskd.chaos.schedule import Coverage
from kioskd.chaos.world import Plan

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

SETTINGS = """
endpoints:
  - name: here
    url: "ws://127.0.0.1:9/v1/realtime"
    model: m
    key: {environment: KIOSKD_TEST_KEY}
"""


class Owner:
    """Somebody with a shell."""

    def __init__(self, home: Path) -> None:
        self.state, self.run_directory = home / "state", home / "run"
        self.settings = home / "kioskd.yaml"
        self.settings.write_text(SETTINGS)
        self._environment = {
            **os.environ,
            "KIOSKD_TEST_KEY": "sk-never-to-be-seen-0123456789",
            "STATE_DIRECTORY": str(self.state),
            "RUNTIME_DIRECTORY": str(self.run_directory),
        }
        self.run_directory.mkdir()

    def flight(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kioskd", "flight", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, env=self._environment
        )

    @contextmanager
    def kiosk(self) -> Iterator[subprocess.Popen[bytes]]:
        """kioskd run, from when it records something on."""
        command = [sys.executable, "-m", "kioskd", "run", "--config", str(self.settings)]
        ring, began = self.run_directory / "flight.ring", b'"begins":true'
        before = ring.read_bytes().count(began) if ring.exists() else 0
        with subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: ring.exists() and ring.read_bytes().count(began) > before)
                until(lambda: b'"event":"LinkChanged"' in ring.read_bytes().rpartition(began)[2])
                yield process
            finally:
                process.kill()


def until(reached: object) -> None:
    assert callable(reached)
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "turns.jsonl"
    virtual.run_virtually(Plan(10, 3, flight=path), Coverage())
    return path


def test_a_chaos_turn_replays_without_a_difference(owner: Owner, record: Path) -> None:
    done = owner.flight("replay", record)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("events replayed, no difference")
    for words in (
        "Pressed",
        "=> listening  lamp: listening",
        "-> BeginUtterance(turn=1",
        "=> thinking   lamp: thinking",
    ):
        assert any(words in line for line in lines), words


def test_a_difference_is_shown_and_is_exit_code_1(owner: Owner, record: Path) -> None:
    text = record.read_text()
    record.write_text(text.replace('{"effect":"Ask","turn":1}', '{"effect":"Ask","turn":11}', 1))
    assert record.read_text() != text
    done = owner.flight("replay", record)
    assert done.returncode == 1
    assert "!! effect 1: recorded Ask(turn=11), replayed Ask(turn=1)" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("1 difference")


def test_show_is_for_eyes(owner: Owner, record: Path) -> None:
    done = owner.flight("show", record)
    assert (done.returncode, done.stderr) == (0, "")
    assert "-- a kiosk begins" in done.stdout and "-> EndUtterance(turn=1" in done.stdout
    pieces = [line for line in done.stdout.splitlines() if "AnswerAudio" in line]
    assert len(pieces) < record.read_text().count('"event":"AnswerAudio"'), "a line a run of them, not a line a piece"
    assert any(" ms in all" in line for line in pieces)


def test_without_any_record_the_remedy_is_told(owner: Owner) -> None:
    for verb in ("show", "replay"):
        done = owner.flight(verb)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1 and "kioskd flight dump" in done.stderr
    assert owner.flight("list").returncode == 0
    done = owner.flight("dump")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert owner.flight("show", "/nowhere/1.jsonl").stderr.count("\n") == 1
    assert owner.flight("show", "7").stderr.count("\n") == 1
    assert owner.flight("replay", ROOT / "setup.cfg").returncode == 1


@pytest.mark.long
def test_kill_9_of_the_kiosk_and_its_record_is_there_after_the_restart(owner: Owner) -> None:
    with owner.kiosk() as process:
        process.kill()
    done = owner.flight("dump")  # nobody is left to be asked: the ring itself has it
    assert done.returncode == 0 and Path(done.stdout.strip()).exists()
    assert "kioskd is not running" in done.stderr
    with owner.kiosk() as process:
        listed = owner.flight("list").stdout
        assert "crash" in listed and "asked for" in listed
        done = owner.flight("dump")  # by the daemon
        assert (done.returncode, done.stderr) == (0, "")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    replayed = owner.flight("replay")
    assert replayed.returncode == 0, replayed.stdout
    assert replayed.stdout.count("a kiosk begins") == 2
    everything = "".join(path.read_text() for path in (owner.state / "flight").iterdir())
    assert "never-to-be-seen" not in everything and "LinkChanged" in everything
    crashes = owner.flight("list").stdout.count("crash")
    with owner.kiosk():
        assert owner.flight("list").stdout.count("crash") == crashes, "a stop is no crash"
