"""kioskd spend: what answers have cost, where the month will end, and what the same would have cost elsewhere."""

from __future__ import annotations

import argparse
import json
import os

from kioskd.commands import exits, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json, --turns, --config."""
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")
    parser.add_argument("--turns", type=int, default=10, metavar="N", help="show the latest N turns (10)")
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it; 1 where the ledger can't be read."""
    from datetime import datetime

    from kioskd.config.load import SettingsError, load
    from kioskd.config.places import state_directory
    from kioskd.spend.ledger import NAME, LedgerError, read
    from kioskd.spend.report import figures, text

    try:
        settings = load(arguments.config)
        lines = read(state_directory(os.environ) / NAME)
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)
    except LedgerError as error:
        return exits.complain(f"kioskd spend: {error}", exits.FAILED)
    report = figures(lines, settings, datetime.now().astimezone(), max(0, arguments.turns))
    print(json.dumps(report, indent=2) if arguments.json else "\n".join(text(report)))
    return exits.OK
