"""Options and steps that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kioskd.config.schema import Endpoint, Settings

DEFAULT_CONFIG = Path("/etc/kioskd/kioskd.yaml")


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config F."""
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="F", help=f"the settings ({DEFAULT_CONFIG})"
    )


def add_socket(parser: argparse.ArgumentParser) -> None:
    """--socket F."""
    parser.add_argument(
        "--socket", type=Path, metavar="F", help="the control socket (/run/kioskd/control.sock, or the user's own)"
    )


def choose_endpoint(settings: Settings, name: str | None) -> Endpoint:
    """The endpoint called `name`, or the preferred one. Raises LookupError with the names that there are."""
    from kioskd.config.schema import in_order

    for endpoint in in_order(settings.endpoints):
        if name in (None, endpoint.name):
            return endpoint
    known = ", ".join(endpoint.name for endpoint in settings.endpoints)
    raise LookupError(f"--endpoint {name}: there is no such endpoint in the settings; there is {known}")
