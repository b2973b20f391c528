"""kioskd models: the models that an endpoint offers, to pick one from."""

from __future__ import annotations

import argparse

from kioskd.commands import exits, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[ENDPOINT], --config."""
    parser.add_argument("endpoint", nargs="?", metavar="ENDPOINT", help="its name in the settings (the first)")
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """A name a line; the one of the settings is marked. 1 where they can't be had."""
    from kioskd.config.load import SettingsError, load
    from kioskd.config.schema import EndpointKind
    from kioskd.stored_key import find_key

    try:
        endpoint = options.choose_endpoint(load(arguments.config), arguments.endpoint)
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)
    except LookupError as error:
        return exits.complain(error, exits.USAGE)
    if endpoint.kind is EndpointKind.LOCAL:
        return exits.complain(f"{endpoint.name}: answers from its FAQ file, and has no models", exits.FAILED)
    try:
        import trio

        from kioskd.endpoints.credits import models_of
        from kioskd.endpoints.text.model import ModelError
    except ImportError as error:
        return exits.complain(f"a package is missing ({error.name}); install kioskd[http]", exits.FAILED)
    try:
        names = trio.run(models_of, endpoint, find_key(endpoint))
    except (ModelError, OSError, ValueError) as error:
        return exits.complain(f"{endpoint.name}: {error}", exits.FAILED)
    for name in names:
        print(f"{'*' if name == endpoint.model else ' '} {name}")
    return exits.OK
