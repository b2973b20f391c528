"""The commands at their door: exit codes, one clear line, no traceback, no needless import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.__main__ import COMMANDS, main
from kioskd.audio.wav import write_wav

ROOT = Path(__file__).parents[2]

GOOD = """
endpoints:
  - name: here
    url: "ws://127.0.0.1:9/v1/realtime"
    model: m
    key: {environment: KIOSKD_TEST_KEY}
"""

FIVE_MISTAKES = """
endpoints:
  - name: here
    url: "ws://127.0.0.1:9/v1/realtime"
    model: 7
    dialect: klingon
conversation:
  pre_rol_ms: 300
  answer_timeout_s: -1
panel:
  button: {debounce_ms: soon}
"""


def kioskd(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an owner would."""
    return subprocess.run(
        [sys.executable, "-m", "kioskd", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "kioskd.yaml"
    path.write_text(GOOD)
    return path


def test_check_accepts_a_good_file(config: Path) -> None:
    done = kioskd("check", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(config) in done.stdout


def test_check_accepts_what_we_ship() -> None:
    for path in (ROOT / "config").glob("*.yaml"):
        if path.name not in ("demo-faq.yaml", "demo-faults.yaml"):
            assert kioskd("check", path).returncode == 0, path


def test_check_names_a_sound_that_can_not_be_played(config: Path, tmp_path: Path) -> None:
    broken = tmp_path / "sorry.wav"
    broken.write_text("no sound at all")
    config.write_text(config.read_text() + f'audio: {{sounds: {{sorry: "{broken}"}}}}\n')
    done = kioskd("check", config)
    assert done.returncode == 78
    assert "audio.sounds.sorry" in done.stdout and str(broken) in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_check_names_every_mistake_with_its_line(config: Path) -> None:
    config.write_text(FIVE_MISTAKES)
    done = kioskd("check", config)
    assert done.returncode == 78
    lines = done.stdout.splitlines()
    assert [line.split(":")[1] for line in lines] == ["5", "6", "8", "9", "11"]
    assert all(line.startswith(f"{config}:") for line in lines)
    assert "pre_roll_ms" in lines[2]


@pytest.mark.parametrize("command", ["run", "talk"])
def test_bad_settings_end_a_command_in_plain_lines(command: str, config: Path) -> None:
    config.write_text(FIVE_MISTAKES)
    question = ["q.wav"] if command == "talk" else []
    done = kioskd(command, *question, "--config", config)
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 5


def test_a_missing_settings_file_is_one_line(tmp_path: Path) -> None:
    done = kioskd("run", "--config", tmp_path / "none.yaml")
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1 and "none.yaml" in done.stderr


def test_talk_with_a_wav_of_text_is_one_line(config: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    done = kioskd("talk", text, "--config", config)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "text.wav" in done.stderr


def test_talk_with_an_unknown_endpoint_names_those_that_there_are(config: Path) -> None:
    done = kioskd("talk", "q.wav", "--config", config, "--endpoint", "there")
    assert done.returncode == 2
    assert "there is here" in done.stderr


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kioskd", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"numpy", "httpx", "gpiozero", "alsaaudio", "trio", "yaml", "soundfile", "hypercorn"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: kioskd {command}" in said and "Exit codes" in said


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    assert kioskd("dance").returncode == 2


def test_a_command_is_imported_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kioskd", "run", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    others = {f"kioskd.commands.{name.replace('-', '_')}" for name in COMMANDS if name != "run"}
    assert "kioskd.commands.exits" in imported and not imported & others


def test_talk_without_a_private_key_ends_with_the_remedy(config: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("not-private-at-all")
    key.chmod(0o644)
    config.write_text(GOOD.replace("environment: KIOSKD_TEST_KEY", f'file: "{key}"'))
    question = tmp_path / "question.wav"
    write_wav(question, b"\1\0" * 12_000)
    done = kioskd("talk", question, "--config", config)
    assert done.returncode == 1
    assert f"chmod 600 {key}" in done.stderr and "not-private" not in done.stderr and "Traceback" not in done.stderr


def test_talk_with_nobody_there_ends_in_an_apology(config: Path, tmp_path: Path) -> None:
    config.write_text(GOOD + "conversation: {answer_timeout_s: 1}\n")
    question = tmp_path / "question.wav"
    write_wav(question, b"\1\0" * 12_000)
    done = kioskd("talk", question, "--config", config, KIOSKD_TEST_KEY="anything")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr and "Traceback" not in done.stderr
