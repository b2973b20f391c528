"""Settings, credential and clock: what nothing works without."""

from __future__ import annotations

import contextlib
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import kioskd
from kioskd import stored_key
from kioskd.config.load import SettingsError, load
from kioskd.config.places import shipped
from kioskd.config.schema import Endpoint
from kioskd.config.secrets import KeyUnavailable
from kioskd.doctor.finding import Look, failed, passed, warned
from kioskd.doctor.patient import Patient
from kioskd.doctor.server_time import server_time

CLOCK_OFF_S = 300.0  # certificates and tokens are judged by minutes at most
_YEAR_S = 366 * 86400.0
_MAKERS = {"sk-ant-": "Anthropic", "AIza": "Google", "gsk_": "Groq", "hsa-": "HolySheep", "xai-": "xAI"}
_HOSTS = {"Anthropic": "anthropic", "Google": "google", "Groq": "groq", "HolySheep": "holysheep", "xAI": "x.ai"}


def read_settings(patient: Patient) -> None:
    """Load the settings into the patient, or their mistakes."""
    try:
        patient.settings = load(patient.config)
    except SettingsError as error:
        patient.problems = tuple(str(problem) for problem in error.problems)


async def settings(patient: Patient) -> Look:
    """Is there a settings file, and is it right?"""
    if not patient.config.exists():
        return failed(f"{patient.config}: there is no such file", _copy_settings(patient.config))
    if patient.problems:
        more = f" (and {len(patient.problems) - 1} more)" if len(patient.problems) > 1 else ""
        return failed(patient.problems[0] + more, f"kioskd check {patient.config}")
    return passed(f"{patient.config} is right")


def _copy_settings(config: Path) -> str:
    return f"sudo install -D -m 644 {shipped('kioskd.yaml')} {config}"


async def credential(patient: Patient) -> Look:
    """Is the key of each endpoint there, private, and of this shop?"""
    assert patient.settings is not None
    for endpoint in patient.settings.endpoints:
        open_to_all = _open_to_others(patient, endpoint)
        if open_to_all is not None:
            return failed(f"{endpoint.name}: {open_to_all} is open to others", f"sudo chmod 600 {open_to_all}")
        try:
            key = find_key(patient, endpoint)
        except KeyUnavailable as error:
            return failed(f"{endpoint.name}: {error}", _put_key(endpoint))
        maker = next((maker for prefix, maker in _MAKERS.items() if key.startswith(prefix)), None)
        if maker is not None and _HOSTS[maker] not in endpoint.url.lower() and endpoint.mint is None:
            return warned(f"{endpoint.name}: the key looks like one of {maker}'s, the url isn't", _put_key(endpoint))
    return passed("each endpoint has one")


def find_key(patient: Patient, endpoint: Endpoint) -> str:
    """As the daemon of the examined machine would read it. Raises KeyUnavailable."""
    return stored_key.find_key(endpoint, patient.environ, patient.root, patient.unit)


def _open_to_others(patient: Patient, endpoint: Endpoint) -> Path | None:
    """The credential's file, where anybody may read it. (A key file of the settings is judged as it is read.)"""
    for place in stored_key.PLAIN_PLACES if endpoint.key.credential else ():
        file = patient.path(place) / stored_key.stored_as(str(endpoint.key.credential))
        with contextlib.suppress(OSError):
            if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                return file
    return None


def _put_key(endpoint: Endpoint) -> str:
    if endpoint.key.credential is not None:
        file = f"/etc/credstore/{stored_key.stored_as(endpoint.key.credential)}"
        return f"sudo install -D -m 600 /dev/stdin {file}   # paste, Ctrl-D; then: sudo systemctl restart kioskd"
    if endpoint.key.file is not None:
        return f"sudo install -m 600 -o kioskd /dev/stdin {endpoint.key.file}"
    return "name its place by endpoints.key in the settings"


async def clock(patient: Patient) -> Look:
    """Could the clock be right? (A wrong one makes every certificate invalid.)"""
    now = time.time()
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    remedy = "sudo timedatectl set-ntp true && timedatectl"
    built = Path(kioskd.__file__).stat().st_mtime
    told = await server_time(patient.endpoint) if patient.endpoint else None
    if told is not None and abs(now - told) > CLOCK_OFF_S:
        right = datetime.fromtimestamp(told, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return failed(f"it says {shown}, but the endpoint's server says {right}", remedy)
    if now < built - 86400:
        return failed(f"it says {shown}, which is before this software was installed", remedy)
    if now > built + 10 * _YEAR_S:
        return failed(f"it says {shown}, ten years after this software was installed", remedy)
    if told is None and not patient.path("/run/systemd/timesync/synchronized").exists() and _has_timesyncd(patient):
        return warned(f"it says {shown}, but has not been set from the network since the start", remedy)
    return passed(f"{shown}")


def _has_timesyncd(patient: Patient) -> bool:
    return patient.path("/run/systemd/timesync").is_dir()
