"""Where files are: those that come with kioskd, and the directories of the running one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PLACES = (Path(__file__).parents[2] / "config", Path(sys.prefix) / "share" / "kioskd")
SETTINGS = Path("/etc/kioskd/kioskd.yaml")
RUNTIME_DIRECTORY = Path("/run/kioskd")
STATE_DIRECTORY = Path("/var/lib/kioskd")


def shipped(name: str) -> Path:
    """The file `name` of a checkout's config/ or of the installation's share/.

    The first place's where there is none, so that the error names it.
    """
    return next((place / name for place in PLACES if (place / name).exists()), PLACES[0] / name)


def named_file(name: str) -> Path | None:
    """The file that a setting names: by its whole path, or by the bare name of one that is shipped; else None."""
    if Path(name).is_absolute():
        return Path(name)
    found = shipped(name)
    return found if "/" not in name and found.is_file() else None


def runtime_directory(environment: Mapping[str, str]) -> Path:
    """For what a reboot may take away. systemd's, else that of a service here, else (run by hand) the user's own."""
    user = environment.get("XDG_RUNTIME_DIR")
    own = Path(user) if user and os.geteuid() else None
    return _directory(environment.get("RUNTIME_DIRECTORY"), RUNTIME_DIRECTORY, own)


def state_directory(environment: Mapping[str, str]) -> Path:
    """For what outlives a reboot. systemd's, else that of a service here, else (run by hand) the user's own."""
    home = environment.get("HOME")
    user = Path(home) / ".local/state" if home and os.geteuid() else None
    if environment.get("XDG_STATE_HOME"):
        user = Path(environment["XDG_STATE_HOME"])
    return _directory(environment.get("STATE_DIRECTORY"), STATE_DIRECTORY, user)


def settings_store(config: Path, environment: Mapping[str, str]) -> Path:
    """Where the versions of these settings are kept: beside the state (the kiosk's user must not write there).

    Those of a file elsewhere lie beside it.
    """
    if config != SETTINGS:
        return config.absolute().with_name(f".{config.name}.versions")
    state = state_directory(environment)
    return state.with_name(f"{state.name}-settings")


def _directory(given: str | None, usual: Path, user: Path | None) -> Path:
    if given:
        return Path(given.split(":")[0])
    return user / "kioskd" if user and not usual.is_dir() else usual
