"""kioskd check FILE: every mistake in a settings file, with its line."""

from __future__ import annotations

import argparse
from pathlib import Path

from kioskd.commands import exits

HELP = "check a settings file; every mistake is named with its line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the settings to check")


def run(options: argparse.Namespace) -> int:
    """0 if kioskd would take the file."""
    from kioskd.audio.sign_sounds import problems
    from kioskd.config.load import SettingsError, load

    try:
        settings = load(options.file)
    except SettingsError as error:
        print(error)
        return exits.BAD_SETTINGS
    if unplayable := problems(settings.audio.sounds):
        print("\n".join(f"{options.file}: {problem}" for problem in unplayable))
        return exits.BAD_SETTINGS
    print(f"{options.file}: valid")
    return exits.OK
