"""The machine below: disks and SD card, power, heat, USB."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import trio

from kioskd.doctor.finding import Look, failed, passed, skipped, warned
from kioskd.doctor.patient import Patient

_FULL_BYTES, _LOW_BYTES = 8 * 2**20, 100 * 2**20  # less: nothing can be written soon; a log rotation away from that
_WRITTEN = ("/var/lib/kioskd", "/var/log", "/run", "/tmp")
_STATE = "/var/lib/kioskd"
_WARM_C, _HOT_C = 75.0, 80.0  # a Pi slows down at 80 and harder at 85
_COMMAND_S = 10.0
_MANY_RESETS = 3
_THROTTLED = {
    0: "under-voltage now",
    2: "slowed down now",
    16: "under-voltage since the start",
    18: "slowed down before",
}


async def disk(patient: Patient) -> Look:
    """Is there room to write?"""
    low = []
    for place in _WRITTEN:
        path = _existing(patient.path(place))
        found = os.statvfs(path)
        free = found.f_bavail * found.f_frsize
        if free < _FULL_BYTES or (found.f_files and found.f_favail == 0):
            return failed(
                f"{path} is full",
                f"sudo du -xh --max-depth=2 {path} | sort -h | tail; sudo journalctl --vacuum-size=50M",
            )
        if free < _LOW_BYTES and found.f_blocks * found.f_frsize > 2 * _LOW_BYTES:
            low.append(f"{path} has {free // 2**20} MB left")
    if low:
        return warned(low[0], "sudo journalctl --vacuum-size=50M; sudo apt-get clean")
    return passed("there is room")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


async def writable(patient: Patient) -> Look:
    """Can the state be written, or has a failing card made its file system read-only?"""
    for line in (patient.read("/proc/mounts") or "").splitlines():
        device, place, kind, options = line.split()[:4]
        broken = "errors=remount-ro" in options or "emergency_ro" in options
        if device.startswith("/dev/") and "ro" in options.split(",") and broken and kind.startswith("ext"):
            return failed(f"{place} ({device}) has gone read-only", f"journalctl -k | grep -i '{Path(device).name}'")
    directory = _existing(patient.path(_STATE))
    if os.geteuid() != 0 and not os.access(directory, os.W_OK):
        return skipped(f"{directory} is another user's: run it with sudo")
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as probe:
            probe.write(b"probe" * 1000)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return failed(
            f"{directory} can't be written: {error.strerror}", f"mount | grep ' {directory} '; df -h {directory}"
        )
    return passed(f"{directory} can be written")


async def card(patient: Patient) -> Look:
    """Does the SD card (or disk) report errors?"""
    for counter in sorted(patient.path("/sys/fs/ext4").glob("*/errors_count")):
        count = patient.read(f"/sys/fs/ext4/{counter.parent.name}/errors_count") or "0"
        if count.isdecimal() and int(count):
            device = counter.parent.name
            return failed(
                f"ext4 on {device} has counted {count} errors", f"sudo touch /forcefsck; journalctl -k | grep {device}"
            )
    for life in sorted(patient.path("/sys/block").glob("mmcblk*/device/pre_eol_info")):
        if life.read_text().strip() in ("0x02", "0x03"):
            return warned(f"{life.parents[1].name} is near the end of its life", "replace the card; copy it first")
    kernel = await _kernel_log(patient)
    errors = re.findall(
        r"^.*(?:mmc\d|mmcblk\d|sd[a-z]\b).*(?:I/O error|error -\d+|CRC|timeout).*$", kernel, re.MULTILINE | re.I
    )
    if errors:
        return warned(
            f"the kernel reports {len(errors)} errors of the card: {errors[-1].strip()[:100]}",
            "journalctl -k | grep -i mmc",
        )
    return passed("no errors")


async def power(patient: Patient) -> Look:
    """Is the supply too weak?"""
    known = False
    for label in sorted(patient.path("/sys/class/hwmon").glob("hwmon*/name")):
        if label.read_text().strip() == "rpi_volt":
            known = True
            if patient.read(f"/sys/class/hwmon/{label.parent.name}/in0_lcrit_alarm") == "1":
                return failed("under-voltage: the power supply or its cable is too weak", "vcgencmd get_throttled")
    flags = await trio.to_thread.run_sync(_throttled, abandon_on_cancel=True)
    if flags is None:
        return passed("no under-voltage") if known else skipped("this machine doesn't tell")
    words = [word for bit, word in _THROTTLED.items() if flags >> bit & 1]
    if words:
        return warned(", ".join(words), "vcgencmd get_throttled   # use the maker's power supply and a short cable")
    return passed("no under-voltage")


def _throttled() -> int | None:
    """The firmware's flags; None where there is no such firmware."""
    if shutil.which("vcgencmd") is None:
        return None
    try:
        said = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=_COMMAND_S).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"throttled=(0x[0-9a-fA-F]+)", said)
    return int(found[1], 16) if found else None


async def heat(patient: Patient) -> Look:
    """Is it too hot?"""
    temperatures = [
        int(text) / 1000
        for zone in sorted(patient.path("/sys/class/thermal").glob("thermal_zone*"))
        if (text := patient.read(f"/sys/class/thermal/{zone.name}/temp")) and text.lstrip("-").isdecimal()
    ]
    if not temperatures:
        return skipped("this machine doesn't tell")
    highest = max(temperatures)
    if highest >= _WARM_C:
        what = "slows the processor down" if highest >= _HOT_C else "is warm"
        return warned(f"{highest:.0f} °C {what}", "vcgencmd measure_temp   # give it air or a heat sink")
    return passed(f"{highest:.0f} °C")


async def usb(patient: Patient) -> Look:
    """Does the sound card keep falling off the bus?"""
    kernel = await _kernel_log(patient)
    resets = re.findall(r"usb [\d.-]+: (?:reset .* device|USB disconnect|device descriptor read.*error.*)", kernel)
    if len(resets) >= _MANY_RESETS:
        return warned(
            f"the kernel reports {len(resets)} resets and disconnections: {resets[-1]}", "journalctl -k | grep 'usb '"
        )
    return passed("no resets") if kernel else skipped("the kernel's log can't be read: run it with sudo")


async def _kernel_log(patient: Patient) -> str:
    if "kernel-log" not in patient.notes:
        patient.notes["kernel-log"] = await trio.to_thread.run_sync(_read_kernel_log, patient, abandon_on_cancel=True)
    log: str = patient.notes["kernel-log"]
    return log


def _read_kernel_log(patient: Patient) -> str:
    if patient.root != Path("/"):
        return patient.read("/var/log/kern.log") or ""
    for command in (["journalctl", "-k", "-b", "-q", "-o", "cat", "--since=-24h"], ["dmesg"]):
        try:
            said = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_COMMAND_S)
        except (OSError, subprocess.SubprocessError):
            continue
        if said.returncode == 0 and said.stdout.strip():
            return said.stdout
    return ""
