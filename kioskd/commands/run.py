"""kioskd run: the daemon."""

from __future__ import annotations

import argparse
from functools import partial

from kioskd.commands import exits, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--config F."""
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from kioskd import heap

    heap.collect_seldom()
    from kioskd.config.load import SettingsError, load

    try:
        settings = load(arguments.config)
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)

    import trio

    from kioskd import composition, log
    from kioskd.control.door import DoorTakenError

    log.set_up(settings.log.level)
    try:
        trio.run(composition.serve, settings, partial(load, arguments.config))
    except DoorTakenError as error:
        return exits.complain(error, exits.FAILED)
    return exits.OK
