"""kioskd status: how the running kiosk is, on one screen."""

from __future__ import annotations

import argparse
import json
import sys

from kioskd.commands import exits, options

HEALTHY, DEGRADED, DOWN = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json, --watch, --socket."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="all of it, as JSON")
    how.add_argument("--watch", action="store_true", help="live, until q; without a terminal: a line a change")
    options.add_socket(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it; the kiosk's health as exit code (--watch: 0)."""
    from kioskd.control.client import ControlError, ask

    try:
        if arguments.watch:
            return _watch(arguments)
        status = ask(arguments.socket, "status")
    except ControlError as error:
        if arguments.json:
            print(json.dumps({"health": "down", "error": str(error)}))
        return exits.complain(error, DOWN)
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        from kioskd.control.screen import screen

        print("\n".join(screen(status)))
    return {"healthy": HEALTHY, "degraded": DEGRADED}.get(status["health"], DOWN)


def _watch(arguments: argparse.Namespace) -> int:
    from kioskd.control.watch import RichMissingError, follow_lines, follow_screen

    try:
        if sys.stdout.isatty():
            try:
                follow_screen(arguments.socket)
                return HEALTHY
            except RichMissingError as error:
                exits.complain(error, exits.FAILED)
        follow_lines(arguments.socket, sys.stdout)
    except KeyboardInterrupt:
        pass  # the way to end it
    return HEALTHY
