"""kioskd config, as an owner types it, and as it is called over a plain ssh: with a running kiosk, and without one."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = """\
# the lobby's
endpoints:
  - name: here
    url: "ws://127.0.0.1:{port}/v1/realtime"   # upstairs
    model: m
    key: {{environment: KIOSKD_TEST_KEY}}
audio: {{microphone: "plughw:CARD=NoSuchCard", speaker: "plughw:CARD=NoSuchCard"}}
panel: {{lamp: {{kind: none, pins: []}}}}
"""
PATIENCE_S = 60


class Machine:
    """Settings in a directory, and what is run there."""

    def __init__(self, root: Path, port: int) -> None:
        self.file, self.text = root / "kioskd.yaml", TEXT.format(port=port)
        self.file.write_text(self.text)
        for name in ("run", "state"):
            (root / name).mkdir()
        self.environ = {
            **os.environ,
            "RUNTIME_DIRECTORY": str(root / "run"),
            "STATE_DIRECTORY": str(root / "state"),
            "GPIOZERO_PIN_FACTORY": "mock",
            "KIOSKD_TEST_KEY": "not-a-secret",
            "SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22",
            "SUDO_USER": "ann",
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "kioskd", *arguments],
            cwd=ROOT, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def config(self, verb: str, *arguments: str, given: str = "") -> tuple[int, str, str]:
        command = [sys.executable, "-m", "kioskd", "config", verb, "--config", str(self.file), *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environ, text=True, input=given, capture_output=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def json(self, verb: str, *arguments: str, given: str = "") -> object:
        return json.loads(self.config(verb, "--json", *arguments, given=given)[1])

    def until(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.file.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, 9)


def test_show_is_the_file_itself(machine: Machine) -> None:
    assert machine.config("show") == (0, machine.text, "")
    code, out, _ = machine.config("show", "--effective")
    assert code == 0 and "audio.volume: 80" in out and "# default" in out and f"# {machine.file}:4" in out
    assert machine.json("show")["audio.volume"] == {"value": 80, "origin": "default"}  # type: ignore[index]


def test_get(machine: Machine) -> None:
    assert machine.config("get", "endpoints.here.model")[:2] == (0, "m\n")
    assert machine.config("get", "audio.volume")[:2] == (0, "80\n")
    assert machine.json("get", "endpoints[0].model")["line"] == 5  # type: ignore[index]
    code, out, err = machine.config("get", "audio.volum")
    assert (code, out) == (2, "") and "did you mean audio.volume?" in err


def test_check_names_lines_and_what_is_missing_here(machine: Machine) -> None:
    code, out, _ = machine.config("check")
    assert code == 1 and "audio.speaker: there is no sound card NoSuchCard" in out
    code, _, err = machine.config("check", "-", given=machine.text.replace("model:", "modell:"))
    assert code == 78 and "<stdin>:5: endpoints[0].modell: unknown; did you mean model?" in err
    good = machine.text.replace("plughw:CARD=NoSuchCard", "default")
    assert machine.config("check", "-", given=good)[:2] == (0, "<stdin>: valid, and fit for this machine\n")


def test_a_change_over_ssh_and_back(machine: Machine) -> None:
    code, out, _ = machine.config("set", "audio.volume=40", "log.level=debug")
    assert code == 0 and out.startswith("version 2 is in place (audio.volume, log.level); kioskd is not running")
    assert machine.file.read_text().startswith("# the lobby's\n") and "# upstairs" in machine.file.read_text()
    assert machine.config("diff")[0] == 1
    history = machine.json("history")
    assert isinstance(history, list) and [each["who"] for each in history] == ["unknown", "ann from 192.0.2.7"]
    assert "audio.volume" in history[1]["changed"] and "40" not in json.dumps(history[1]["changed"])
    assert [each["counts"] for each in history] == [False, True]
    code, out, _ = machine.config("rollback")
    assert code == 0 and machine.file.read_text() == machine.text
    assert machine.config("diff")[:2] == (0, "")


def test_apply_and_diff_take_the_standard_input(machine: Machine) -> None:
    new = machine.text.replace("audio: {", "audio: {volume: 7, ")
    differing = machine.json("diff", "-", given=new)
    assert isinstance(differing, dict) and differing["changed"] == ["audio.volume"]
    assert machine.config("diff", "-", given=machine.text)[0] == 0
    done = machine.json("apply", "-", given=new)
    assert done == {
        "result": "untried", "version": 2, "changed": ["audio.volume"],
        "why": "kioskd is not running: it is tried at its next start",
    }  # fmt: skip
    again = machine.json("apply", given=new)
    assert isinstance(again, dict) and again["result"] == "unchanged"


@pytest.mark.parametrize(
    ("verb", "arguments", "code", "words"),
    [
        ("set", ["audio.volume=400"], 78, "must be a whole number from 0 to 100, not 400"),
        ("set", ["audio.volume"], 2, "no KEY=VALUE"),
        ("set", ["audio.speaker=plughw:CARD=Other"], 1, "there is no sound card Other"),
        ("set", ["audio.volume=4", "--probation", "0"], 2, "--probation"),
        ("apply", ["/no/such/file"], 1, "/no/such/file: there is no such file"),
        ("confirm", [], 1, "nothing to be confirmed"),
        ("rollback", [], 1, "no version before"),
        ("rollback", ["99"], 1, "there is no version 99"),
        ("set", ["audio.volume=4", "--store", "/proc/nowhere"], 1, "/proc/nowhere"),
    ],
)
def test_what_cannot_be_has_a_line_and_a_code(
    machine: Machine, verb: str, arguments: list[str], code: int, words: str
) -> None:
    found, out, err = machine.config(verb, *arguments)
    assert (found, out) == (code, "") and words in err
    assert machine.file.read_text() == machine.text


def test_edit_opens_an_editor_and_checks(machine: Machine) -> None:
    machine.environ["EDITOR"] = "sed -i s/upstairs/downstairs/"
    assert machine.config("edit")[0] == 0 and "# downstairs" in machine.file.read_text()
    machine.environ["EDITOR"] = "sed -i s/model/modell/"
    assert machine.config("edit")[0] == 78 and "modell" not in machine.file.read_text()


@pytest.mark.parametrize(
    ("editor", "words"),
    [
        ("no-such-editor", "no-such-editor: No such file or directory"),
        ("sed 's/a", "EDITOR=sed 's/a: No closing quotation"),
        ("false", "left with an error"),
        ("rm", "kioskd.yaml: No such file or directory"),
    ],
)
def test_an_editor_that_does_not_work_is_told_in_a_line(machine: Machine, editor: str, words: str) -> None:
    machine.environ["EDITOR"] = editor
    code, out, err = machine.config("edit")
    assert (code, out) == (1, "") and words in err and "nothing is changed" in err
    assert machine.file.read_text() == machine.text


@pytest.mark.parametrize(
    ("editor", "code", "words"),
    [("sed -i s/model/modell/", 78, "modell"), ("sed -i s/NoSuchCard/Other/", 1, "no sound card Other")],
)
def test_what_was_written_in_an_editor_is_not_lost_with_a_refusal(
    machine: Machine, tmp_path: Path, editor: str, code: int, words: str
) -> None:
    machine.environ |= {"EDITOR": editor, "TMPDIR": str(tmp_path)}
    found, _, err = machine.config("edit")
    assert found == code and words in err
    draft = Path(err.split("sudo kioskd config apply ")[1].split("\n")[0])
    assert draft.is_relative_to(tmp_path) and draft.read_text() != machine.text
    machine.environ["EDITOR"] = "true"  # nothing written, nothing kept
    assert "is kept" not in machine.config("edit")[2] and list(tmp_path.glob("kioskd-*")) == [draft.parent]


def test_ctrl_d_at_the_editor_s_question_is_a_no(machine: Machine) -> None:
    machine.environ["EDITOR"] = "sed -i s/model/modell/"
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"\x04")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kioskd", "config", "edit", "--config", str(machine.file)],
            cwd=ROOT, env=machine.environ, stdin=terminal, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert done.returncode == 78 and "Traceback" not in done.stderr and "nothing is changed" in done.stderr
    assert machine.file.read_text() == machine.text


def test_migrate_leaves_the_layout_of_today_alone(machine: Machine) -> None:
    assert machine.config("migrate")[:2] == (0, "nothing to change: these are the settings already\n")


def test_settle_before_a_start_repairs_what_cannot_be_read(machine: Machine) -> None:
    assert machine.config("settle")[0] == 0
    machine.file.write_text("endpoints: [")
    code, out, _ = machine.config("settle")
    assert code == 0 and "version 1 counts instead" in out and machine.file.read_text() == machine.text


def test_the_daemon_s_own_files_are_enough_to_settle_quickly(machine: Machine) -> None:
    """It stands before every start: no sound, no TLS, no event loop is brought in."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kioskd", "config", "settle", "--config", str(machine.file)],
        capture_output=True, text=True, cwd=ROOT, env=machine.environ, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "yaml" in imported and not imported & {
        "numpy",
        "gpiozero",
        "alsaaudio",
        "trio",
        "ssl",
        "ruamel",
        "soundfile",
    }


def test_the_service_settles_before_it_starts_and_starts_whatever_comes_of_it(machine: Machine) -> None:
    lines = (ROOT / "systemd" / "kioskd.service").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("ExecStart="))
    settle = lines.index("ExecStartPre=-+/opt/kioskd/bin/kioskd config settle")  # - ignores its end, + is for root
    assert settle < start and lines[start].endswith("--config /etc/kioskd/kioskd.yaml")


# With a kiosk that runs, an endpoint, and time


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Machine]:
    """A kiosk without sound card, connected to the embedded endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machine = Machine(tmp_path, port)
    running = [
        machine.start("simulate", "--port", str(port)),
        machine.start("run", "--config", str(machine.file)),
    ]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while link(machine) != "up":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield machine
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(PATIENCE_S)


def status(machine: Machine) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "kioskd", "status", "--json"],
        cwd=ROOT, env=machine.environ, text=True, capture_output=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def link(machine: Machine) -> str:
    found = status(machine).get("link")
    return str(found["state"]) if isinstance(found, dict) else ""


@pytest.mark.long
def test_a_running_kiosk_keeps_what_is_good_and_takes_back_what_is_not(alive: Machine) -> None:
    before = status(alive)["settings"]
    code, out, _ = alive.config("set", "conversation.instructions=Be brief: always.")
    assert (code, out) == (0, "version 2 counts (conversation.instructions)\n")
    assert status(alive)["settings"] != before
    good = alive.file.read_text()
    nowhere = "endpoints.here.url=ws://127.0.0.1:9/v1/realtime"
    code, out, _ = alive.config("set", nowhere, "--probation", "4s")
    assert code == 3 and "Connection refused" in out and alive.file.read_text() == good
    code, _, err = alive.config("set", nowhere, "--probe")
    assert code == 1 and "no session comes up" in err and alive.file.read_text() == good
    assert alive.config("set", "endpoints.here.voice=ash", "--probe")[0] == 0


@pytest.mark.long
def test_the_line_breaks_and_the_timer_takes_back(alive: Machine) -> None:
    maker = alive.start(
        "config", "set", "--config", str(alive.file), "--probation", "3s", "endpoints.here.url=ws://127.0.0.1:9/x"
    )
    alive.until("127.0.0.1:9/x")
    maker.kill()
    maker.wait()
    alive.until("/v1/realtime")
    assert alive.file.read_text() == alive.text
    history = alive.json("history")
    assert isinstance(history, list) and history[-1]["outcome"] == "reverted"


@pytest.mark.long
def test_nobody_confirms_and_meanwhile_nobody_else_may(alive: Machine) -> None:
    code, out, _ = alive.config("set", "audio.volume=40", "--confirm", "--probation", "6s")
    assert code == 0 and "sudo kioskd config confirm" in out and "volume" in alive.file.read_text()
    code, _, err = alive.config("set", "audio.volume=50")
    assert code == 4 and "version 2 of ann from 192.0.2.7 is still on trial" in err
    deadline = time.monotonic() + PATIENCE_S
    while "volume" in alive.file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert alive.config("set", "audio.volume=40", "--confirm")[0] == 0
    assert alive.config("confirm")[0] == 0
    assert alive.json("history")[-1]["outcome"] == "kept"  # type: ignore[index]
