"""From the bytes of a version to what they mean."""

from __future__ import annotations

from kioskd.config.effective import flatten
from kioskd.config.load import SettingsError, parse
from kioskd.config.schema import Settings
from kioskd.config.versions import changed_keys
from kioskd.config.yaml_text import decode


def settings_in(content: bytes | None) -> Settings | None:
    """None where it is no settings."""
    try:
        return None if content is None else parse(decode(content, ""), "")
    except SettingsError:
        return None


def trouble_in(content: bytes | None, name: str) -> str:
    """Why these are no settings, in a line; empty where they are."""
    if content is None:
        return f"{name}: there is no such file, or it can't be read"
    try:
        parse(decode(content, name), name)
    except SettingsError as error:
        return str(error.problems[0])
    return ""


def keys_between(old: Settings | None, new: Settings | None) -> tuple[str, ...]:
    """The keys that differ; none where either can't be read."""
    return changed_keys(flatten(old) if old else None, flatten(new) if new else None)
