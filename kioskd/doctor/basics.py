"""Settings, credential and clock: what nothing works without."""

from __future__ import annotations

import contextlib
import stat
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from attrs import evolve

import kioskd
from kioskd.config.load import SettingsError, load
from kioskd.config.places import shipped
from kioskd.config.schema import Endpoint
from kioskd.config.secrets import KeyUnavailable, endpoint_key
from kioskd.doctor.finding import Look, failed, passed, warned
from kioskd.doctor.patient import Patient
from kioskd.doctor.server_time import server_time

CLOCK_OFF_S = 300.0  # certificates and tokens are judged by minutes at most
_YEAR_S = 366 * 86400.0
_CREDENTIAL_PLACES = ("/etc/credstore", "/run/credstore", "/usr/lib/credstore")
_ENCRYPTED_PLACES = ("/etc/credstore.encrypted", "/run/credstore.encrypted", "/usr/lib/credstore.encrypted")
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
    """The key as the daemon would read it: also where only systemd would hand it over. Raises KeyUnavailable."""
    try:
        return endpoint_key(endpoint, patient.environ)
    except KeyUnavailable:
        name = endpoint.key.credential
        if name is None or "/" in name or patient.environ.get("CREDENTIALS_DIRECTORY"):
            raise
        for file in _credentials(patient, name):
            if file.is_file():
                place = {**patient.environ, "CREDENTIALS_DIRECTORY": str(file.parent)}
                return endpoint_key(evolve(endpoint, key=evolve(endpoint.key, credential=file.name)), place)
        sealed = (patient.path(place) / _loaded_from(name) for place in _ENCRYPTED_PLACES)
        key = next(filter(None, (_decrypted(file, name) for file in sealed)), None)
        if key is None:
            raise
        return key


def _credentials(patient: Patient, name: str) -> Iterator[Path]:
    """Where the unit's credential may lie: as systemd handed it over, then as it finds it."""
    yield patient.path(f"/run/credentials/{patient.unit}") / name
    for place in _CREDENTIAL_PLACES:
        yield patient.path(place) / _loaded_from(name)


def _loaded_from(name: str) -> str:
    """The unit's LoadCredential= and LoadCredentialEncrypted= take it from a file of this name."""
    return f"kioskd-{name}"


def _open_to_others(patient: Patient, endpoint: Endpoint) -> Path | None:
    """The credential's file, where anybody may read it. (A key file of the settings is judged as it is read.)"""
    for place in _CREDENTIAL_PLACES if endpoint.key.credential else ():
        file = patient.path(place) / _loaded_from(str(endpoint.key.credential))
        with contextlib.suppress(OSError):
            if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                return file
    return None


def _decrypted(sealed: Path, name: str) -> str | None:
    """What systemd-creds makes of it; None where there is nothing, or this user may not."""
    if not sealed.is_file():
        return None
    try:
        done = subprocess.run(
            ["systemd-creds", "decrypt", f"--name={name}", str(sealed), "-"],
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None


def _put_key(endpoint: Endpoint) -> str:
    if endpoint.key.credential is not None:
        file = f"/etc/credstore/{_loaded_from(endpoint.key.credential)}"
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
