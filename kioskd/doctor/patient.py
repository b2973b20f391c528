"""Whom the doctor examines: this machine, its settings, and the daemon if one runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from kioskd.config.schema import Audio, Endpoint, Panel, Settings, in_order
from kioskd.control.client import ControlError, NotRunningError, ask

MUTE = "see 'vitals'"  # of a daemon that holds the devices and doesn't answer


@define
class Patient:
    """What the checks look at. `status` is what a running daemon says of itself (`kioskd status --json`)."""

    config: Path
    settings: Settings | None = None
    problems: tuple[str, ...] = ()
    status: Mapping[str, Any] | None = None
    silence: str = ""
    """Why a daemon that seems to run can't be asked."""
    chirp: bool = True
    root: Path = Path("/")
    """Where /sys, /proc, /etc and /boot are looked for."""
    user: str = "kioskd"
    unit: str = "kioskd.service"
    environ: Mapping[str, str] = field(factory=lambda: dict(os.environ))
    notes: dict[str, Any] = field(factory=dict)
    """What one check leaves for the next."""

    def ask_daemon(self, socket: Path | None) -> None:
        """Let a running daemon tell how it is. `socket`: where it listens, None: where it usually does."""
        try:
            self.status = ask(socket, "status")
        except NotRunningError:
            self.status = None
        except ControlError as error:
            self.silence = str(error)

    @property
    def endpoint(self) -> Endpoint | None:
        """The one that should answer."""
        return in_order(self.settings.endpoints)[0] if self.settings else None

    @property
    def audio(self) -> Audio:
        """The sound card of the settings, or of the defaults where there are none."""
        return self.settings.audio if self.settings else Audio()

    @property
    def panel(self) -> Panel:
        """Button and lamp, as above."""
        return self.settings.panel if self.settings else Panel()

    @property
    def runs(self) -> bool:
        """Whether a daemon runs, and so holds the devices."""
        return self.status is not None

    def path(self, absolute: str) -> Path:
        """A path of the machine that is examined."""
        return self.root / absolute.lstrip("/")

    def read(self, absolute: str) -> str | None:
        """A small text file of the machine, stripped; None where there is none."""
        try:
            return self.path(absolute).read_text(errors="replace").strip().strip("\0")
        except OSError:
            return None
