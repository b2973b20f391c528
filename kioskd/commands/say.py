"""kioskd say TEXT: the running kiosk speaks."""

from __future__ import annotations

import argparse

from kioskd.commands import exits, options

PATIENCE_S = 700.0  # kioskd gives up before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --wait, --socket."""
    parser.add_argument("text", nargs="+", metavar="TEXT", help="what it says, in the language of its settings")
    parser.add_argument(
        "--wait",
        type=float,
        default=30,
        metavar="S",
        help="wait so long for a visitor to finish (30 seconds; 300 at most)",
    )
    options.add_socket(parser)


def run(arguments: argparse.Namespace) -> int:
    """Wait until it was said."""
    from kioskd.control.client import ControlError, ask

    try:
        said = ask(arguments.socket, "say", timeout_s=PATIENCE_S, text=" ".join(arguments.text), wait_s=arguments.wait)
    except ControlError as error:
        return exits.complain(error, exits.FAILED)
    if said["interrupted"]:
        return exits.complain(f"a visitor broke in after {said['heard_ms']} ms", exits.FAILED)
    return exits.OK
