"""kioskd config-shell: what sshd runs for the settings key, whatever its owner asks for. It is no shell."""

from __future__ import annotations

import argparse
import os

from kioskd.commands import exits
from kioskd.settings_key import RefusedError, admit

ASKED = "SSH_ORIGINAL_COMMAND"
KEPT = (ASKED, "SSH_CONNECTION")
"""All that goes from here to root's side: what is wanted, and from where."""
PROGRAM = "/opt/kioskd/bin/kioskd"
SUDO = "/usr/bin/sudo"
ROOTS_SIDE = "config-verb"  # PROGRAM and this are the one rule in systemd/sudoers.d


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> int:
    """Refuse it readably, or become root's side, which checks it again. Standard input and output are handed on."""
    try:
        admit(os.environ.get(ASKED, ""))
    except RefusedError as error:
        return exits.complain(error, exits.USAGE)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    try:
        os.execve(SUDO, [SUDO, "-n", "--", PROGRAM, ROOTS_SIDE], environment)
    except OSError as error:
        return exits.complain(
            f"{SUDO}: {error.strerror}; on the kiosk: sudo scripts/install --settings-key FILE", exits.FAILED
        )
