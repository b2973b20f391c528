"""Old layouts of the settings file: understood as they are, rewritten only when the owner asks. PURE.

The key `version` says which layout a file has. A new layout gets the next number, and in `STEPS` what leads to it: a
few moves, as data, so that one list tells both how an old file is read (with its own lines in every message) and how
its text is rewritten (with its comments and order).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kioskd.config.layout import CURRENT, version_of


@frozen
class Renamed:
    """A key has another name now, in the section that it was in. `section`: dotted, `endpoints[]` is each of them."""

    section: str
    old: str
    new: str


@frozen
class Dropped:
    """A key means nothing any more."""

    section: str
    old: str


@frozen
class Reworded:
    """A value is called something else now."""

    section: str
    old: str
    words: Mapping[str, str]


Step = Renamed | Dropped | Reworded

STEPS: dict[int, Sequence[Step]] = {}
"""From the layout of this number to the next one. There has been one layout so far."""


def migrated(
    root: MappingNode, file: str, steps: Mapping[int, Sequence[Step]] = STEPS, current: int = CURRENT
) -> MappingNode:
    """The tree as today's layout has it; `root` itself stays as it is. Raises SettingsError."""
    version = version_of(root, file, current)
    if version == current:
        return root
    for number in range(version, current):
        for step in steps.get(number, ()):
            root = _mapping(_applied(root, step.section, step))
    return _mapping(_with_version(root, current))


def _mapping(node: Node) -> MappingNode:
    assert isinstance(node, MappingNode)
    return node


def _applied(node: Node, section: str, step: Step) -> Node:
    """A copy of the tree along the way to `section`, and what the step does there."""
    if not section:
        return _done(node, step) if isinstance(node, MappingNode) else node
    name, _, rest = section.partition(".")
    wanted, each = name.removesuffix("[]"), name.endswith("[]")
    if not isinstance(node, MappingNode):
        return node
    pairs = []
    for key, value in node.value:
        if key.value == wanted and not each:
            value = _applied(value, rest, step)
        elif key.value == wanted and isinstance(value, SequenceNode):
            value = _like(value, [_applied(item, rest, step) for item in value.value])
        pairs.append((key, value))
    return _like(node, pairs)


def _done(node: MappingNode, step: Step) -> Node:
    pairs = []
    names = [key.value for key, _ in node.value]
    for key, value in node.value:
        if key.value == step.old:
            match step:
                case Dropped():
                    continue
                case Renamed(_, _, new):
                    if new in names:  # the owner was there before us
                        continue
                    key = _scalar_like(key, new)
                case Reworded(_, _, words):
                    if isinstance(value, ScalarNode) and value.value in words:
                        value = _scalar_like(value, words[value.value])
        pairs.append((key, value))
    return _like(node, pairs)


def _with_version(root: MappingNode, number: int) -> Node:
    pairs = [(key, _scalar_like(value, str(number)) if key.value == "version" else value) for key, value in root.value]
    return _like(root, pairs)


def _like(node: Node, value: object) -> Node:
    return type(node)(node.tag, value, node.start_mark, node.end_mark)


def _scalar_like(node: ScalarNode, value: str) -> ScalarNode:
    return ScalarNode(node.tag, value, node.start_mark, node.end_mark, style=node.style)


# The text


def rewritten(text: str, file: str, steps: Mapping[int, Sequence[Step]] = STEPS, current: int = CURRENT) -> str:
    """The text in today's layout, its comments and order kept. Raises SettingsError."""
    from kioskd.config.yaml_text import compose

    version = version_of(compose(text, file), file, current)
    for number in range(version, current):
        for step in steps.get(number, ()):
            while (edit := _one_edit(text, file, step)) is not None:
                text = edit
    if version == current:
        return text
    for key, value in compose(text, file).value:
        if key.value == "version":
            return text[: value.start_mark.index] + str(current) + text[value.end_mark.index :]
    return f"version: {current}\n{text}"


def _one_edit(text: str, file: str, step: Step) -> str | None:
    from kioskd.config.yaml_text import compose

    return next(_edits(compose(text, file), step.section, step, text), None)


def _edits(node: Node, section: str, step: Step, text: str) -> Iterator[str]:
    from kioskd.config.edit import end_of

    """The text after one more change by this step, if any is left to be made."""
    if section:
        name, _, rest = section.partition(".")
        for key, value in node.value if isinstance(node, MappingNode) else ():
            if key.value == name.removesuffix("[]"):
                for inner in value.value if name.endswith("[]") and isinstance(value, SequenceNode) else (value,):
                    yield from _edits(inner, rest, step, text)
        return
    pairs = node.value if isinstance(node, MappingNode) else ()
    for key, value in pairs:
        if key.value != step.old:
            continue
        taken = isinstance(step, Renamed) and step.new in [other.value for other, _ in pairs]
        if isinstance(step, Dropped) or taken:
            start = text.rfind("\n", 0, key.start_mark.index) + 1
            end = text.find("\n", end_of(text, value, key.end_mark.index + 1))
            if not text[start : key.start_mark.index].strip():
                yield text[:start] + (text[end + 1 :] if end >= 0 else "")
        elif isinstance(step, Renamed):
            yield text[: key.start_mark.index] + step.new + text[key.end_mark.index :]
        elif isinstance(step, Reworded) and isinstance(value, ScalarNode) and value.value in step.words:
            yield text[: value.start_mark.index] + step.words[value.value] + text[value.end_mark.index :]
