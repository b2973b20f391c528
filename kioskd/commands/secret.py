"""kioskd secret set NAME: takes a secret from standard input, keeps it, and hands it to the running kiosk."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from kioskd.commands import exits, options

if TYPE_CHECKING:
    from kioskd.secrets_store import Stored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """set NAME, --json, --socket."""
    parser.add_argument("action", choices=("set",), help="take it from standard input, and keep it")
    parser.add_argument("name", metavar="NAME", help="as the settings call it: api-key, or another key.credential")
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")
    options.add_socket(parser)


def run(arguments: argparse.Namespace) -> int:
    """Keep it first: what counts now must count at the next start, too."""
    from kioskd.config.secrets import MAX_KEY_BYTES, KeyUnavailable, checked_key
    from kioskd.control.client import ControlError, NotRunningError, ask
    from kioskd.secrets_store import SecretsStore, StoreError

    if os.geteuid() != 0:
        return exits.complain("only root can keep a secret: use sudo", exits.FAILED)
    try:
        value = checked_key(_typed(arguments.name) or sys.stdin.buffer.read(MAX_KEY_BYTES + 1), "standard input")
        if len(value) > MAX_KEY_BYTES:
            return exits.complain(f"this is longer than {MAX_KEY_BYTES} bytes: no key", exits.FAILED)
        stored = SecretsStore().keep(arguments.name, value)
    except (KeyUnavailable, StoreError) as error:
        return exits.complain(error, exits.FAILED)
    kept = f"kept in {stored.path}" + (", encrypted with a secret of this machine" if stored.encrypted else "")
    try:
        used_by = ask(arguments.socket, "reload-secret", name=arguments.name, value=value)["used_by"]
    except NotRunningError:
        return _tell(arguments, stored, None, f"{kept}; kioskd isn't running, and will find it at its start")
    except ControlError as error:
        return exits.complain(f"{kept}, but the running kiosk didn't take it: {error}", exits.FAILED)
    words = f"{kept}; counts now, for {', '.join(used_by)}"
    if not used_by:
        words = f"{kept}; nothing uses it yet: name it in the settings (endpoints[].key.credential: {arguments.name})"
    return _tell(arguments, stored, used_by, words)


def _tell(arguments: argparse.Namespace, stored: Stored, used_by: list[str] | None, words: str) -> int:
    if arguments.json:
        import json

        print(json.dumps({"path": str(stored.path), "encrypted": stored.encrypted, "used_by": used_by}))
    else:
        print(words)
    return exits.OK


def _typed(name: str) -> bytes:
    """What a person types, unseen; b"" where standard input is no terminal."""
    if not sys.stdin.isatty():
        return b""
    from getpass import getpass

    return getpass(f"{name} (not shown): ").encode("utf-8", "surrogateescape")
