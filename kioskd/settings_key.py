"""What the settings key may ask for: the one table of the commands that work over it. PURE.

An SSH key whose line in authorized_keys forces `kioskd config-shell` brings a command as a text. `admit` makes words of
it, without a shell, and lets through what this table knows, and nothing else: no path of a file, no option that is
merely like one of these, no character that would mean something to a shell. Both sides ask it: the one without rights,
for a readable answer, and root's, which believes nobody.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from attrs import field, frozen

MAX_CHARACTERS = 16_384  # whoever has more to say sends a file: config apply -
MAX_WORDS = 64

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_KEY = re.compile(r"[a-z_]+(?:\[[0-9]{1,3}\]|\.[A-Za-z0-9_-]+)*")
_ASSIGNMENT = re.compile(_KEY.pattern + r"=.*", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,9}")
_TIME = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?[smh]?")
_STDIN = re.compile(r"-")
_CALLED = (("sudo", "kioskd"), ("kioskd",), ())
"""How it may begin: as it is typed where a shell answers, or without."""
_OF_A_SHELL = frozenset(";&|<>()$`")


class RefusedError(ValueError):
    """This is not among what the key may ask for; the text says why, and what is."""


@frozen
class Verb:
    """One command. `word`: what each word behind it looks like; `usage`: that word, for who reads."""

    options: tuple[str, ...] = ()
    word: re.Pattern[str] | None = None
    usage: str = ""
    least: int = 0
    most: int = 0
    values: Mapping[str, re.Pattern[str]] = field(factory=dict)
    """Options that take a value, and what that looks like."""


_TRIED = ("--json", "--confirm", "--probe", "--anyway")
_PROBATION = {"--probation": _TIME}

TABLE: Mapping[tuple[str, ...], Verb] = {
    ("status",): Verb(("--json",)),
    ("doctor",): Verb(("--json", "--quiet")),
    ("secret", "set"): Verb(("--json",), _NAME, "NAME", 1, 1),
    ("config", "show"): Verb(("--json", "--effective", "--redact")),
    ("config", "get"): Verb(("--json",), _KEY, "KEY", 1, 1),
    ("config", "set"): Verb(_TRIED, _ASSIGNMENT, "KEY=VALUE", 1, MAX_WORDS, _PROBATION),
    ("config", "check"): Verb(("--json",), _STDIN, "-", 0, 1),
    ("config", "diff"): Verb(("--json",), _STDIN, "-", 0, 1),
    ("config", "apply"): Verb(_TRIED, _STDIN, "-", 1, 1, _PROBATION),
    ("config", "confirm"): Verb(("--json", "--anyway")),
    ("config", "rollback"): Verb(_TRIED, _NUMBER, "VERSION", 0, 1, _PROBATION),
    ("config", "history"): Verb(("--json",)),
    ("config", "schema"): Verb(("--json",)),
    ("config", "migrate"): Verb(_TRIED, values=_PROBATION),
}


def admit(command: str) -> tuple[str, ...]:
    """The words of a command that the key may ask for, the way argparse takes them. Raises RefusedError."""
    words = _split(command)
    for prefix in _CALLED:
        if tuple(words[: len(prefix)]) == prefix:
            words = words[len(prefix) :]
            break
    for name, verb in TABLE.items():
        if tuple(words[: len(name)]) == name:
            return (*name, *_checked(" ".join(name), verb, words[len(name) :]))
    raise _refused(f"{_shown(' '.join(words[:2]))} is none of them" if words else "say what you want")


def _split(command: str) -> list[str]:
    if len(command) > MAX_CHARACTERS:
        raise _refused(f"more than {MAX_CHARACTERS} characters; send a file instead: config apply -")
    strange = next((character for character in command if not character.isprintable()), None)
    if strange is not None:
        raise _refused(f"it holds the character U+{ord(strange):04X}; such texts go by a file: config apply -")
    if active := next(_meant_for_a_shell(command), ""):
        raise _refused(f"no shell is here for {active!r}: where it belongs to a value, put that in '…'")
    try:
        words = shlex.split(command)
    except ValueError:
        raise _refused("a quotation mark or a backslash has no end") from None
    if len(words) > MAX_WORDS:
        raise _refused(f"more than {MAX_WORDS} words")
    return words


def _meant_for_a_shell(command: str) -> Iterator[str]:
    """The characters that a shell would have acted upon."""
    quote, escaped = "", False
    for character in command:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            if character == quote:
                quote = ""
            elif quote == '"' and character in "$`":
                yield character
        elif character in "'\"":
            quote = character
        elif character in _OF_A_SHELL:
            yield character


def _checked(name: str, verb: Verb, words: list[str]) -> list[str]:
    options: list[str] = []
    rest: list[str] = []
    waiting = iter(words)
    for word in waiting:
        option, is_given, value = word.partition("=")
        if option in verb.values:
            value = value if is_given else next(waiting, "")
            if not _is(verb.values[option], value):
                raise _refused(f"{name} {option}: {_shown(value)} is no time such as 30s or 2m")
            options.append(f"{option}={value}")
        elif word in verb.options:
            options.append(word)
        elif verb.word is not None and _is(verb.word, word):
            rest.append(word)
        else:
            raise _refused(f"{name} takes no {_shown(word)}")
    if not verb.least <= len(rest) <= verb.most:
        raise _refused(f"{name} takes {verb.usage or 'nothing'}{'' if verb.least else ', or nothing'}")
    return [*options, *rest]


def _is(pattern: re.Pattern[str], word: str) -> bool:
    return pattern.fullmatch(word) is not None


def _refused(why: str) -> RefusedError:
    lines = [f"  {line}" for line in usage()]
    return RefusedError("\n".join([f"kioskd: not with this key: {why}", "What works with it:", *lines]))


def usage() -> list[str]:
    """The table, a line each."""
    return [" ".join([*name, *_options(verb), *_words(verb)]) for name, verb in TABLE.items()]


def _options(verb: Verb) -> list[str]:
    return [f"[{option}]" for option in verb.options] + [f"[{option} TIME]" for option in verb.values]


def _words(verb: Verb) -> list[str]:
    more = " …" if verb.most > 1 else ""
    return [f"{verb.usage}{more}" if verb.least else f"[{verb.usage}]"] if verb.usage else []


def _shown(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:40] + "…")
