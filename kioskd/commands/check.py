"""kioskd check FILE: every mistake in a settings file, with its line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.commands import exits

if TYPE_CHECKING:
    from kioskd.config.schema import Settings


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
    if mistakes := list(_mistakes_of_faqs(settings)):
        print("\n".join(mistakes))
        return exits.BAD_SETTINGS
    print(f"{options.file}: valid")
    return exits.OK


def _mistakes_of_faqs(settings: Settings) -> Iterator[str]:
    """Of the files that the settings name. Which words can be recognised, only the recogniser knows."""
    paths = {path for each in settings.endpoints for path in (each.faq, each.hearing.grammar) if path is not None}
    if not paths:
        return
    from kioskd.config.places import named_file
    from kioskd.local.faq import FaqError, load_faq

    for path in sorted(paths):
        try:
            load_faq(named_file(path) or Path(path))
        except FaqError as error:
            yield str(error)
