"""The profiles that come with kioskd: what is known of a provider or relay, as defaults for an endpoint's settings."""

from __future__ import annotations

import re
from typing import Any

from yaml.nodes import MappingNode

from kioskd.config.files import UnreadableFileError, read_small_file
from kioskd.config.places import shipped
from kioskd.config.problems import Problem, SettingsError
from kioskd.config.yaml_text import MAX_BYTES, compose, decode, find_keys

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class UnknownProfileError(ValueError):
    """There is no profile of this name; the text says which there are."""


def names() -> list[str]:
    """The names of all profiles, in the order of the alphabet."""
    return sorted(path.stem for path in shipped("profiles").glob("*.yaml"))


def read_profile(name: str) -> tuple[MappingNode, str]:
    """The root of a profile, and what problems call its file. Raises UnknownProfileError, SettingsError."""
    known = names()
    if not _NAME.fullmatch(name) or name not in known:
        import difflib

        near = difflib.get_close_matches(name.lower(), known, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UnknownProfileError(f"there is no such profile; {guess}There are: {', '.join(known)}")
    path = shipped(f"profiles/{name}.yaml")
    file = str(path)
    try:
        text = decode(read_small_file(path, MAX_BYTES).content, file)
    except UnreadableFileError as error:
        raise SettingsError([Problem(file, 0, "", str(error))]) from None
    if leaks := find_keys(text, file):
        raise SettingsError(leaks)
    return compose(text, file), file


def laid_over(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Sections are laid over each other key by key, all else replaces what is below it."""
    merged = defaults | own
    for name in defaults.keys() & own.keys():
        if isinstance(defaults[name], dict) and isinstance(own[name], dict):
            merged[name] = laid_over(defaults[name], own[name])
    return merged
