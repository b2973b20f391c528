"""Changes single keys in the text of a settings file, and not one other character of it.

ruamel.yaml tells where a value stands, and writes the new one; what the result means, the strict loader decides: an
edit that would mean anything else than what was asked for is not made.
"""

from __future__ import annotations

import io
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import attrs
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kioskd.config.scalars import read_scalar
from kioskd.config.schema import Settings
from kioskd.config.yaml_text import compose

Path = tuple[str | int, ...]

_PART = re.compile(r"([^.\[\]]+)((?:\[[0-9]{1,9}\])*)")
_PLAIN = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|true|false|null")
_WIDE = 1_000_000  # a line is never folded
_STEP = "  "


class EditError(ValueError):
    """The file can't be edited in this way; the text says why, and what to do."""


def changed(text: str, assignments: Sequence[str], name: str) -> str:
    """The text after each `KEY=VALUE`; `KEY=` takes the key out, so that its default counts.

    Raises EditError, and SettingsError where the text is no YAML that could be a settings file.
    """
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise EditError(f"{assignment!r:.80} is no KEY=VALUE, such as audio.volume=40")
        text = _changed(text, key.strip(), value, name)
    return text


def _changed(text: str, key: str, value: str, name: str) -> str:
    if text.startswith("\ufeff"):
        return "\ufeff" + _changed(text.removeprefix("\ufeff"), key, value, name)
    before = compose(text, name)
    path = find(key, before)
    wanted = plain(before)
    candidates: Iterator[str]
    if value:
        try:
            written = _written(value, kind_at(path))
            meant = plain(yaml.compose(written, Loader=yaml.SafeLoader))
        except (RecursionError, TypeError):  # too deep, or a list as a key
            raise EditError(f"{key}: this value can't be read") from None
        _put(wanted, path, meant, key)
        candidates = _with(text, path, written)
    else:
        if not _take_out(wanted, path):
            return text
        candidates = _without(text, path)
    for candidate in candidates:
        if _means(candidate, wanted, name):
            return candidate
    raise EditError(f"{key} can't be changed in the file as it is written; use: kioskd config edit")


def _means(text: str, wanted: Any, name: str) -> bool:
    try:
        return bool(plain(compose(text, name)) == wanted)
    except ValueError:
        return False


# Keys


def find(key: str, root: MappingNode) -> Path:
    """The way to a dotted key, in which an endpoint stands by number (`endpoints[0]`) or name (`endpoints.lobby`).

    Raises EditError.
    """
    path: list[str | int] = []
    pieces = key.split(".")
    for number, piece in enumerate(pieces):
        if path == ["endpoints"] and number == 1 and "[" not in pieces[0]:
            path.append(_endpoint_called(piece, root))
            continue
        found = _PART.fullmatch(piece)
        if found is None:
            raise EditError(f"{key!r:.80} is no key; keys look like audio.volume or endpoints[0].voice")
        path.append(found[1])
        path += [int(index) for index in re.findall(r"[0-9]+", found[2])]
    return tuple(path)


def _endpoint_called(name: str, root: MappingNode) -> int:
    names = []
    endpoints = next((value for key, value in root.value if key.value == "endpoints"), None)
    for number, item in enumerate(endpoints.value if isinstance(endpoints, SequenceNode) else ()):
        inner = item.value if isinstance(item, MappingNode) else ()
        names.append(next((value.value for key, value in inner if key.value == "name"), ""))
        if names[-1] == name:
            return number
    raise EditError(f"there is no endpoint {name!r:.40} in the file; there is {', '.join(map(str, names)) or 'none'}")


def kind_at(path: Path) -> Any:
    """What the schema has at a key; None where it has nothing."""
    kind: Any = Settings
    for part in path:
        kind = _without_none(kind)
        if isinstance(part, int):
            kind = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
        elif attrs.has(kind):
            fields = attrs.fields_dict(attrs.resolve_types(kind))
            kind = fields[part].type if part in fields else None
        elif typing.get_origin(kind) is Mapping:
            kind = typing.get_args(kind)[1]
        else:
            return None
    return kind


def _without_none(kind: Any) -> Any:
    kinds = [each for each in typing.get_args(kind) if each is not types.NoneType]
    return kinds[0] if isinstance(kind, types.UnionType) and len(kinds) == 1 else kind


# Values


def _written(value: str, kind: Any) -> str:
    """A value as YAML: text is quoted, since plain text means different things to different readers."""
    optional = isinstance(kind, types.UnionType) and types.NoneType in typing.get_args(kind)
    kind = _without_none(kind)
    if value == "null" and optional:
        return "null"
    if isinstance(kind, type) and issubclass(kind, Enum) and value in [member.value for member in kind]:
        return value
    if kind is not str and value[:1] in ("[", "{"):
        return _flow(value)
    if kind is not str and kind is not None and _PLAIN.fullmatch(value):
        return value
    return _quoted(value)


def _quoted(value: str) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    writer, out = YAML(pure=True), io.StringIO()
    writer.width = _WIDE
    writer.allow_unicode = True
    writer.dump({"v": DoubleQuotedScalarString(value)}, out)
    written = out.getvalue().removeprefix("v:").strip()
    return written if "\n" not in written else json.dumps(value, ensure_ascii=False)


def _flow(value: str) -> str:
    """A list or mapping as it was typed, if it is one, whole."""
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        node = None
    if node is None or "\n" in value or not isinstance(node, MappingNode | SequenceNode):
        raise EditError(f"{value!r:.60} is no list [a, b] and no mapping {{a: b}}")
    if node.end_mark.index != len(value.rstrip()):
        raise EditError(f"{value!r:.60}: something stands behind the bracket")
    return value.rstrip()


# What a text means, without the schema


def plain(node: Node | None) -> Any:
    """Mappings, lists and scalars; what stands quoted, and what doesn't, is told apart."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    assert isinstance(node, ScalarNode)
    value = read_scalar(node)
    return (type(value).__name__, node.value if isinstance(value, Enum) else value)


def _put(tree: Any, path: Path, value: Any, key: str) -> None:
    for part in path[:-1]:
        if isinstance(part, int):
            if not isinstance(tree, list) or part >= len(tree):
                raise EditError(f"{key}: there is no entry {part} in that list; use: kioskd config edit")
            tree = tree[part]
        elif isinstance(tree, dict):
            tree = tree.setdefault(part, {})
        else:
            raise EditError(f"{key}: {part} has no keys of its own")
    last = path[-1]
    if isinstance(last, int):
        if not isinstance(tree, list) or last >= len(tree):
            raise EditError(f"{key}: there is no entry {last} in that list; use: kioskd config edit")
    elif not isinstance(tree, dict):
        raise EditError(f"{key}: what is in front of {last} has no keys of its own")
    tree[last] = value


def _take_out(tree: Any, path: Path) -> bool:
    """Whether there was anything. A section that becomes empty goes as well."""
    for length in range(len(path), 0, -1):
        above = _at(tree, path[: length - 1])
        last = path[length - 1]
        if not isinstance(above, dict) or last not in above:
            return False
        del above[last]
        if above or length == 1 or isinstance(path[length - 2], int):
            return True
    return True


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


# The text


def _nodes(text: str, path: Path) -> tuple[list[Any], Any]:
    """ruamel's nodes along the path as far as they are there, and the key's own node of the last one."""
    from ruamel.yaml import YAML

    node = YAML(pure=True).compose(text)
    way, key = [node], None
    for part in path:
        if isinstance(part, int):
            if not (node.id == "sequence" and part < len(node.value)):
                break
            node, key = node.value[part], None
        else:
            pair = next((pair for pair in node.value if pair[0].value == part), None) if node.id == "mapping" else None
            if pair is None:
                break
            key, node = pair
        way.append(node)
    return way, key


def end_of(text: str, node: Any, start: int | None = None) -> int:
    """Behind the last character of a value; ruamel counts the blank and commented lines that follow a block."""
    if node.id == "scalar" or node.flow_style:
        begin = node.start_mark.index
        if begin == node.end_mark.index:  # nothing: it may be said to stand anywhere behind its key
            return begin if start is None else start
        return int(begin + len(text[begin : node.end_mark.index].rstrip()))
    last = node.value[-1]
    if node.id == "mapping":
        return end_of(text, last[1], last[0].end_mark.index + 1)
    return end_of(text, last)


def _with(text: str, path: Path, words: str) -> Iterator[str]:
    """The text with `words` at `path`, in one way after the other."""
    way, key = _nodes(text, path)
    if len(way) > len(path):
        node = way[-1]
        behind = key.end_mark.index + 1 if key is not None else None
        end = end_of(text, node, behind)
        start = min(node.start_mark.index, end)
        space = "" if start < end or text[start - 1 : start] == " " else " "
        yield text[:start] + space + words + text[end:]
        return
    parent, missing = way[-1], path[len(way) - 1 :]
    if parent.id != "mapping" or any(isinstance(part, int) for part in missing):
        return
    names = [str(part) for part in missing]
    if parent.flow_style:
        inner = words
        for name in reversed(names[1:]):
            inner = f"{{{name}: {inner}}}"
        end = parent.end_mark.index - 1
        comma = ", " if parent.value else ""
        yield text[:end].rstrip() + f"{comma}{names[0]}: {inner}" + text[end:]
        return
    indent = " " * parent.value[0][0].start_mark.column
    lines = [f"{indent}{_STEP * depth}{name}:" for depth, name in enumerate(names)]
    lines[-1] += f" {words}"
    newline = "\r\n" if "\r\n" in text else "\n"
    block = newline.join(lines) + newline
    begin = parent.value[0][0].start_mark.index
    # Behind the commented example, where there is one; else behind the section's last key.
    for example in re.finditer(rf"^{indent}# ?{re.escape(names[0])}:.*\n", text[begin:], re.MULTILINE):
        place = begin + example.end()
        yield text[:place] + block + text[place:]
    place = text.find("\n", end_of(text, parent)) + 1
    if place:
        yield text[:place] + block + text[place:]
    else:
        yield text + newline + block.rstrip("\r\n")


def _without(text: str, path: Path) -> Iterator[str]:
    """The text without the lines of a key, and, where that leaves nothing, of the sections around it."""
    for length in range(len(path), 0, -1):
        way, key = _nodes(text, path[:length])
        if len(way) <= length or key is None:
            return
        start = text.rfind("\n", 0, key.start_mark.index) + 1
        end = text.find("\n", end_of(text, way[-1], key.end_mark.index + 1)) + 1 or len(text)
        if not text[start : key.start_mark.index].strip():
            yield text[:start] + text[end:]
