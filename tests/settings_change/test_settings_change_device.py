"""What this machine lacks for new settings; who asks for them; and what takes them back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.config.load import parse
from kioskd.config.schema import Settings
from kioskd.settings_change.device import complaints, pin_holders, pins_of
from kioskd.settings_change.timer import ProcessTimer, SystemdTimer, TimerError
from kioskd.settings_change.who import asker

PATIENCE_S = 30


def settings(rest: str = "", key: str = "{environment: KEY}") -> Settings:
    return parse(f"endpoints: [{{name: a, url: wss://a/, model: m, key: {key}}}]\n{rest}", "f")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with one USB card that plays and records, and one that only plays."""
    asound = tmp_path / "proc" / "asound"
    for number, name in enumerate(("Headset", "HDMI")):
        (asound / f"card{number}").mkdir(parents=True)
        (asound / name).symlink_to(f"card{number}")
    (asound / "pcm").write_text(
        "00-00: USB Audio : USB Audio : playback 1 : capture 1\n01-03: HDMI 0 : HDMI 0 : playback 1\n"
    )
    return tmp_path / "proc"


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        ('microphone: "plughw:CARD=Headset,DEV=0"', ""),
        ('microphone: "plughw:CARD=Nope"', "no sound card Nope"),
        ('microphone: "hw:7,0"', "no sound card 7"),
        ('microphone: "plughw:CARD=HDMI,DEV=3"', "has no capture"),
        ('speaker: "hw:1,3"', ""),
        ('speaker: "hw:1,0"', "has no playback"),
        ('speaker: "plughw:HDMI"', ""),
        ("speaker: auto", ""),
        ('speaker: "pulse:nobody-knows"', ""),
        ('sounds: {sent: "/no/such.wav"}', "no/such.wav"),
    ],
)
def test_cards_and_files(proc: Path, audio: str, words: str) -> None:
    found = complaints(settings(f"audio: {{{audio}}}"), proc=proc, holders=dict)
    assert len(found) == bool(words)
    if words:
        assert words in found[0].message and found[0].key in ("audio.microphone", "audio.speaker", "audio.sounds.sent")


def test_pins_that_somebody_else_has(proc: Path) -> None:
    wanted = settings("panel: {button: {pin: GPIO5}, lamp: {kind: led, pins: [6]}}")
    assert pins_of(wanted) == {5, 6}
    (found,) = complaints(wanted, held=(6,), proc=proc, holders=lambda: {5: "spi0 CS0", 6: "lg", 7: "x"})
    assert str(found).startswith("panel.button.pin: GPIO5 is in use by spi0 CS0")
    assert complaints(wanted, ("audio.volume",), held=(6,), proc=proc, holders=lambda: {5: "x"}) == []


def test_the_kernel_s_list_of_pins_is_understood(tmp_path: Path) -> None:
    listed = tmp_path / "gpio"
    listed.write_text(
        "gpiochip0: GPIOs 512-569, parent: platform/fe200000.gpio, pinctrl-bcm2711:\n"
        " gpio-512 (ID_SDA              )\n"
        " gpio-519 (GPIO7               |spi0 CS1            ) out hi ACTIVE LOW\n"
        " gpio-529 (GPIO17              |lg                  ) in  hi IRQ\n"
        " gpio-530 (GPIO18              |                    ) in  hi\n"
    )
    assert pin_holders(listed) == {7: "spi0 CS1", 17: "lg"}


def test_keys_that_are_nowhere(proc: Path) -> None:
    def of(key: str, environ: dict[str, str] | None) -> int:
        return len(complaints(settings(key=key), proc=proc, environ=environ, holders=dict))

    assert of("{environment: KEY}", None) == 0  # not to be known
    assert of("{environment: KEY}", {}) == 1
    assert of("{environment: KEY}", {"KEY": "abc"}) == 0
    assert of("{credential: no-such-credential}", None) == 1
    assert of('{file: "/no/such/file"}', None) == 1


def test_only_what_changed_is_judged(proc: Path) -> None:
    wrong = settings('audio: {speaker: "plughw:CARD=Nope"}', '{file: "/no/such/file"}')
    assert complaints(wrong, ("audio.volume",), proc=proc, holders=dict) == []
    assert len(complaints(wrong, ("audio.speaker",), proc=proc, holders=dict)) == 1
    assert len(complaints(wrong, ("endpoints[0].key.file",), proc=proc, holders=dict)) == 1


# Who


def test_who_asks_is_found_through_sudo(tmp_path: Path) -> None:
    shell, login = os.getppid(), 900001
    for pid, parent, environ in ((shell, login, b"PATH=/bin\0"), (login, 1, b"A=b\0SSH_CONNECTION=192.0.2.7 5 x 22\0")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "environ").write_bytes(environ)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a ) b) S {parent} 1 1")
    assert asker({"SUDO_USER": "ann"}, tmp_path) == "ann from 192.0.2.7"
    assert asker({"SUDO_USER": "ann", "SSH_CONNECTION": "2001:db8::1 5 x 22"}, tmp_path) == "ann from 2001:db8::1"
    assert asker({"SUDO_USER": "a\nb\x1b[1m"}, tmp_path / "none") == "a?b??1m"


# Timers


@pytest.fixture
def timer(tmp_path: Path) -> Iterator[ProcessTimer]:
    timer = ProcessTimer(tmp_path / "timer")
    yield timer
    timer.disarm()


def until(reached: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_timer_runs_although_its_maker_is_gone(tmp_path: Path) -> None:
    done, note = tmp_path / "done", tmp_path / "timer"
    maker = (
        "import sys; from pathlib import Path; from kioskd.settings_change.timer import ProcessTimer;"
        f"ProcessTimer(Path({str(note)!r})).arm(0.3, ['touch', {str(done)!r}]); import os; os.killpg(0, 9)"
    )
    assert subprocess.run([sys.executable, "-c", maker], check=False, start_new_session=True).returncode == -9
    until(done)


def test_a_timer_that_was_disarmed_does_nothing(tmp_path: Path, timer: ProcessTimer) -> None:
    timer.arm(3600, ["touch", str(tmp_path / "done")])
    pid = int((tmp_path / "timer").read_text().split()[0])
    assert timer.armed()
    timer.disarm()
    assert not timer.armed() and os.waitpid(pid, 0)[1] == 15


def test_another_process_of_that_number_is_no_timer(tmp_path: Path, timer: ProcessTimer) -> None:
    (tmp_path / "timer").write_text(f"{os.getpid()} 1")
    assert not timer.armed()
    timer.disarm()  # and we live


def test_the_command_s_words_are_taken_as_they_are(tmp_path: Path, timer: ProcessTimer) -> None:
    odd = tmp_path / "a b; $(touch x) 'c"
    timer.arm(0, ["touch", str(odd)])
    until(odd)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that write down what they are called with."""
    for name, answer in (("systemd-run", "exit ${FAIL:-0}"), ("systemctl", 'echo "${STATE:-inactive}"')):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >>{tmp_path}/calls\n{answer}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path / "calls"


def test_systemd_s_timer_has_one_name_only(systemd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SystemdTimer().arm(30, ["/opt/kioskd/bin/python", "-m", "kioskd", "config", "revert", "7"])
    stop, run = systemd.read_text().splitlines()
    assert stop == "systemctl --quiet stop kioskd-config-revert.timer"
    assert run.startswith("systemd-run --quiet --collect --unit=kioskd-config-revert --on-active=30s ")
    assert run.endswith("-- /opt/kioskd/bin/python -m kioskd config revert 7")
    assert not SystemdTimer().armed()
    monkeypatch.setenv("STATE", "active")
    assert SystemdTimer().armed()


def test_without_a_timer_there_is_no_change(systemd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(TimerError, match="could not be taken back"):
        SystemdTimer().arm(30, ["true"])
