"""kioskd config-verb: root's side of the settings key. It takes no argument, believes nobody, and opens no shell."""

from __future__ import annotations

import argparse
import os
import pwd

from kioskd.commands import config, config_shell, doctor, exits, secret, status
from kioskd.settings_key import RefusedError, admit

_COMMANDS = {"config": config, "doctor": doctor, "secret": secret, "status": status}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = ("SSH_CONNECTION", "SUDO_USER")  # for the history
_DAEMON = "kioskd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: sudo lets no other command line through."""


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked for in SSH_ORIGINAL_COMMAND, if the table has it; its exit code."""
    try:
        words = admit(os.environ.get(config_shell.ASKED, ""))
    except RefusedError as error:
        return exits.complain(error, exits.USAGE)
    if os.geteuid() != 0:
        return exits.complain("only root can do this: use sudo kioskd", exits.FAILED)
    _leave_nothing_to_chance()
    parser = argparse.ArgumentParser(prog="kioskd", allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True)
    for name, module in _COMMANDS.items():
        subparser = subparsers.add_parser(name, allow_abbrev=False)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run, by_key=True)
    options = parser.parse_args(words)
    code: int = options.run(options)
    return code


def _leave_nothing_to_chance() -> None:
    """An environment of our own, no folder where a bare name could be a file, and no file of root's as a key."""
    from kioskd.config.secrets import take_keys_of

    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    os.environ.clear()
    os.environ.update({"PATH": _PATH, "LANG": "C.UTF-8", **kept})
    os.umask(0o022)
    os.chdir("/")
    try:
        take_keys_of(pwd.getpwnam(_DAEMON).pw_uid)
    except KeyError:
        take_keys_of(None)
