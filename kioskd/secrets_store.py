"""Where root keeps a secret for the service: as an encrypted credential of systemd's, else as a file of root's.

It is the service manager that hands it to the kiosk, at its next start; the kiosk itself can't read these files.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path

from attrs import frozen

ENCRYPT_S = 30.0  # a TPM takes seconds
MAX_NAMES = 16  # systemd takes 1 MB of credentials for a unit; beyond it the unit doesn't start
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DROP_IN = """\
# By `kioskd secret set {name}`.
[Service]
{setting}={name}:kioskd-{name}
"""


# systemd looks for credentials, and for how a unit loads them, below /etc: no other place would outlive a reboot.
_REMEDIES = {
    errno.EROFS: "On the kiosk: sudo mount -o remount,rw /; sudo kioskd secret set {name}; sudo mount -o remount,ro /",
    errno.ENOSPC: "The disk is full; make room (df -h)",
}


class StoreError(Exception):
    """A secret can't be kept; one line for the owner, without the secret."""


@frozen
class Stored:
    """Where it lies now."""

    path: Path
    encrypted: bool


class SecretsStore:
    """The credentials of the service. `root` is where the system's files are; to be used by root."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._plain = root / "etc/credstore"
        self._encrypted = root / "etc/credstore.encrypted"
        self._drop_ins = root / "etc/systemd/system/kioskd.service.d"
        self._booted = root / "run/systemd/system"

    def keep(self, name: str, value: str) -> Stored:
        """Keep it under this name, in place of what was kept; the unit loads it. Raises StoreError.

        The new file is whole before the old one goes: a power cut leaves one of them.
        """
        if not NAME.fullmatch(name):
            raise StoreError(f"{name[:70]!r} is no name of a secret: use a-z, 0-9 and -, such as api-key")
        self._make_room(name)
        plain, encrypted = self._plain / f"kioskd-{name}", self._encrypted / f"kioskd-{name}"
        try:
            if self._encrypt(name, value, encrypted):
                stored, setting, other = Stored(encrypted, True), "LoadCredentialEncrypted", plain
            else:
                _write(plain, value.encode("ascii"), 0o600)
                stored, setting, other = Stored(plain, False), "LoadCredential", encrypted
            text = _DROP_IN.format(name=name, setting=setting)
            _write(self._drop_ins / f"secret-{name}.conf", text.encode(), 0o644)
            other.unlink(missing_ok=True)
            if not stored.encrypted and name == "api-key":
                (self._drop_ins / "encrypted-key.conf").unlink(missing_ok=True)  # its file is gone: no start without it
        except OSError as error:
            where = error.filename or self._plain
            remedy = _REMEDIES.get(error.errno or 0, "look at the disk (dmesg | tail)").format(name=name)
            raise StoreError(f"{where}: {error.strerror}; nothing was changed. {remedy}") from None
        self._let_systemd_know()
        return stored

    def _make_room(self, name: str) -> None:
        """Raises StoreError for one name too many."""
        kept = sorted(path.stem.removeprefix("secret-") for path in self._drop_ins.glob("secret-*.conf"))
        if name not in kept and len(kept) >= MAX_NAMES:
            raise StoreError(
                f"{name!r} would be secret number {len(kept) + 1}, and a service starts with {MAX_NAMES} at most; take "
                f"out one that no setting names, on the kiosk: sudo rm {self._drop_ins}/secret-NAME.conf (there are: "
                f"{', '.join(kept)})"
            )

    def _encrypt(self, name: str, value: str, path: Path) -> bool:
        """False where this machine can't."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["systemd-creds", "encrypt", f"--name={name}", "-", "-"]
        try:
            done = subprocess.run(command, input=value.encode("ascii"), capture_output=True, timeout=ENCRYPT_S)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return False
        if done.returncode or not done.stdout:
            return False
        _write(path, done.stdout, 0o600)
        return True

    def _let_systemd_know(self) -> None:
        if self._booted.is_dir():
            subprocess.run(["systemctl", "daemon-reload"], capture_output=True, timeout=ENCRYPT_S, check=False)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and on the disk when this returns."""
    path.parent.mkdir(mode=0o755 if mode & 0o044 else 0o700, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
