"""Disks that are full or read-only (real mounts), and what the kernel's files tell of card, power, heat and HATs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kioskd.doctor import machine, sound
from kioskd.doctor.finding import Look, Verdict
from kioskd.doctor.patient import Patient

ROOT = Path(__file__).parents[2]
LOOK = """
import json, sys, trio
from pathlib import Path
from kioskd.doctor import machine
from kioskd.doctor.patient import Patient
patient = Patient(Path("/none"), root=Path(sys.argv[1]))
print(json.dumps([trio.run(getattr(machine, name), patient).verdict.value for name in sys.argv[2:]]))
"""


def in_own_mounts(script: str, folder: Path, *checks: str) -> list[str]:
    """The verdicts after `script` (shell, as root of a namespace of its own) has mounted something below `folder`."""
    look = f'"{sys.executable}" -c "$LOOK" "{folder}" {" ".join(checks)}'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", f"cd '{folder}'; {script}; cd '{ROOT}'; {look}"],
        capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LOOK": LOOK},
    )  # fmt: skip
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this machine gives nobody mounts of their own")
    assert done.returncode == 0, done.stderr
    verdicts: list[str] = json.loads(done.stdout)
    return verdicts


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "var/lib/kioskd").mkdir(parents=True)
    return tmp_path


def test_a_disk_with_room_is_fine(state: Path) -> None:
    small = "mount -t tmpfs -o size=150m none var"
    assert in_own_mounts(f"{small}; mkdir -p var/lib/kioskd", state, "disk", "writable") == ["pass", "pass"]


def test_a_full_disk_is_told(state: Path) -> None:
    full = "mount -t tmpfs -o size=9m none var; mkdir -p var/lib/kioskd; head -c 8m /dev/zero > var/lib/fill"
    assert in_own_mounts(full, state, "disk") == ["fail"]


def test_a_disk_without_free_inodes_is_full_too(state: Path) -> None:
    full = "mount -t tmpfs -o size=90m,nr_inodes=4 none var; mkdir -p var/lib/kioskd; touch var/last || true"
    assert in_own_mounts(full, state, "disk") == ["fail"]


def test_a_read_only_state_is_told(state: Path) -> None:
    bound = "mount --bind var/lib/kioskd var/lib/kioskd; mount -o remount,bind,ro var/lib/kioskd"
    assert in_own_mounts(bound, state, "writable") == ["fail"]


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


HOT = {"sys/class/thermal/thermal_zone0/temp": "81200\n"}
HAT = {"proc/device-tree/hat/product": "HiFiBerry DAC+\0", "proc/asound/cards": "--- no soundcards ---"}
RESET = "usb 1-1.2: reset full-speed USB device number 4 using dwc_otg\n"


@pytest.mark.parametrize(
    ("files", "check", "verdict", "words"),
    [
        ({"sys/fs/ext4/mmcblk0p2/errors_count": "3\n"}, machine.card, Verdict.FAIL, "counted 3 errors"),
        ({"sys/fs/ext4/mmcblk0p2/errors_count": "0\n"}, machine.card, Verdict.PASS, "no errors"),
        ({"sys/block/mmcblk0/device/pre_eol_info": "0x03\n"}, machine.card, Verdict.WARN, "mmcblk0"),
        ({"var/log/kern.log": "mmc0: error -110 whilst initialising\n"}, machine.card, Verdict.WARN, "error -110"),
        (
            {"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"},
            machine.power, Verdict.FAIL, "under-voltage",
        ),
        (HOT, machine.heat, Verdict.WARN, "81 °C"),
        ({"sys/class/thermal/thermal_zone0/temp": "45000\n"}, machine.heat, Verdict.PASS, "45 °C"),
        ({"var/log/kern.log": RESET * 3}, machine.usb, Verdict.WARN, "3 resets"),
        ({"var/log/kern.log": RESET}, machine.usb, Verdict.PASS, ""),
        (
            {"proc/mounts": "/dev/mmcblk0p2 / ext4 ro,errors=remount-ro 0 0\n"},
            machine.writable, Verdict.FAIL, "gone read-only",
        ),
        (HAT | {"boot/firmware/config.txt": "dtparam=spi=on\n"}, sound.overlay, Verdict.FAIL, "no overlay"),
        (HAT | {"boot/config.txt": "dtoverlay=hifiberry-dacplus\n"}, sound.overlay, Verdict.PASS, "HiFiBerry"),
        (HAT | {"boot/config.txt": "#dtoverlay=hifiberry-dacplus\n"}, sound.overlay, Verdict.FAIL, "no overlay"),
    ],
)  # fmt: skip
async def test_what_the_kernel_tells(
    files: dict[str, str],
    check: Callable[[Patient], Awaitable[Look]],
    verdict: Verdict,
    words: str,
    tmp_path: Path,
) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    found = await check(Patient(Path("/none"), root=tmp_path))
    assert (found.verdict, words in found.text) == (verdict, True), found
