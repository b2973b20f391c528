"""`kioskd` and `python -m kioskd`: finds the subcommand. What a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kioskd import __version__
from kioskd.commands import (
    check,
    config,
    devices,
    doctor,
    exits,
    flight,
    log_level,
    press,
    run,
    say,
    secret,
    simulate,
    status,
    talk,
)

COMMANDS = {
    "run": run,
    "check": check,
    "config": config,
    "devices": devices,
    "doctor": doctor,
    "simulate": simulate,
    "talk": talk,
    "status": status,
    "say": say,
    "press": press,
    "log-level": log_level,
    "flight": flight,
    "secret": secret,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code (see `commands.exits`)."""
    parser = argparse.ArgumentParser(
        prog="kioskd", description="The firmware of an unattended voice kiosk.", epilog=exits.EPILOG
    )
    parser.add_argument("--version", action="version", version=f"kioskd {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP, epilog=exits.EPILOG)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stderr.close()
        return exits.FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
