"""`kioskd` and `python -m kioskd`: finds the subcommand, and imports that one."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from kioskd import __version__
from kioskd.commands import exits

COMMANDS = {
    "run": "run the kiosk, in the foreground",
    "check": "check a settings file; every mistake is named with its line",
    "config": "look at the settings and change them; a change that does the kiosk no good takes itself back",
    "devices": "list the sound devices by stable name, with what each can do; --test: try them with a chirp",
    "doctor": "look for what is wrong: one line a possible cause, with its remedy",
    "simulate": "run the embedded endpoint on loopback, all its doors: it understands a FAQ, and speaks",
    "talk": "ask one question from a WAV file, and hear the answer: exit code 0 only if an answer with sound came",
    "status": "how the running kiosk is, on one screen; 0: healthy, 1: degraded (a fault, no link), 2: unhealthy "
    "or not running",
    "say": "let the running kiosk say something, once nobody is using it; 0 when it was heard to its end",
    "press": "press the running kiosk's button, and tell what came of it; 0 when an answer was heard",
    "log-level": "how much the running kiosk logs, until its next start",
    "flight": "the flight recorder: what the kiosk did in the last minutes, or before it failed",
    "spend": "what answers cost: today, this month, forecast, by endpoint and model, a turn, elsewhere; and what "
    "caps did",
    "models": "list the models that an endpoint offers (GET /v1/models)",
    "probe": "measure endpoints and transports: key, connection, first word or sound, total, rate, price; and "
    "recommend one",
    "secret": "replace a secret (an API key), from standard input; it counts at once",
    "tool-run": "run one action of the settings, asked for on a socket (systemd starts this: kioskd-tool@.service)",
    "config-shell": "the forced command of the settings key (scripts/install --settings-key): config, status, doctor, "
    "secret",
    "config-verb": "root's side of the settings key; only sudo runs it",
}
"""What each does, in one line. Its module, of the same name, is imported when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code (see `commands.exits`)."""
    parser = argparse.ArgumentParser(
        prog="kioskd", description="The firmware of an unattended voice kiosk.", epilog=exits.EPILOG
    )
    parser.add_argument("--version", action="version", version=f"kioskd {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    words = sys.argv[1:] if arguments is None else arguments
    asked = next((word for word in words if not word.startswith("-")), "")
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text, epilog=exits.EPILOG)
        if name == asked:
            module = importlib.import_module(f"kioskd.commands.{name.replace('-', '_')}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    options = parser.parse_args(words)
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
