"""The second layer of reading settings: YAML nodes against the classes of the schema, every mistake with its line."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs
from attrs import define, field, frozen
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kioskd.config.problems import MAX_PROBLEMS, Problem, SettingsError, key_path
from kioskd.config.profiles import UnknownProfileError, laid_over, read_profile
from kioskd.config.scalars import Reading, read_scalar
from kioskd.config.schema import Endpoint, EndpointKind, Settings
from kioskd.config.secrets import KEY_PLACES, looks_like_key, mask_keys

MAX_LINE_CHARACTERS = 2048  # a URL with all its parameters
MAX_SHOWN_CHARACTERS = 40  # of a wrong value; it could be a whole pasted file

# The only text that may have several lines.
_PROSE = frozenset({"conversation.instructions"})
# Words that owners (and other programs' files) give the key.
_KEY_WORDS = frozenset({"api_key", "apikey", "api-key", "token", "secret", "password", "authorization", "bearer"})
_UNITS = {"_ms": "milliseconds", "_s": "seconds", "_frames": "frames"}
_NOT_IN_PROFILES = frozenset({"name", "profile", "key"})
_WRONG = object()


@frozen(eq=False, repr=False)
class Lines:
    """Where each key stands in the file."""

    file: str
    of_key: dict[str, int]

    def problem(self, key: str, message: str) -> Problem:
        """A problem at `key`, or, where the owner left it out, at the section it would stand in."""
        place = key
        while place and place not in self.of_key:
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return Problem(self.file, self.of_key.get(place, 1), key, mask_keys(message))


def shape(root: MappingNode, file: str) -> tuple[Settings, Lines]:
    """The settings in `root`, of the right types and within bounds. Raises SettingsError with every mistake."""
    reader = _Reader(file)
    plain = reader.section(root, Settings, "")
    if reader.problems:
        raise SettingsError(reader.problems)
    return _built(plain, Settings), Lines(file, reader.lines)


def _built(value: Any, kind: Any) -> Any:
    """What was read, as an object of the class that it was read against."""
    kind, _ = _without_none(kind)
    if value is None:
        return None
    if attrs.has(kind):
        fields = attrs.fields_dict(kind)
        return kind(**{name: _built(each, fields[name].type) for name, each in value.items()})
    if typing.get_origin(kind) is tuple:
        return tuple(_built(each, typing.get_args(kind)[0]) for each in value)
    if kind is float or (isinstance(kind, type) and issubclass(kind, Enum)):
        return kind(value)
    return value


@define(eq=False, repr=False)
class _Reader:
    """Walks the tree once; what is wrong is noted, and read as `_WRONG` so that the walk goes on."""

    file: str
    problems: list[Problem] = field(factory=list)
    lines: dict[str, int] = field(factory=dict)
    of_profile: bool = False  # then nothing is required

    def section(self, node: Node, cls: type, path: str) -> Any:
        if not isinstance(node, MappingNode):
            return self._wrong(node, path, f"must be a section with keys of its own, not {_shown(node)}")
        fields = {each.name: each for each in attrs.fields(attrs.resolve_types(cls))}
        plain: dict[str, Any] = {}
        for key, value in node.value:
            inner = key_path(path, key.value)
            # A value knows where it begins; its key's line is the one that the owner looks for.
            self.lines[inner] = key.start_mark.line + 1
            if self.of_profile and cls is Endpoint and key.value in _NOT_IN_PROFILES:
                self._wrong(key, inner, "does not belong into a profile")
            elif key.value in fields:
                plain[key.value] = self._value(value, fields[key.value], inner)
            else:
                few = len(self.problems) < MAX_PROBLEMS  # looking for what was meant takes a while
                self._wrong(key, inner, _unknown(key.value, tuple(fields)) if few else "unknown")
        if cls is Endpoint:
            plain = self._over_profile(plain, path)
        for name, each in fields.items():
            if name not in plain and not self.of_profile and _required(cls, each, plain):
                self._wrong(node, key_path(path, name), "is missing; it is required")
        return plain

    def _over_profile(self, plain: dict[str, Any], path: str) -> dict[str, Any]:
        """An endpoint's own lines laid over those of the profile that it names."""
        name = plain.get("profile")
        if not isinstance(name, str):
            return plain
        try:
            root, file = read_profile(name)
        except UnknownProfileError as error:
            inner = key_path(path, "profile")
            self.problems.append(Problem(self.file, self.lines[inner], inner, str(error)))
            return {"url": _WRONG, "model": _WRONG} | plain  # what the right profile might have set is not missed
        except SettingsError as error:
            self.problems += error.problems
            return {"url": _WRONG, "model": _WRONG} | plain
        reader = _Reader(file, of_profile=True)
        defaults = reader.section(root, Endpoint, "")
        self.problems += reader.problems
        return laid_over(defaults, plain)

    def _value(self, node: Node, attribute: attrs.Attribute[Any], path: str) -> Any:
        kind, optional = _without_none(attribute.type)
        if isinstance(node, ScalarNode) and read_scalar(node) is None:
            if optional:
                return None
            return self._wrong(node, path, "has no value; give it one, or delete the line for the default")
        if attrs.has(kind):
            return self.section(node, kind, path)
        if typing.get_origin(kind) is tuple:
            return self._list(node, typing.get_args(kind)[0], attribute.metadata.get("items"), path)
        if typing.get_origin(kind) is Mapping and typing.get_args(kind)[1] is Any:
            return self._json_object(node, path)
        if typing.get_origin(kind) is Mapping:
            return self._mapping(node, typing.get_args(kind)[1], attribute.metadata["items"], path)
        return self._scalar(node, kind, attribute.metadata.get("within"), path)

    def _list(self, node: Node, kind: Any, bounds: tuple[int, int] | None, path: str) -> Any:
        if not isinstance(node, SequenceNode):
            return self._wrong(node, path, f"must be a list, not {_shown(node)}")
        if bounds is not None and not bounds[0] <= len(node.value) <= bounds[1]:
            self._wrong(node, path, f"must list {bounds[0]} to {bounds[1]} entries, not {len(node.value)}")
        items = []
        for number, item in enumerate(node.value):
            inner = f"{path}[{number}]"
            self.lines[inner] = item.start_mark.line + 1
            read = self.section(item, kind, inner) if attrs.has(kind) else self._scalar(item, kind, None, inner)
            items.append(read)
        return items

    def _mapping(self, node: Node, kind: Any, bounds: tuple[int, int], path: str) -> Any:
        if not isinstance(node, MappingNode):
            return self._wrong(node, path, f"must be lines of the form name: value, not {_shown(node)}")
        if len(node.value) > bounds[1]:
            self._wrong(node, path, f"must have at most {bounds[1]} entries, not {len(node.value)}")
        items = {}
        for key, value in node.value:
            inner = key_path(path, key.value)
            self.lines[inner] = key.start_mark.line + 1
            items[key.value] = self._scalar(value, kind, None, inner)
        return items

    def _json_object(self, node: Node, path: str) -> Any:
        if not isinstance(node, MappingNode):
            return self._wrong(node, path, f"must be a JSON Schema, such as {{type: object}}, not {_shown(node)}")
        return self._json(node, path)

    def _json(self, node: Node, path: str) -> Any:
        """Whatever JSON can hold, as the owner wrote it in YAML."""
        if isinstance(node, MappingNode):
            items = {}
            for key, value in node.value:
                inner = key_path(path, key.value)
                self.lines[inner] = key.start_mark.line + 1
                items[key.value] = self._json(value, inner)
            return items
        if isinstance(node, SequenceNode):
            return [self._json(item, f"{path}[{number}]") for number, item in enumerate(node.value)]
        value = read_scalar(node) if isinstance(node, ScalarNode) else None
        if value is Reading.AMBIGUOUS:
            return self._wrong(node, path, f"{_shown(node)} means different things in YAML 1.1 and 1.2; quote it")
        if isinstance(value, str) and len(value) > MAX_LINE_CHARACTERS:
            return self._wrong(node, path, f"is longer than {MAX_LINE_CHARACTERS} characters")
        return value

    def _scalar(self, node: Node, kind: Any, bounds: tuple[float, float] | None, path: str) -> Any:
        allowed = _allowed(kind, bounds, path)
        if not isinstance(node, ScalarNode):
            return self._wrong(node, path, f"must be {allowed}, not {_shown(node)}")
        value = read_scalar(node)
        if value is Reading.AMBIGUOUS:
            if str in _kinds(kind):
                advice = f'quote it: "{_shown(node)}"'
                advice += "" if kind is str else f" where it is a name; else write {allowed}"
            else:
                advice = f"quote it where text is meant; allowed here: {allowed}"
            return self._wrong(node, path, f"{_shown(node)} means different things in YAML 1.1 and 1.2; {advice}")
        if isinstance(kind, type) and issubclass(kind, Enum):
            if value in [member.value for member in kind] and isinstance(value, str):
                return value
            return self._wrong(node, path, f"must be {allowed}, not {_shown(node)}{_nearest(value, kind)}")
        if not _is_a(value, kind):
            return self._wrong(node, path, f"must be {allowed}, not {_shown(node)}{_hint(value, kind)}")
        if bounds is not None and isinstance(value, int | float) and not bounds[0] <= value <= bounds[1]:
            return self._wrong(node, path, f"must be {allowed}, not {_shown(node)}")
        if isinstance(value, str) and (fault := _fault_of_text(value, path)):
            return self._wrong(node, path, fault)
        return value

    def _wrong(self, node: Node, path: str, message: str) -> Any:
        line = self.lines.get(path, node.start_mark.line + 1)
        self.problems.append(Problem(self.file, line, path, message))
        return _WRONG


def _required(cls: type, attribute: attrs.Attribute[Any], plain: dict[str, Any]) -> bool:
    """Whether a section can't do without a key; an endpoint on this machine has no address and no model."""
    if cls is Endpoint and attribute.name in ("url", "model"):
        return plain.get("kind") not in (EndpointKind.LOCAL.value, _WRONG)
    return bool(attribute.default is attrs.NOTHING)


def _kinds(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _without_none(kind: Any) -> tuple[Any, bool]:
    kinds = [each for each in _kinds(kind) if each is not types.NoneType]
    if len(kinds) == len(_kinds(kind)):
        return kind, False
    return kinds[0], True


def _is_a(value: object, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool in _kinds(kind)
    return isinstance(value, _kinds(kind)) or (isinstance(value, int) and float in _kinds(kind))


def _allowed(kind: Any, bounds: tuple[float, float] | None, path: str) -> str:
    """What belongs at `path`, in words."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    noun = {int: "a whole number", float: "a number"}.get(kind, "a whole number or a name")
    span = f" from {bounds[0]:g} to {bounds[1]:g}" if bounds is not None else ""
    unit = next((f" ({unit})" for ending, unit in _UNITS.items() if path.endswith(ending)), "")
    return f"{noun}{span}{unit}"


def _shown(node: Node) -> str:
    """A wrong value as the owner wrote it, shortened, and masked where it could be a key."""
    if isinstance(node, MappingNode):
        return "a section"
    if isinstance(node, SequenceNode):
        return "a list"
    if not isinstance(node, ScalarNode) or (node.value == "" and node.style is None):
        return "nothing"
    if looks_like_key(node.value):
        return "that"
    text = node.value if len(node.value) <= MAX_SHOWN_CHARACTERS else node.value[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return text if node.style is None and text.isprintable() else ascii(text).replace("'", '"')


def _unknown(name: str, names: tuple[str, ...]) -> str:
    if name.lower() in _KEY_WORDS:
        return f"unknown here; {KEY_PLACES}"
    import difflib  # takes a while, and most owners make no mistake

    if near := difflib.get_close_matches(name, names, n=1):
        return f"unknown; did you mean {near[0]}?"
    if homes := [section for section, fields in _sections("", Settings).items() if name in fields]:
        return f"unknown here; it belongs into {' or '.join(section or 'the top level' for section in homes)}"
    return f"unknown; allowed here: {', '.join(names)}"


def _sections(path: str, cls: type) -> dict[str, tuple[str, ...]]:
    """Every section of the schema with the names of its keys."""
    fields = attrs.fields(attrs.resolve_types(cls))
    found = {path: tuple(each.name for each in fields)}
    for each in fields:
        inner = f"{path}.{each.name}" if path else each.name
        for kind in (each.type, *typing.get_args(each.type)):
            if isinstance(kind, type) and attrs.has(kind):
                found |= _sections(inner, kind)
    return found


def _nearest(value: object, kind: type[Enum]) -> str:
    import difflib

    near = difflib.get_close_matches(str(value).lower(), [str(member.value) for member in kind], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _hint(value: object, kind: Any) -> str:
    """Why a value of the wrong type is wrong, where that has a usual cause."""
    if not isinstance(value, str):
        if kind is str and value is not None:
            return "; quote it to make it text"
        return "; leave out the fraction" if isinstance(value, float) and kind is int else ""
    text = value.strip()
    if kind is bool and text in ("true", "false"):
        return "; remove the quotes"
    if kind in (int, float) and text.replace(".", "", 1).isdecimal():
        return "; remove the quotes"
    if kind is float and text.replace(",", "", 1).isdecimal():
        return "; write the fraction with a point"
    if kind in (int, float) and text[:1].isdecimal():
        return "; write the number alone, without a unit"
    return ""


def _fault_of_text(text: str, path: str) -> str:
    """What makes a text unfit for use, or nothing."""
    prose = path in _PROSE
    allowed = "\t\n" if prose else ""
    # Prose may hold invisible characters (emoji are joined by them), but none that can't be encoded or printed.
    bad = next((c for c in text if c not in allowed and (c < " " or not (prose or c.isprintable()) or _unfit(c))), None)
    if bad is not None:
        return f"holds the character U+{ord(bad):04X}, which can't be used there; delete it"
    if prose:
        return ""
    if not text.strip():
        return "is empty; give it a value, or delete the line"
    if text != text.strip():
        return "begins or ends with a space; remove it"
    return f"is longer than {MAX_LINE_CHARACTERS} characters" if len(text) > MAX_LINE_CHARACTERS else ""


def _unfit(character: str) -> bool:
    return "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"
