"""What is wrong with a settings file, each mistake with its line."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from kioskd.config.secrets import mask_keys
from kioskd.value import Value

MAX_PROBLEMS = 100  # more than an owner reads; a broken file of 256 KiB could name 100,000
MAX_KEY_CHARACTERS = 60  # of a key as it is shown; the schema's longest has 21


def key_path(section: str, key: str) -> str:
    """The dotted path of a key that the owner wrote: in one line, shortened, and masked if it could be an API key."""
    shown = mask_keys(key)[:MAX_KEY_CHARACTERS]
    shown = shown if shown.isprintable() else ascii(shown)
    return f"{section}.{shown}" if section else shown


@frozen(eq=False, repr=False)
class Problem(Value):
    """One mistake. `line` counts from 1, 0 is the file as a whole; `key` is dotted (`endpoints[0].url`) or empty."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class SettingsError(ValueError):
    """The settings can't be used. Its text is one line a problem, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = sorted(set(problems), key=lambda problem: (problem.line, problem.key, problem.message))
        if len(found) > MAX_PROBLEMS:
            left_out = len(found) - MAX_PROBLEMS + 1
            last = found[MAX_PROBLEMS - 1]
            found[MAX_PROBLEMS - 1 :] = [Problem(last.file, last.line, "", f"... and {left_out} more problems")]
        self.problems: tuple[Problem, ...] = tuple(found)
        super().__init__("\n".join(map(str, self.problems)))
