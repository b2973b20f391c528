"""Reading the owner's settings: three layers, and of each layer every mistake at once, with its line.

YAML (`yaml_text`), then shape and types (`shape`), then what the values mean together (`meaning`).
"""

from __future__ import annotations

from pathlib import Path

from kioskd.config.files import MissingFileError, UnreadableFileError, read_small_file
from kioskd.config.layout import of_today
from kioskd.config.meaning import check
from kioskd.config.problems import Problem, SettingsError
from kioskd.config.schema import Settings
from kioskd.config.shape import shape
from kioskd.config.yaml_text import MAX_BYTES, compose, decode, find_keys

__all__ = ["Problem", "SettingsError", "load", "parse"]


def load(path: Path | str, *, files: bool = True) -> Settings:
    """The settings in the file at `path`. Raises SettingsError, also for a file that is missing or unreadable.

    `files`: whether to judge the files that the settings name; who has no use for them may not be able to read them.
    """
    name = str(path)
    try:
        content = read_small_file(Path(path), MAX_BYTES).content
    except MissingFileError:
        message = "there is no such file; kioskd comes with a documented one to copy, config/kioskd.yaml"
        raise SettingsError([Problem(name, 0, "", message)]) from None
    except UnreadableFileError as error:
        raise SettingsError([Problem(name, 0, "", str(error))]) from None
    return parse(decode(content, name), name, files=files)


def parse(text: str, name: str, *, files: bool = True) -> Settings:
    """The settings in `text`; `name` is what problems call the file. Raises SettingsError, and nothing else."""
    text = text.removeprefix("\ufeff")
    leaks = find_keys(text, name)
    try:
        settings, lines = shape(of_today(compose(text, name), name), name)
        problems = list(check(settings, lines, files=files))
    except SettingsError as error:
        raise SettingsError([*leaks, *error.problems]) from None
    if leaks or problems:
        raise SettingsError([*leaks, *problems])
    return settings
