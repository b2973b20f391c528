"""An endpoint's key for a command of the owner's: only the service is handed it, all others look where it lies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import evolve

from kioskd.config.schema import Endpoint
from kioskd.config.secrets import KeyUnavailable, endpoint_key

UNIT = "kioskd.service"
PLAIN_PLACES = ("etc/credstore", "run/credstore", "usr/lib/credstore")
_ENCRYPTED_PLACES = ("etc/credstore.encrypted", "run/credstore.encrypted", "usr/lib/credstore.encrypted")
_DECRYPT_S = 10.0


def find_key(
    endpoint: Endpoint, environ: Mapping[str, str] | None = None, root: Path = Path("/"), unit: str = UNIT
) -> str:
    """The key as the daemon would read it; empty where none is wanted. Raises KeyUnavailable.

    `environ`: None is this process's.
    """
    environ = os.environ if environ is None else environ
    try:
        return endpoint_key(endpoint, environ)
    except KeyUnavailable as error:
        name = endpoint.key.credential
        if name is None or "/" in name or environ.get("CREDENTIALS_DIRECTORY"):
            raise
        for file in _files(root, unit, name):
            if _is_there(file):
                place = {**environ, "CREDENTIALS_DIRECTORY": str(file.parent)}
                return endpoint_key(evolve(endpoint, key=evolve(endpoint.key, credential=file.name)), place)
        sealed = (root / place / stored_as(name) for place in _ENCRYPTED_PLACES)
        key = next(filter(None, (_decrypted(file, name) for file in sealed)), None)
        if key is not None:
            return key
        if os.geteuid():
            raise KeyUnavailable(f"{error}; where the service's key is meant, use sudo") from None
        raise


def stored_as(name: str) -> str:
    """The unit's LoadCredential= and LoadCredentialEncrypted= take it from a file of this name."""
    return f"kioskd-{name}"


def _files(root: Path, unit: str, name: str) -> Iterator[Path]:
    """As systemd handed it over, then where it finds it."""
    yield root / "run/credentials" / unit / name
    for place in PLAIN_PLACES:
        yield root / place / stored_as(name)


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # not for this user
        return False


def _decrypted(sealed: Path, name: str) -> str | None:
    """What systemd-creds makes of it; None where there is nothing, or this user may not."""
    if not _is_there(sealed):
        return None
    command = ["systemd-creds", "decrypt", f"--name={name}", str(sealed), "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DECRYPT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None
