"""The verbs of `kioskd config` that change something."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kioskd.commands import config_views, exits
from kioskd.config.edit import changed
from kioskd.config.load import SettingsError, parse
from kioskd.config.lock import WAIT_S
from kioskd.config.places import settings_store
from kioskd.config.schema import Settings
from kioskd.config.store import Store
from kioskd.config.trial import Start
from kioskd.config.yaml_text import decode
from kioskd.settings_change.change import Changer, Terms
from kioskd.settings_change.kiosk import Kiosk
from kioskd.settings_change.settling import settle
from kioskd.settings_change.timer import timer_here
from kioskd.settings_change.trials import ChangeError, Outcome, Result, Trials
from kioskd.settings_change.who import asker

# Those that nobody waits for in front of a screen can wait for others.
_PATIENCE_S = {"settle": 10.0, "revert": 60.0}


def run(arguments: argparse.Namespace) -> int:
    """One of them."""
    verbs = {
        "set": _set, "apply": _apply, "edit": _edit, "migrate": _migrate,
        "confirm": _confirm, "rollback": _rollback, "settle": _settle, "revert": _revert,
    }  # fmt: skip
    changer = _changer(arguments)
    try:
        return verbs[arguments.verb](arguments, changer)
    except KeyboardInterrupt:
        number = changer.trials.store.pending
        if number is not None:
            exits.complain(f"version {number} stays on trial: kept or taken back without you", exits.INTERRUPTED)
        return exits.INTERRUPTED


def _changer(arguments: argparse.Namespace) -> Changer:
    config = arguments.config.absolute()
    store = (arguments.store or settings_store(config, os.environ)).absolute()
    options = ["--config", str(config), "--store", str(store)]
    if arguments.socket is not None:
        options += ["--socket", str(arguments.socket.absolute())]
    trials = Trials(
        Store(config, store),
        Kiosk(arguments.socket),
        timer_here(store),
        {"settle": "the service", "revert": "the timer"}.get(arguments.verb) or asker(os.environ),
        tuple(options),
        patience_s=_PATIENCE_S.get(arguments.verb, WAIT_S),
        say=lambda words: print(words, file=sys.stderr, flush=True),
    )
    if getattr(arguments, "by_key", False):
        from kioskd.settings_change.beyond import beyond_the_key

        return Changer(trials, _probe, beyond_the_key)
    return Changer(trials, _probe)


def _probe(settings: Settings) -> list[str]:
    from kioskd.settings_change.probe import probe  # brings trio and TLS

    return probe(settings, settings.endpoints)


def _terms(arguments: argparse.Namespace) -> Terms:
    return Terms(arguments.probation, arguments.confirm, arguments.probe, arguments.anyway)


def _set(arguments: argparse.Namespace, changer: Changer) -> int:
    seen, name = config_views.read(arguments.config)
    text = changed(decode(seen, name), arguments.assignments, name)
    parse(text, name)  # what is wrong is told by the line of the file
    return _tell(arguments, changer.apply(text, "set", _terms(arguments), seen), arguments.probation)


def _apply(arguments: argparse.Namespace, changer: Changer) -> int:
    if arguments.file is None and sys.stdin.isatty():
        return exits.complain("give a FILE, or the settings on the standard input", exits.USAGE)
    content, name = config_views.read(arguments.file or config_views.STDIN)
    text = decode(content, name)
    parse(text, name)
    seen = changer.trials.store.in_force()
    return _tell(arguments, changer.apply(text, "apply", _terms(arguments), seen), arguments.probation)


def _edit(arguments: argparse.Namespace, changer: Changer) -> int:
    seen, name = config_views.read(arguments.config)
    editor = _editor()
    folder = Path(tempfile.mkdtemp(prefix="kioskd-"))  # its owner's alone
    draft, done = folder / "kioskd.yaml", False
    draft.write_bytes(seen)
    try:
        text = _edited(editor, draft, name)
        if text is None:
            return exits.complain("nothing is changed", exits.BAD_SETTINGS)
        outcome = changer.apply(text, "edit", _terms(arguments), seen)
        done = True
    finally:  # what was typed is lost in no other case
        if done or _content(draft) in (seen, None):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"what you wrote is kept: sudo kioskd config apply {draft}", file=sys.stderr, flush=True)
    return _tell(arguments, outcome, arguments.probation)


def _edited(editor: Sequence[str], draft: Path, name: str) -> str | None:
    """The draft's text, once it is settings; None: given up. Raises ChangeError, SettingsError."""
    while True:
        try:
            if subprocess.run([*editor, str(draft)], check=False).returncode:
                raise ChangeError("the editor was left with an error: nothing is changed")
            content = draft.read_bytes()
        except OSError as error:
            what = error.filename or editor[0]
            raise ChangeError(f"{what}: {error.strerror}: nothing is changed; is EDITOR right?") from None
        try:
            text = decode(content, name)
            parse(text, name)
            return text
        except SettingsError as error:
            if not sys.stdin.isatty():
                raise
            exits.complain(error, exits.BAD_SETTINGS)
            if not _again():
                return None


def _again() -> bool:
    try:
        return not input("Edit again? [Y/n] ").strip().lower().startswith("n")
    except EOFError:  # Ctrl-D
        print(file=sys.stderr)
        return False


def _content(draft: Path) -> bytes | None:
    try:
        return draft.read_bytes()
    except OSError:
        return None


def _editor() -> list[str]:
    for name in ("SUDO_EDITOR", "VISUAL", "EDITOR"):
        if os.environ.get(name, "").strip():
            try:
                return shlex.split(os.environ[name])
            except ValueError as error:
                raise ChangeError(f"{name}={os.environ[name]}: {error}; nothing is changed") from None
    for program in ("sensible-editor", "nano", "vi"):
        if shutil.which(program):
            return [program]
    raise ChangeError("there is no editor here: set EDITOR, or use kioskd config set")


def _migrate(arguments: argparse.Namespace, changer: Changer) -> int:
    from kioskd.config.migrations import rewritten

    seen, name = config_views.read(arguments.config)
    text = rewritten(decode(seen, name), name)
    return _tell(arguments, changer.apply(text, "migrate", _terms(arguments), seen), arguments.probation)


def _confirm(arguments: argparse.Namespace, changer: Changer) -> int:
    return _tell(arguments, changer.trials.confirm(arguments.anyway))


def _rollback(arguments: argparse.Namespace, changer: Changer) -> int:
    outcome = changer.rollback(arguments.version, _terms(arguments))
    _tell(arguments, outcome, arguments.probation)
    if outcome.why.startswith("rolled back by"):  # as was asked for
        return exits.OK
    return exits.REVERTED if outcome.result is Result.REVERTED else exits.OK


def _settle(arguments: argparse.Namespace, changer: Changer) -> int:
    step, words = settle(changer.trials)
    if arguments.json:
        print(json.dumps({"step": step.value, "words": words}))
    elif words:
        print(f"settings: {words}", flush=True)
    return exits.FAILED if step is Start.LEAVE else exits.OK


def _revert(arguments: argparse.Namespace, changer: Changer) -> int:
    outcome = changer.trials.revert(arguments.version)
    if outcome is None:
        return exits.OK
    _tell(arguments, outcome)
    return exits.OK


def _tell(arguments: argparse.Namespace, outcome: Outcome, probation_s: float = 0.0) -> int:
    if arguments.json:
        print(
            json.dumps(
                {
                    "result": outcome.result.value,
                    "version": outcome.version or None,
                    "changed": list(outcome.changed),
                    "why": outcome.why,
                }
            )
        )
    else:
        print(_in_words(outcome, probation_s))
    return exits.REVERTED if outcome.result is Result.REVERTED else exits.OK


def _in_words(outcome: Outcome, probation_s: float) -> str:
    keys = f" ({', '.join(outcome.changed)})" if outcome.changed else ""
    match outcome.result:
        case Result.UNCHANGED:
            return "nothing to change: these are the settings already"
        case Result.KEPT:
            return f"version {outcome.version} counts{keys}"
        case Result.ON_TRIAL:
            return f"version {outcome.version} is on trial{keys}: within {probation_s:g} s: sudo kioskd config confirm"
        case Result.UNTRIED:
            return f"version {outcome.version} is in place{keys}; {outcome.why}"
    return f"version {outcome.version} is taken back, the settings before count again: {outcome.why}"
