"""The units: what systemd itself says of them, and the reboot rung's budget."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kioskd.commands import exits

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
RUNG = SYSTEMD / "reboot" / "kioskd-reboot"
UNITS = [
    SYSTEMD / "kioskd.service",
    *sorted((SYSTEMD / "reboot").glob("*.*")),
    *sorted((SYSTEMD / "tools").glob("*.*")),
]
DAY_S = 86_400

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze"
)


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def service() -> dict[str, list[str]]:
    """The settings of kioskd.service; a key may stand there several times."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / "kioskd.service").read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root in which everything is installed, with this machine's systemd."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, units)
    drop_ins = units / "kioskd.service.d"
    drop_ins.mkdir()
    for drop_in in ("reboot.conf", "encrypted-key.conf"):
        shutil.copy(SYSTEMD / "drop-ins" / drop_in, drop_ins)
    for program in ("opt/kioskd/bin/kioskd", "usr/bin/sh"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "bin").symlink_to("usr/bin")
    library = next(place for place in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")) if place.exists())
    shutil.copytree(library, tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    return tmp_path


@needs_systemd
def test_the_service_exposes_little() -> None:
    done = run(
        "systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", SYSTEMD / "kioskd.service"
    )
    assert done.returncode == 0, done.stdout[-300:]
    assert done.stderr == ""


@needs_systemd
@pytest.mark.parametrize(("unit", "threshold"), [("kioskd-tool@.service", 3), ("kioskd-tool-net@.service", 12)])
def test_an_action_exposes_next_to_nothing(unit: str, threshold: int) -> None:
    place, limit = SYSTEMD / "tools" / unit, f"--threshold={threshold}"
    done = run("systemd-analyze", "security", "--offline=yes", limit, "--no-pager", place)
    assert done.returncode == 0, done.stdout[-300:]
    assert done.stderr == ""


def test_only_the_network_differs_between_the_two_kinds_of_action() -> None:
    quiet, network = (
        {line for line in (SYSTEMD / "tools" / name).read_text().splitlines() if line and line[0] not in "#["}
        for name in ("kioskd-tool@.service", "kioskd-tool-net@.service")
    )
    assert {line.partition("=")[0] for line in quiet ^ network} == {
        "Description",
        "ExecStart",
        "IPAddressDeny",
        "PrivateNetwork",
        "RestrictAddressFamilies",
    }


@needs_systemd
def test_systemd_knows_every_line(root: Path) -> None:
    done = run("systemd-analyze", "verify", f"--root={root}", "--man=no", *(unit.name for unit in UNITS))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@needs_systemd
def test_a_line_that_systemd_does_not_know_is_found(root: Path) -> None:
    unit = root / "etc/systemd/system/kioskd.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSec="))
    assert "WatchDogSec" in run("systemd-analyze", "verify", f"--root={root}", "--man=no", "kioskd.service").stderr


def test_what_stays_open_is_explained() -> None:
    text = (SYSTEMD / "kioskd.service").read_text()
    for word in ("IPAddressDeny", "AF_NETLINK", "PrivateDevices", "realtime", "/proc", "RootDirectory"):
        assert word in text.partition("# Hardening")[2].partition("NoNewPrivileges")[0]


def test_nothing_waits_for_the_network_or_the_clock() -> None:
    waits = " ".join(service()["After"] + service()["Wants"]) + " ".join(service().get("Requires", []))
    assert "network" not in waits
    assert "time-" not in waits


def test_the_service_and_the_daemon_agree() -> None:
    unit = service()
    assert unit["RestartPreventExitStatus"] == [str(exits.BAD_SETTINGS)]
    assert unit["LoadCredential"][0].startswith("api-key:")
    assert "/" not in unit["LoadCredential"][0]  # a path that doesn't exist keeps the service from starting
    longest_grace_s = 60  # conversation.stop_grace_s
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) > longest_grace_s


def test_every_file_of_the_folder_is_shipped() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    shipped = {word for files in setup["options.data_files"].values() for word in files.split()}
    assert {str(path.relative_to(ROOT)) for path in SYSTEMD.rglob("*") if path.is_file()} <= shipped


class Machine:
    """A machine with a ledger, whose systemctl only writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.proc = folder / "proc"
        self.asked = folder / "asked"
        self.bin = folder / "bin"
        for directory in (self.state, self.proc / "sys/kernel/random", self.bin):
            directory.mkdir(parents=True)
        self.boots = 0
        self.restarts = 5
        self.boot()
        self.program(
            "systemctl",
            'case "$*" in *NRestarts*) echo "$RESTARTS" ;; *Status*) echo "$STATUS" ;; is-failed*) exit $LIVES ;;'
            ' *) echo "$*" >>"$ASKED" ;; esac',
        )
        self.program("sleep", 'echo "sleep $*" >>"$ASKED"')
        self.program("sync", ":")

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def boot(self) -> None:
        self.boots += 1
        (self.proc / "sys/kernel/random/boot_id").write_text(f"boot-{self.boots}\n")
        self.after(0)

    def after(self, uptime_s: int) -> None:
        (self.proc / "uptime").write_text(f"{uptime_s}.25 9.0\n")

    def run(self, verb: str, status: int = 1, lives: int = 0) -> list[str]:
        self.asked.unlink(missing_ok=True)
        done = run(
            "sh",
            RUNG,
            verb,
            PATH=f"{self.bin}:{os.environ['PATH']}",
            STATE_DIRECTORY=str(self.state),
            KIOSKD_PROC=str(self.proc),
            STATUS=str(status),
            LIVES=str(lives),
            RESTARTS=str(self.restarts),
            ASKED=str(self.asked),
        )
        assert done.returncode == 0, done.stderr
        return self.asked.read_text().splitlines() if self.asked.exists() else []


START = ["reset-failed kioskd.service", "start --no-block kioskd.service"]
NO_BUDGET = ["sleep 600", *START]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_two_reboots_a_day_and_no_more(machine: Machine) -> None:
    for _ in range(2):
        machine.after(200)
        assert machine.run("rung") == ["reboot"]
        machine.boot()
    for _ in range(3):
        machine.after(200)
        assert machine.run("rung") == NO_BUDGET
        machine.boot()


def test_a_reboot_is_forgiven_after_a_day_of_running(machine: Machine) -> None:
    machine.after(100)
    machine.run("rung")
    machine.boot()
    machine.after(3_600)
    assert machine.run("rung") == ["reboot"]
    machine.boot()
    for hour in range(1, 24):
        machine.after(hour * 3_600)
        machine.run("credit")
        assert len((machine.state / "ledger").read_text().splitlines()) == (3 if hour < 23 else 2)
    assert machine.run("rung") == ["reboot"]
    assert machine.run("rung") == NO_BUDGET
    machine.after(3 * DAY_S)
    machine.run("credit")
    assert not (machine.state / "ledger").exists()


def test_a_machine_that_is_switched_off_at_night_is_forgiven_too(machine: Machine) -> None:
    machine.run("rung")
    machine.run("rung")
    for _ in range(3):
        machine.boot()
        for hour in range(1, 10):
            machine.after(hour * 3_600)
            machine.run("credit")
    assert machine.run("rung") == ["reboot"]


def test_a_budget_that_cannot_be_written_down_is_none(machine: Machine) -> None:
    (machine.state / "ledger.new").mkdir()
    assert machine.run("rung") == NO_BUDGET


@pytest.mark.parametrize("status", [78, 243])
def test_what_no_reboot_mends_gets_none(machine: Machine, status: int) -> None:
    assert machine.run("rung", status=status) == []


def test_a_failure_that_systemd_restarts_after_is_left_to_it(machine: Machine) -> None:
    assert machine.run("rung", lives=1) == []


def test_an_owner_who_restarts_it_often_gets_no_reboot(machine: Machine) -> None:
    machine.restarts = 0
    assert machine.run("rung") == START
