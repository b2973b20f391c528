"""scripts/install: whatever ends a run, the kiosk is left with a version that was found well, whole units, no rubbish.

Its own functions, on a folder in place of the machine; what touches the machine itself is replaced.
"""

import os
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "scripts/install").read_text()
FUNCTIONS, RUN = SCRIPT.split('\nparse "$@"\n')
UPGRADE = ROOT / "scripts/fleet/roles/kioskd/tasks/upgrade.yml"

STUBS = """
OPT=$1 UNTRIED=$OPT/untried SETTINGS=$OPT/kioskd.yaml action=upgrade
work=$(mktemp -d -p "$OPT") read_only_again=() unfinished=''
trap finish EXIT
nothing() { :; }
for name in need_root need_writable need_debian_packages make_user make_settings ask_for_key booted journalctl
do eval "$name() { nothing; }"; done
make_version() { version=2-new; mkdir -p "$OPT/versions/2-new/bin"; touch "$OPT/versions/2-new/complete"; }
use_version() { ln -sfn "versions/$1" "$OPT/current"; }
health() { echo 0; }
systemctl() { case "$*" in *is-active*) [ -n "${RUNNING-}" ];; esac; }
"""


def run(
    opt: Path, command: str, *, stderr: int = subprocess.PIPE, running: bool = True
) -> subprocess.CompletedProcess[str]:
    """bash with the functions, the stubs, and then the command."""
    return subprocess.run(
        ["bash", "-c", f"{FUNCTIONS}\n{STUBS}\n{command}", str(ROOT / "scripts/install"), str(opt)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
        timeout=60,
        env=dict(os.environ, RUNNING="yes" if running else ""),
    )


def tries(new: str, old: str = "return 0") -> str:
    """An upgrade from 1-old to 2-new; what happens while each is waited for to get healthy."""
    return f'gets_healthy() {{ if [ "$(installed_version)" = 2-new ]; then {new}; else {old}; fi; }}; install_kioskd'


def in_use(opt: Path) -> str:
    return (opt / "current").readlink().name


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """/opt/kioskd of a kiosk that runs 1-old."""
    for version in ("0-older", "1-old"):
        (tmp_path / "versions" / version / "bin").mkdir(parents=True)
        (tmp_path / "versions" / version / "complete").touch()
        kioskd = tmp_path / "versions" / version / "bin/kioskd"
        kioskd.write_text("#!/bin/sh\n")
        kioskd.chmod(0o755)
    (tmp_path / "bin").symlink_to("versions/1-old/bin")
    (tmp_path / "current").symlink_to("versions/1-old")
    return tmp_path


def left(opt: Path) -> set[str]:
    return {path.name for path in opt.iterdir()} - {"bin", "current"}


def test_a_version_that_gets_healthy_stays(opt: Path) -> None:
    done = run(opt, tries("return 0"))
    assert done.returncode == 0, done.stderr
    assert "installed: 2-new (before: 1-old)" in done.stderr
    assert (in_use(opt), left(opt)) == ("2-new", {"versions"})
    assert {path.name for path in (opt / "versions").iterdir()} == {"1-old", "2-new"}


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_the_version_before_comes_back(opt: Path, running: bool) -> None:
    done = run(opt, tries("return 1"), running=running)
    assert done.returncode == 1 and "1-old runs again" in done.stderr, done.stderr
    assert (in_use(opt), left(opt)) == ("1-old", {"versions"})
    assert not (opt / "versions/2-new").exists()


@pytest.mark.parametrize("name", ["HUP", "PIPE", "INT", "TERM"])
def test_no_signal_ends_a_trial(opt: Path, name: str) -> None:
    done = run(opt, tries(f"kill -{name} $$; return 1", f"kill -{name} $$; return 1"))
    assert done.returncode == 1 and "1-old runs again" in done.stderr, done.stderr
    assert (in_use(opt), left(opt)) == ("1-old", {"versions"})


def test_a_dead_line_ends_no_trial(opt: Path) -> None:
    """Nobody reads any more: from the start, where nothing has changed; or in the trial, which goes on to its end."""
    reader, writer = os.pipe()
    os.close(reader)
    assert run(opt, tries("return 0"), stderr=writer).returncode == -signal.SIGPIPE
    assert in_use(opt) == "1-old"
    # It goes dead later: the sockets fail and the old version does too, so all that a trial can say is said.
    going_dead = "systemctl() { case $* in restart*tool.socket*) exec 2>&3; false;; esac; }; exec 3>&2 2>/dev/null; "
    run(opt, going_dead + tries("return 1", "return 1"), stderr=writer)
    os.close(writer)
    assert (in_use(opt), left(opt)) == ("1-old", {"versions"})
    assert not (opt / "versions/2-new").exists()


def test_after_the_trial_signals_end_it_again(opt: Path) -> None:
    (opt / "versions/1-old/bin/kioskd").write_text("#!/bin/sh\necho doctor\nkill -TERM $PPID\n")
    assert run(opt, tries("return 0")).returncode == -signal.SIGTERM
    assert in_use(opt) == "2-new"


def test_after_a_power_cut_the_next_run_knows_where_to_go_back_to(opt: Path) -> None:
    assert run(opt, tries("kill -KILL $$")).returncode == -signal.SIGKILL
    assert in_use(opt) == "2-new"
    again = run(opt, "health() { echo 2; }; " + tries('echo "wanted: $1"; return 1'))
    assert "1-old runs again" in again.stderr, again.stderr
    # How the untried one was is no measure.
    assert "wanted: 1" in again.stdout
    assert (in_use(opt), (opt / "untried").exists()) == ("1-old", False)


def test_a_version_that_is_not_whole_is_none_to_go_back_to(opt: Path) -> None:
    for noted in ("", "1-gone\n", "../versions\n"):
        (opt / "untried").write_text(noted)
        assert run(opt, "version_before").stdout == "1-old\n"
    (opt / "untried").write_text("0-older\n")
    assert run(opt, "version_before").stdout == "0-older\n"


@pytest.mark.parametrize("end", ["die 'no network'", "kill -INT $$", "kill -HUP $$"])
def test_half_a_version_is_taken_away(opt: Path, end: str) -> None:
    wheels = opt / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "kioskd-3-py3-none-any.whl", "w") as wheel:
        wheel.writestr("kioskd/__init__.py", "")
    whole = FUNCTIONS + STUBS.replace("make_version()", "unused()") + f"wheelhouse=$2; pip() {{ {end}; }}; make_version"
    done = subprocess.run(
        ["bash", "-c", whole, str(ROOT / "scripts/install"), str(opt), str(wheels)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0 and "making" in done.stderr, done.stderr
    assert {path.name for path in (opt / "versions").iterdir()} == {"0-older", "1-old"}


def test_a_file_is_put_whole(opt: Path) -> None:
    """A power cut anywhere within leaves the old one; its written neighbour is no unit to systemd."""
    new, units = opt / "kioskd.service", opt / "units"
    new.write_text("new")
    units.mkdir()
    (units / "kioskd.service").write_text("old")
    command = f'put "{units}" "{new}"; cat "{units}/kioskd.service"'
    assert run(opt, "mv() { kill -KILL $$; }; " + command).returncode == -signal.SIGKILL
    assert (units / "kioskd.service").read_text() == "old"
    assert run(opt, command).stdout == "new"
    assert [path.name for path in units.iterdir()] == ["kioskd.service"]
    assert (units / "kioskd.service").stat().st_mode & 0o777 == 0o644


def test_the_fleets_wheelhouse_goes_also_after_a_failure() -> None:
    (block,) = (task for task in yaml.safe_load(UPGRADE.read_text()) if "block" in task)
    (clear,) = block["always"]
    assert clear["ansible.builtin.file"] == {"path": "{{ kioskd_unpacked }}", "state": "absent"}
