"""The service: is it installed, enabled, running, watched, and when did it last answer anybody?"""

from __future__ import annotations

import subprocess

import trio

from kioskd.doctor.finding import Look, failed, passed, skipped, warned
from kioskd.doctor.patient import Patient

_COMMAND_S = 10.0
_SILENT_H = 48.0  # a kiosk in its place is used every day or two
_FIELDS = "LoadState,ActiveState,UnitFileState,WatchdogUSec,NRestarts,Result,StatusText"


async def unit(patient: Patient) -> Look:
    """Is the unit there, enabled and running, and its watchdog on?"""
    shown = await trio.to_thread.run_sync(_show, patient.unit, abandon_on_cancel=True)
    if shown is None:
        return skipped("this machine isn't run by systemd")
    if shown.get("LoadState") != "loaded":
        return failed(f"{patient.unit} is not installed", "sudo scripts/install")
    patient.notes["active"] = shown.get("ActiveState") == "active"
    if shown.get("ActiveState") not in ("active", "reloading"):
        result = shown.get("Result", "")
        why = f" ({result})" if result not in ("", "success") else ""
        said = f"; it said: {shown['StatusText']}" if shown.get("StatusText") else ""
        return failed(
            f"{patient.unit} is {shown.get('ActiveState')}{why}{said}",
            f"sudo systemctl start {patient.unit}; journalctl -u {patient.unit} -n 30",
        )
    if shown.get("WatchdogUSec") in ("", "0", "infinity", None):
        return warned("its watchdog is off", f"sudo systemctl revert {patient.unit}")
    if shown.get("UnitFileState") not in ("enabled", "static", "enabled-runtime"):
        return warned("it runs, but isn't started at boot", f"sudo systemctl enable {patient.unit}")
    restarts = int(shown.get("NRestarts") or 0)
    if restarts > 2:
        return warned(f"it runs, after {restarts} restarts", f"journalctl -u {patient.unit} -p warning -n 50")
    return passed(f"runs, watched every {shown['WatchdogUSec']}")


def _show(name: str) -> dict[str, str] | None:
    try:
        said = subprocess.run(
            ["systemctl", "show", name, f"--property={_FIELDS}"],
            capture_output=True, text=True, timeout=_COMMAND_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    if said.returncode != 0:
        return None
    return dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)


async def vitals(patient: Patient) -> Look:
    """Does every part of the running daemon move?"""
    if patient.silence:
        return failed(patient.silence, f"sudo systemctl restart {patient.unit}")
    if patient.status is None and patient.notes.get("active"):
        return failed("kioskd runs, but its control socket is gone", f"sudo systemctl restart {patient.unit}")
    if patient.status is None:
        return skipped("kioskd isn't running")
    stale = [vital for vital in patient.status.get("vitals", ()) if not vital.get("fresh", True)]
    if stale:
        words = ", ".join(f"{vital['name']} for {vital['age_s']:.0f} s" for vital in stale)
        return failed(f"stands still: {words}", f"sudo systemctl restart {patient.unit}")
    return passed("every part moves")


async def last_answer(patient: Patient) -> Look:
    """How long ago was the last answer given?"""
    if patient.status is None:
        return skipped("kioskd isn't running")
    ago = patient.status.get("turns", {}).get("answered_ago_s")
    uptime = float(patient.status.get("uptime_s", 0.0))
    if ago is None:
        if uptime > _SILENT_H * 3600:
            return warned(f"none in {uptime / 3600:.0f} h", "kioskd press --ms 2000")
        return passed("none yet since the start")
    if ago > _SILENT_H * 3600:
        return warned(f"{ago / 3600:.0f} h ago", "kioskd press --ms 2000")
    return passed(f"{_span(ago)} ago")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
