"""Where the running kiosk's files are: the same place for the daemon and for the command that looks for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kioskd.config import places
from kioskd.config.places import runtime_directory, state_directory


def test_what_systemd_gives_goes_first() -> None:
    environment = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "STATE_DIRECTORY": "/var/lib/a", "XDG_RUNTIME_DIR": "/u"}
    assert runtime_directory(environment) == Path("/run/a")
    assert state_directory(environment) == Path("/var/lib/a")


@pytest.mark.parametrize("service", [False, True])
@pytest.mark.parametrize("root", [False, True])
def test_by_hand_it_is_the_users_own_unless_there_is_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: bool, root: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(places, "RUNTIME_DIRECTORY", tmp_path / "run")
    monkeypatch.setattr(places, "STATE_DIRECTORY", tmp_path / "lib")
    if service:
        (tmp_path / "run").mkdir()
        (tmp_path / "lib").mkdir()
    environment = {"XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/o"}
    usual = service or root
    assert runtime_directory(environment) == (tmp_path / "run" if usual else Path("/run/user/1000/kioskd"))
    assert state_directory(environment) == (tmp_path / "lib" if usual else Path("/home/o/.local/state/kioskd"))
    assert runtime_directory({}) == tmp_path / "run" and state_directory({}) == tmp_path / "lib"
