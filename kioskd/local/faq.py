"""The questions that the kiosk answers by itself, out of a YAML file.

The file: `language` (en, en-gb, en-us), `not_understood` (a text), and `entries`, each with a `name`, its `questions`
and one `answer`. An entry may have a `tool` (`name`, `arguments`), which a model in the simulator calls. The words are
held against pocketsphinx' dictionary only by the recogniser.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import yaml
from attrs import define, field, frozen

LANGUAGES = ("en", "en-gb", "en-us")  # the one acoustic model that comes with pocketsphinx is English
PLACEHOLDERS = ("time", "date", "weekday", "asked", "result")
MAX_FILE_BYTES = 256 * 1024  # hundreds of entries; a wrong file shall not be parsed for minutes
MAX_QUESTIONS = 500  # a grammar of this size still keeps pace with speech on a Raspberry Pi
MAX_QUESTION_WORDS = 20  # about ten seconds of speech
MAX_TEXT_CHARS = 2_000  # about two minutes of speech


class FaqError(ValueError):
    """The FAQ can't be used; the message is one or more lines of `file:line: what`."""


@frozen
class Question:
    """One way to ask: `text` is normalised (lower case words, single spaces), `line` is where it stands."""

    text: str
    line: int


@frozen
class Entry:
    """One thing that visitors ask. `answer` may hold the placeholders of `PLACEHOLDERS`, in braces.

    `tool` is what a model has to call first, where it may ("": nothing), with `arguments`, a JSON object.
    """

    name: str
    questions: tuple[Question, ...]
    answer: str
    tool: str = ""
    arguments: str = "{}"
    sound: str = ""  # a WAV file with the answer, beside the FAQ's: played by a kiosk that answers by itself


@frozen
class Faq:
    """All entries, the language they are spoken in, and what is said where none fits."""

    path: Path
    language: str
    not_understood: str
    entries: tuple[Entry, ...]


def load_faq(path: Path) -> Faq:
    """Read and check a FAQ. Raises `FaqError` with every mistake in it, also if the file can't be read."""
    return _Reader(path).read()


def normalise(text: str) -> str:
    """The words of a question as the dictionary spells them: lower case, no accents, no punctuation but apostrophes."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    plain = "".join(char for char in decomposed if not unicodedata.combining(char)).lower()
    words = "".join(char if char.isalnum() or char == "'" else " " for char in plain).split()
    return " ".join(word for word in (word.strip("'") for word in words) if word)


def jsgf(faq: Faq) -> str:
    """A JSGF grammar that accepts each question, word for word.

    Source: https://www.w3.org/TR/jsgf/. Tokens stand without quotes, which pocketsphinx takes for a part of the word;
    it needs none around JSGF's own words either (`public`, `grammar`, `import`).
    """
    questions = "\n  | ".join(question.text for question in questions_of(faq))
    return f"#JSGF V1.0;\ngrammar faq;\npublic <question> = {questions};\n"


def questions_of(faq: Faq) -> Iterator[Question]:
    """Every question of every entry, in the file's order."""
    return (question for entry in faq.entries for question in entry.questions)


@define
class _Reader:
    """Walks the YAML nodes, which know their lines, and collects every mistake."""

    path: Path
    mistakes: list[str] = field(factory=list)
    asked: dict[str, int] = field(factory=dict)
    named: dict[str, int] = field(factory=dict)

    def read(self) -> Faq:
        root = self._compose()
        parts = self._mapping(root, "the file", required=("not_understood", "entries"), optional=("language",))
        faq = Faq(
            path=self.path,
            language=self._language(parts.get("language")),
            not_understood=self._speakable(parts.get("not_understood"), "not_understood"),
            entries=self._entries(parts.get("entries")),
        )
        if len(self.asked) > MAX_QUESTIONS:
            self._mistake(root, f"{len(self.asked)} questions; the recogniser takes {MAX_QUESTIONS} at most")
        if self.mistakes:
            raise FaqError("\n".join(self.mistakes))
        return faq

    def _compose(self) -> yaml.Node:
        try:
            with self.path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
            if len(raw) > MAX_FILE_BYTES:
                raise FaqError(f"{self.path}:1: longer than {MAX_FILE_BYTES // 1024} KiB; is this a FAQ?")
            root = yaml.compose(raw.decode(), Loader=yaml.SafeLoader)
        except OSError as error:
            raise FaqError(f"{self.path}:1: can't be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise FaqError(f"{self.path}:{line}: not UTF-8; save the file as UTF-8") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise FaqError(f"{self.path}:{line}: not YAML: {_without_names(error.problem or '')}") from None
        except yaml.YAMLError as error:
            raise FaqError(f"{self.path}:1: not YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise FaqError(f"{self.path}:1: nested too deeply; is this a FAQ?") from None
        if root is None:
            raise FaqError(f"{self.path}:1: empty; write `not_understood` and `entries`")
        return root

    def _mistake(self, node: yaml.Node, what: str) -> None:
        self.mistakes.append(f"{self.path}:{node.start_mark.line + 1}: {what}")

    def _mapping(
        self, node: yaml.Node, what: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._mistake(node, f"{what} must be `key: value` lines with {_listed(required)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in required + optional:
                # Root reads what the settings name, for whoever may change them: only a misspelling is repeated.
                known = f"; {what} has {_listed(required + optional)}"
                close = difflib.get_close_matches(name[:40], required + optional, n=1)
                self._mistake(key, f"unknown key `{name}`{known}" if close else f"unknown key in this line{known}")
            elif name in found:
                self._mistake(key, f"`{name}` stands here a second time")
            else:
                found[name] = value
        if missing := [name for name in required if name not in found]:
            self._mistake(node, f"{what} lacks {_listed(missing)}")
        return found

    def _list(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._mistake(node, f"`{what}` must be a list, with at least one `- ...`")
            return []
        return list(node.value)

    def _text(self, node: yaml.Node | None, what: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str" or not node.value.strip():
            self._mistake(node, f"`{what}` must be a text; put it in quotes if YAML takes it for something else")
            return ""
        return " ".join(node.value.split())

    def _language(self, node: yaml.Node | None) -> str:
        language = self._text(node, "language").lower() or LANGUAGES[0]
        if node is not None and language not in LANGUAGES:
            self._mistake(node, f"`language` must be {_listed(LANGUAGES, 'or')}; no other can be recognised")
        return language

    def _speakable(self, node: yaml.Node | None, what: str) -> str:
        text = self._text(node, what)
        if node is None or not text:
            return text
        if len(text) > MAX_TEXT_CHARS:
            self._mistake(node, f"`{what}` has {len(text)} characters; {MAX_TEXT_CHARS} at most")
        try:
            placeholders = list(Formatter().parse(text))
        except ValueError:
            self._mistake(node, f"`{what}` has a lone brace; write {{{{ or }}}} for a brace that is meant")
            return text
        for _, name, spec, conversion in placeholders:
            if name is not None and (name not in PLACEHOLDERS or spec or conversion):
                allowed = _listed([f"{{{known}}}" for known in PLACEHOLDERS])
                self._mistake(node, f"`{what}` has the unknown placeholder {{{name}}}; there are {allowed}")
        return text

    def _entries(self, node: yaml.Node | None) -> tuple[Entry, ...]:
        return tuple(self._entry(item) for item in self._list(node, "entries"))

    def _entry(self, node: yaml.Node) -> Entry:
        parts = self._mapping(node, "an entry", required=("name", "questions", "answer"), optional=("tool", "sound"))
        name = self._text(parts.get("name"), "name")
        if name in self.named:
            self._mistake(node, f"the entry of line {self.named[name]} is called `{name}`, too")
        elif name:
            self.named[name] = node.start_mark.line + 1
        questions = tuple(self._question(item) for item in self._list(parts.get("questions"), "questions"))
        answer = self._speakable(parts.get("answer"), "answer")
        sound = self._text(parts.get("sound"), "sound")
        if "tool" not in parts:
            return Entry(name, questions, answer, sound=sound)
        tool = self._mapping(parts["tool"], "a tool", required=("name",), optional=("arguments",))
        called, arguments = self._text(tool.get("name"), "name"), self._json(tool.get("arguments"))
        return Entry(name, questions, answer, called, arguments, sound)

    def _json(self, node: yaml.Node | None) -> str:
        if node is None:
            return "{}"
        try:
            value = yaml.SafeLoader("").construct_object(node, deep=True)
            if isinstance(value, dict):
                return json.dumps(value, allow_nan=False)
        except (yaml.YAMLError, ValueError, TypeError):
            pass
        self._mistake(node, "`arguments` must be `key: value` lines that JSON can say")
        return "{}"

    def _question(self, node: yaml.Node) -> Question:
        line = node.start_mark.line + 1
        original = self._text(node, "questions")
        text = normalise(original)
        if not original:
            return Question(text, line)
        if not text:
            self._mistake(node, f"`{original}` has no words")
        elif not re.fullmatch(r"[a-z' ]+", text):
            self._mistake(node, f"`{original}` has other signs than English letters; write numbers as words")
        elif len(text.split()) > MAX_QUESTION_WORDS:
            self._mistake(node, f"`{original}` has more than {MAX_QUESTION_WORDS} words")
        elif text in self.asked:
            self._mistake(node, f"`{original}` is asked in line {self.asked[text]} already")
        else:
            self.asked[text] = line
        return Question(text, line)


def _without_names(problem: str) -> str:
    """What PyYAML says, without what it repeats of the file: the name of an alias or a tag."""
    return problem.partition(" '")[0] if problem.startswith("found undefined") else problem


def _listed(names: tuple[str, ...] | list[str], word: str = "and") -> str:
    quoted = [f"`{name}`" for name in names]
    return f" {word} ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
