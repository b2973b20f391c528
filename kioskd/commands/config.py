"""kioskd config: look at the settings, and change them so that a mistake takes itself back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kioskd.commands import exits, options

EPILOG = (
    "Exit codes: 0 done, 1 failed, refused, or (diff) different, 2 wrong usage, 3 taken back, "
    "4 somebody else's change is under way, 78 wrong settings."
)

_VIEWS = ("show", "get", "check", "diff", "history", "schema")
_KEY = "a key such as audio.volume, endpoints[0].voice or endpoints.NAME.voice"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs, and what each of them takes."""
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=text, description=text, epilog=EPILOG)
        verb.add_argument("--json", action="store_true", help="for a program")
        options.add_config(verb)
        options.add_socket(verb)
        verb.add_argument(
            "--store", type=Path, metavar="DIR", help="where versions are kept (/var/lib/kioskd-settings)"
        )
        return verb

    show = add("show", "the settings file")
    show.add_argument("--effective", action="store_true", help="every key with its value, and where that comes from")
    show.add_argument("--redact", action="store_true", help="every key, without what could be a secret: for strangers")
    add("get", "the value that counts for a key").add_argument("key", metavar="KEY", help=_KEY)
    setting = add("set", "change single keys; comments and order of the file stay")
    setting.add_argument("assignments", nargs="+", metavar="KEY=VALUE", help=f"{_KEY}; KEY= takes it out of the file")
    check = add("check", "every mistake with its line, and what this machine lacks for these settings")
    apply = add("apply", "make a whole file the settings")
    for verb in (check, add("diff", "what would change; 1: something would"), apply):
        verb.add_argument("file", nargs="?", metavar="FILE", help="- is the standard input")
    confirm = add("confirm", "keep the settings that are on trial")
    rollback = add("rollback", "back to a version, or to the one before")
    rollback.add_argument("version", nargs="?", type=int, metavar="VERSION")
    add("history", "the last 20 versions: who, when, which keys, what came of it")
    add("schema", "the settings as JSON Schema, for editors")
    edit = add("edit", "open the settings in $EDITOR, check them, apply them")
    migrate = add("migrate", "rewrite a file of an older layout as one of today's")
    for verb in (setting, apply, rollback, edit, migrate):
        verb.add_argument(
            "--probation", type=_seconds, default=30.0, metavar="S", help="how long it is tried at most (30s)"
        )
        verb.add_argument(
            "--confirm", action="store_true", help="it is taken back unless `kioskd config confirm` follows"
        )
        verb.add_argument("--probe", action="store_true", help="a session must come up on the endpoints")
    for verb in (setting, apply, rollback, edit, migrate, confirm):
        verb.add_argument("--anyway", action="store_true", help="also where it seems to do harm")
    add("settle", "before the daemon starts (the service does it): take back what it can't start under")
    add("revert", "what the timer of a trial runs").add_argument("version", type=int, metavar="VERSION")


def run(arguments: argparse.Namespace) -> int:
    """Do it; every way to fail has a line of its own, and none leaves half a change."""
    from kioskd.config.disk import WriteError
    from kioskd.config.edit import EditError
    from kioskd.config.files import UnreadableFileError
    from kioskd.config.load import SettingsError
    from kioskd.config.lock import BusyError
    from kioskd.settings_change.timer import TimerError
    from kioskd.settings_change.trials import ChangeError

    try:
        if arguments.verb in _VIEWS:
            from kioskd.commands import config_views

            return config_views.run(arguments)

        from kioskd.commands import config_changes

        return config_changes.run(arguments)
    except SettingsError as error:
        return _failed(arguments, exits.BAD_SETTINGS, error, [str(problem) for problem in error.problems])
    except BusyError as error:
        return _failed(arguments, exits.BUSY, error)
    except EditError as error:
        return _failed(arguments, exits.USAGE, error)
    except (ChangeError, WriteError, TimerError, UnreadableFileError) as error:
        return _failed(arguments, exits.FAILED, error)


def _failed(arguments: argparse.Namespace, code: int, error: Exception, problems: list[str] | None = None) -> int:
    if arguments.json:
        print(json.dumps({"result": "refused", "error": str(error), **({"problems": problems} if problems else {})}))
    return exits.complain(error, code)


def _seconds(text: str) -> float:
    """30, 30s, 5m. Raises ValueError, as argparse wants it."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    seconds = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("from 1s to 24h")
    return seconds
