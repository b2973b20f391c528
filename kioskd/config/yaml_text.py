"""The first layer of reading settings: from bytes to YAML nodes that know their lines.

Only the plain part of YAML is taken: one document of mappings, lists and scalars, no anchors, aliases or tags. That
part means the same to every YAML reader, and can't be made to explode.
"""

# mypy: no-disallow-untyped-calls
# The stubs of PyYAML leave its parser's own methods untyped.

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from yaml.events import AliasEvent, NodeEvent, ScalarEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from kioskd.config.problems import Problem, SettingsError, key_path
from kioskd.config.secrets import KEY_PLACES, looks_like_key, mask_keys

MAX_BYTES = 256 * 1024  # a hundred times a real file
MAX_DEPTH = 16  # the schema needs five

# YAML's own control characters, and the line breaks that editors don't count as lines.
_FORBIDDEN = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
_TAB_INDENT = re.compile(r"^ *\t")
_KEY_OF_LINE = re.compile(r"^[\s-]*([A-Za-z_]\w*)\s*:")


class _TooDeepError(Exception):
    pass


class _NodeLoader(yaml.SafeLoader):
    """Composes nodes as PyYAML does, but notes what is not allowed instead of acting on it."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self.file = file
        self.problems: list[Problem] = []
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            self.get_event()
            self._complain(line, f"the alias *{event.anchor} is not allowed here; write the value itself")
            node = ScalarNode("tag:yaml.org,2002:str", f"*{event.anchor}")
            node.start_mark, node.end_mark = event.start_mark, event.end_mark
            return node
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._complain(line, f"the anchor &{event.anchor} is not allowed here; remove it")
            event.anchor = None  # else PyYAML raises for a second one of the same name
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._complain(line, f"the tag {tag} is not allowed here; remove it, and quote what is text")
            event.tag = None
            if isinstance(event, ScalarEvent):
                event.implicit = (True, True)
        if self._depth >= MAX_DEPTH:
            self._complain(line, f"nested more than {MAX_DEPTH} deep; no setting lies there")
            raise _TooDeepError
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def _complain(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, "", mask_keys(message)))


def decode(content: bytes, file: str) -> str:
    """UTF-8, with or without a byte order mark. Raises SettingsError."""
    if len(content) > MAX_BYTES:
        raise SettingsError([Problem(file, 0, "", f"is larger than {MAX_BYTES // 1024} KiB; this is no settings file")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([Problem(file, line, "", "is not UTF-8 text; save the file as UTF-8")]) from None


def find_keys(text: str, file: str) -> list[Problem]:
    """Every line that holds what looks like an API key, comments included."""
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        if looks_like_key(line):
            named = _KEY_OF_LINE.match(line)
            problems.append(
                Problem(file, number, mask_keys(named[1]) if named else "", f"looks like a key; {KEY_PLACES}")
            )
    return problems


def compose(text: str, file: str) -> MappingNode:
    """The root mapping of the only document in `text`. Raises SettingsError with every problem found."""
    if len(text) > MAX_BYTES:
        raise SettingsError([Problem(file, 0, "", f"is larger than {MAX_BYTES // 1024} KiB; this is no settings file")])
    if problems := list(_forbidden_characters(text, file)):
        raise SettingsError(problems)
    loader = _NodeLoader(text, file)
    root: Node | None = None
    try:
        root = _only_document(loader)
    except _TooDeepError:
        pass
    except yaml.YAMLError as error:
        loader.problems += _syntax_problems(error, text, file)
    finally:
        loader.dispose()
    if root is not None:
        loader.problems += _key_problems(root, file, "")
    if loader.problems:
        raise SettingsError(loader.problems)
    if root is None:
        raise SettingsError([Problem(file, 1, "", "is empty; at least endpoints is required")])
    if not isinstance(root, MappingNode):
        raise SettingsError([Problem(file, root.start_mark.line + 1, "", "must consist of lines such as key: value")])
    return root


def _only_document(loader: _NodeLoader) -> Node | None:
    loader.get_event()  # the stream's start
    root: Node | None = None
    if not loader.check_event(yaml.StreamEndEvent):
        root = loader.compose_document()
    if not loader.check_event(yaml.StreamEndEvent):
        line = loader.peek_event().start_mark.line + 1
        loader._complain(line, "a second document begins here (after ---); only one is allowed")
    return root


def _forbidden_characters(text: str, file: str) -> Iterator[Problem]:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line.replace("\t", " ").isprintable():  # then it holds none of them; the pattern takes long to compile
            continue
        # The line's own "\n" back, so that "\r\n" is seen whole; the last one has none.
        if found := re.search(_FORBIDDEN, line + "\n" if number < len(lines) else line):
            code = ord(found[0])
            yield Problem(file, number, "", f"column {found.start() + 1} holds the character U+{code:04X}; delete it")


def _syntax_problems(error: yaml.YAMLError, text: str, file: str) -> Iterator[Problem]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else 0
    what = getattr(error, "problem", None) or "can't be read"
    if "'\\t'" in what:
        for number, content in enumerate(text.split("\n"), 1):
            if number == line or (number > line and _TAB_INDENT.match(content)):
                yield Problem(file, number, "", "holds a tab where YAML wants spaces; replace it by spaces")
        return
    context = getattr(error, "context", None)
    message = f"is not YAML: {f'{context}: ' if context else ''}{what}"
    if "mapping values are not allowed" in what:
        message += " (a colon inside a text: quote the text; else look at the indentation)"
    elif "expected <block end>" in what or "could not find expected ':'" in what:
        message += " (look at the indentation of this line and of the one before)"
    yield Problem(file, line, "", mask_keys(" ".join(message.split())))


def _key_problems(node: Node, file: str, path: str) -> Iterator[Problem]:
    """Keys that are given twice, or are no plain text; the recursion is bounded by MAX_DEPTH."""
    if isinstance(node, MappingNode):
        first_line: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                yield Problem(file, line, path, "has a list or a mapping as a key; a key is one word")
                continue
            inner = key_path(path, key.value)
            if key.value in first_line:
                yield Problem(file, line, inner, f"is given twice, first in line {first_line[key.value]}; keep one")
            first_line.setdefault(key.value, line)
            yield from _key_problems(value, file, inner)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _key_problems(item, file, f"{path}[{number}]")
