"""`kioskd` and `python -m kioskd`: finds the subcommand. What a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kioskd import __version__
from kioskd.commands import (
    check,
    config,
    config_shell,
    config_verb,
    devices,
    doctor,
    exits,
    flight,
    log_level,
    models,
    press,
    probe,
    run,
    say,
    secret,
    simulate,
    spend,
    status,
    talk,
    tool_run,
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
    "spend": spend,
    "models": models,
    "probe": probe,
    "secret": secret,
    "tool-run": tool_run,
    "config-shell": config_shell,
    "config-verb": config_verb,
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
