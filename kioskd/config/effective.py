"""What counts in the end: every key with its value, and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import attrs
from attrs import evolve, frozen
from yaml.nodes import MappingNode, Node, SequenceNode

from kioskd.config.layout import of_today
from kioskd.config.problems import key_path
from kioskd.config.profiles import read_profile
from kioskd.config.schema import Settings
from kioskd.config.secrets import mask_keys, printable_url
from kioskd.config.shape import shape
from kioskd.config.yaml_text import compose

DEFAULT, FILE, PROFILE = "default", "file", "profile"
_HIDDEN = "***"
_URLS = ("url", "proxy")


@frozen
class Entry:
    """A key. `line` counts from 1, in `file`; 0 where nobody wrote it down."""

    key: str
    value: Any
    origin: str = DEFAULT
    file: str = ""
    line: int = 0

    @property
    def source(self) -> str:
        """In words."""
        return f"{self.file}:{self.line}" if self.line else self.origin


def flatten(settings: Settings) -> dict[str, Any]:
    """Every key, dotted, with its value as JSON has it. A section that isn't there is one key without a value."""
    return dict(_flat(settings, ""))


def _flat(thing: Any, path: str) -> Iterator[tuple[str, Any]]:
    for each in attrs.fields(type(thing)):
        inner, value = key_path(path, each.name), getattr(thing, each.name)
        if attrs.has(type(value)):
            yield from _flat(value, inner)
        elif isinstance(value, tuple) and value and attrs.has(type(value[0])):
            for number, item in enumerate(value):
                yield from _flat(item, f"{inner}[{number}]")
        else:
            yield inner, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def effective(text: str, name: str) -> list[Entry]:
    """All that counts in settings of this text; `name` is what their file is called. Raises SettingsError."""
    root = of_today(compose(text.removeprefix("\ufeff"), name), name)
    settings, lines = shape(root, name)
    of_profile = {
        key_path(f"endpoints[{number}]", key): (file, line)
        for number, endpoint in enumerate(settings.endpoints)
        if endpoint.profile
        for key, (file, line) in _lines_of_profile(endpoint.profile).items()
    }
    entries = []
    for key, value in flatten(settings).items():
        if key in lines.of_key:
            entries.append(Entry(key, value, FILE, name, lines.of_key[key]))
        elif key in of_profile:
            entries.append(Entry(key, value, PROFILE, *of_profile[key]))
        else:
            entries.append(Entry(key, value))
    return entries


def _lines_of_profile(name: str) -> dict[str, tuple[str, int]]:
    root, file = read_profile(name)
    return {key: (file, line) for key, line in _lines(root, "")}


def _lines(node: Node, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            inner = key_path(path, key.value)
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, f"{path}[{number}]")


def redacted(entry: Entry) -> Entry:
    """Without what could be a secret, or lead to one: for a page that strangers will read."""
    name, value = entry.key.rpartition(".")[2], entry.value
    if isinstance(value, dict) and name in ("query", "headers"):
        return evolve(entry, value=dict.fromkeys(value, _HIDDEN))
    if isinstance(value, str) and name in _URLS:
        return evolve(entry, value=printable_url(value))
    if isinstance(value, str):
        return evolve(entry, value=mask_keys(value))
    return entry
