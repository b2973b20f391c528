"""Where a command finds the key that only the service is handed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.config.schema import Endpoint, KeySource
from kioskd.config.secrets import KeyUnavailable
from kioskd.stored_key import find_key

SECRET = "sk-nobody-must-read-this-0123456789"
LOBBY = Endpoint(name="lobby", url="wss://api.example.com/v1/realtime", model="m", key=KeySource(credential="api-key"))


def test_where_the_service_has_it_from(tmp_path: Path) -> None:
    file = tmp_path / "etc/credstore/kioskd-api-key"
    file.parent.mkdir(parents=True)
    file.touch(0o600)
    file.write_text(SECRET)
    assert find_key(LOBBY, {}, tmp_path) == SECRET
    handed = tmp_path / "handed"
    handed.mkdir()
    with pytest.raises(KeyUnavailable):
        find_key(LOBBY, {"CREDENTIALS_DIRECTORY": str(handed)}, tmp_path)  # the service itself looks nowhere else


def test_who_may_not_look_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(KeyUnavailable, match=r"use sudo$"):
        find_key(LOBBY, {}, tmp_path)


def test_a_simulator_without_its_packages_says_which() -> None:
    without = "import sys; sys.modules['hypercorn'] = None; from kioskd.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", without, "simulate", "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == (
        "kioskd simulate needs the package hypercorn; install kioskd with its extra: pip install 'kioskd[simulator]'\n"
    )
