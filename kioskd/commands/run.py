"""kioskd run: the daemon."""

from __future__ import annotations

import argparse

from kioskd.commands import exits, options

HELP = "run the kiosk, in the foreground"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--config F."""
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from kioskd.config.load import SettingsError, load

    try:
        settings = load(arguments.config)
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)

    import trio

    from kioskd import composition, log

    log.set_up(settings.log.level)
    trio.run(composition.serve, settings)
    return exits.OK
