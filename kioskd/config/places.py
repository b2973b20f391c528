"""Where the files are that come with kioskd: beside a checkout's code, or in the installation's share/."""

from __future__ import annotations

import sys
from pathlib import Path

PLACES = (Path(__file__).parents[2] / "config", Path(sys.prefix) / "share" / "kioskd")


def shipped(name: str) -> Path:
    """The file `name` of config/; the first place's where there is none, so that the error names it."""
    return next((place / name for place in PLACES if (place / name).exists()), PLACES[0] / name)
