"""The service behind no control socket: what systemd is told then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kioskd.settings_change.kiosk import Kiosk


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("active", ["reload --no-block kioskd.service"]),
        ("activating", ["reset-failed kioskd.service", "restart --no-block kioskd.service"]),
        ("inactive", []),
    ],
)
def test_nothing_is_waited_for_while_the_settings_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, told: list[str]
) -> None:
    program, noted = tmp_path / "systemctl", tmp_path / "noted"
    program.write_text(f'#!/bin/sh\n[ "$1" = is-active ] && echo {state} || echo "$@" >>{noted}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Kiosk(tmp_path / "none.sock").reload() is bool(told)
    assert (noted.read_text().splitlines() if noted.exists() else []) == told
