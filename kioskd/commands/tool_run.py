"""kioskd tool-run: runs one action of the settings for the daemon; started by systemd, with a socket as stdin."""

from __future__ import annotations

import argparse

from kioskd.commands import exits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--network."""
    parser.add_argument("--network", action="store_true", help="here commands have a network")


def run(arguments: argparse.Namespace) -> int:
    """Take the request from standard input, and answer there."""
    import os
    import socket

    from kioskd.tools.helper import serve, settings_path

    try:
        with socket.socket(fileno=os.dup(0)) as line:
            serve(line, settings_path(os.environ), network=arguments.network)
    except OSError as error:
        return exits.complain(f"standard input is no socket that can be answered: {error}", exits.FAILED)
    return exits.OK
