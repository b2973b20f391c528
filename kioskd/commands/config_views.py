"""The verbs of `kioskd config` that only look."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kioskd.commands import exits
from kioskd.config.edit import EditError, find
from kioskd.config.effective import Entry, effective, flatten, redacted
from kioskd.config.files import UnreadableFileError, read_small_file
from kioskd.config.load import SettingsError, load, parse
from kioskd.config.problems import key_path
from kioskd.config.schema import Settings
from kioskd.config.secrets import mask_keys
from kioskd.config.versions import changed_keys
from kioskd.config.yaml_text import MAX_BYTES, compose, decode

STDIN = "-"


def run(arguments: argparse.Namespace) -> int:
    """One of them."""
    verbs = {"show": _show, "get": _get, "check": _check, "diff": _diff, "history": _history, "schema": _schema}
    return verbs[arguments.verb](arguments)


def read(file: Path | str) -> tuple[bytes, str]:
    """A settings file's or the standard input's content, and its name. Raises SettingsError, UnreadableFileError."""
    if str(file) == STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>"
    path = Path(file)
    try:
        return read_small_file(path, MAX_BYTES).content, str(path)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{path}: {error}") from None


def _show(arguments: argparse.Namespace) -> int:
    content, name = read(arguments.config)
    text = decode(content, name)
    if not (arguments.effective or arguments.redact or arguments.json):
        print(mask_keys(text), end="")
        return exits.OK
    parse(text, name)
    entries = effective(text, name)
    if arguments.redact:
        entries = [redacted(entry) for entry in entries]
    if arguments.json:
        print(json.dumps({entry.key: _described(entry) for entry in entries}, indent=1))
        return exits.OK
    width = min(60, max(len(entry.key) + len(_written(entry.value)) for entry in entries) + 2)
    for entry in entries:
        print(f"{f'{entry.key}: {_written(entry.value)}':<{width}}  # {entry.source}")
    return exits.OK


def _described(entry: Entry) -> dict[str, Any]:
    where = {"file": entry.file, "line": entry.line} if entry.line else {}
    return {"value": entry.value, "origin": entry.origin, **where}


def _written(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _get(arguments: argparse.Namespace) -> int:
    content, name = read(arguments.config)
    text = decode(content, name)
    parse(text, name)
    key = ""
    for part in find(arguments.key, compose(text, name)):
        key = f"{key}[{part}]" if isinstance(part, int) else key_path(key, part)
    below = [e for e in effective(text, name) if e.key == key or e.key.startswith((f"{key}.", f"{key}["))]
    if not below:
        near = difflib.get_close_matches(key, flatten(parse(text, name)), n=1)
        raise EditError(f"there is no key {key}{f'; did you mean {near[0]}?' if near else ''}")
    if arguments.json:
        found = {entry.key: _described(entry) for entry in below}
        print(json.dumps({"key": key, **_described(below[0])} if len(below) == 1 else found))
    elif len(below) == 1 and below[0].key == key:
        value = below[0].value
        print(value if isinstance(value, str) else _written(value))
    else:
        print("\n".join(f"{entry.key}: {_written(entry.value)}".rstrip() for entry in below))
    return exits.OK


def _check(arguments: argparse.Namespace) -> int:
    from kioskd.settings_change.device import complaints, environment_of, pins_of
    from kioskd.settings_change.kiosk import Kiosk

    content, name = read(arguments.file or arguments.config)
    settings = parse(decode(content, name), name)
    pid = Kiosk(arguments.socket).health().pid
    running = _loaded(arguments.config) if pid else None
    found = complaints(settings, held=pins_of(running) if running else (), environ=environment_of(pid) if pid else None)
    if arguments.json:
        lacks = [{"key": each.key, "message": each.message} for each in found]
        print(json.dumps({"valid": True, "fits": not found, "complaints": lacks}))
    else:
        print("\n".join([f"{name}: {each}" for each in found] or [f"{name}: valid, and fit for this machine"]))
    return exits.FAILED if found else exits.OK


def _loaded(config: Path) -> Settings | None:
    try:
        return load(config)
    except SettingsError:
        return None


def _diff(arguments: argparse.Namespace) -> int:
    from kioskd.config.places import settings_store
    from kioskd.config.store import Store

    content, name = read(arguments.config)
    if arguments.file is not None:
        old, old_name = decode(content, name), name
        new_content, new_name = read(arguments.file)
        new = decode(new_content, new_name)
    else:  # what was edited by hand, or is on trial
        store = Store(arguments.config, arguments.store or settings_store(arguments.config, {}))
        current = store.current
        old, old_name = (decode(store.content(current), ""), f"version {current}") if current else ("", "nothing yet")
        new, new_name = decode(content, name), name
    changed = changed_keys(_keys(old), flatten(parse(new, new_name)))
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), old_name, new_name)
    text = mask_keys("".join(line if line.endswith("\n") else f"{line}\n" for line in lines))
    if arguments.json:
        print(json.dumps({"different": old != new, "changed": list(changed), "diff": text}))
    else:
        print(text, end="")
    return exits.FAILED if old != new else exits.OK


def _keys(text: str) -> dict[str, Any] | None:
    try:
        return flatten(parse(text, ""))
    except SettingsError:
        return None


def _history(arguments: argparse.Namespace) -> int:
    from kioskd.config.places import settings_store
    from kioskd.config.store import Store

    store = Store(arguments.config, arguments.store or settings_store(arguments.config, {}))
    versions = []
    counts = max((number for number in store.numbers() if store.is_version(store.in_force(), number)), default=None)
    for number in store.numbers():
        about, (outcome, why) = store.about(number), store.outcome(number)
        if number == store.pending:
            outcome = "on trial"
        known = about.as_dict() | {"version": number, "outcome": outcome, "why": why}
        versions.append(known | {"counts": number == counts})
    if arguments.json:
        print(json.dumps(versions, indent=1))
        return exits.OK
    print("\n".join(_lines(versions)) if versions else "no change yet was made by kioskd config")
    return exits.OK


def _lines(versions: Iterable[dict[str, Any]]) -> Iterable[str]:
    for each in versions:
        mark = "*" if each["counts"] else " "
        changed = ", ".join(each["changed"]) or ("" if each["valid"] else "can't be read")
        ended = (each["outcome"] or "?") + (f": {each['why']}" if each["why"] else "")
        made = f"{each['at']}  {each['who']}, {each['how']}"
        yield f"{mark}{each['version']:>4}  {made}: {changed or '-'}  ({ended})"


def _schema(arguments: argparse.Namespace) -> int:
    from kioskd.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1))
    return exits.OK
