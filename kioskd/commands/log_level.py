"""kioskd log-level LEVEL: how much the running kiosk logs, until its next start."""

from __future__ import annotations

import argparse

from kioskd.commands import exits, options

LEVELS = ("debug", "info", "warning", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """LEVEL, --socket."""
    parser.add_argument("level", choices=LEVELS, metavar="LEVEL", help=", ".join(LEVELS))
    options.add_socket(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tell it, and print what it was."""
    from kioskd.control.client import ControlError, ask

    try:
        changed = ask(arguments.socket, "log-level", level=arguments.level)
    except ControlError as error:
        return exits.complain(error, exits.FAILED)
    print(f"log level {changed['level']}, until the next start (it was {changed['was']})")
    return exits.OK
