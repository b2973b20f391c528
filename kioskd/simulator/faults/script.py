"""Which fault happens when: rules with a seed, and the file in which they are written."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Protocol

from attrs import define, field, frozen
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kioskd.config.files import UnreadableFileError, read_small_file
from kioskd.config.problems import Problem, SettingsError, key_path
from kioskd.config.scalars import read_scalar
from kioskd.config.yaml_text import MAX_BYTES, compose, decode
from kioskd.simulator.faults.catalogue import ALL_KINDS, Kind, Level, Phase

MAX_RULES = 1000  # a rule for every kind in every phase is 200


class FaultSource(Protocol):
    """Decides. It is asked at every opportunity, which is a chance for a fault and not yet one."""

    def draw(self, level: Level, phase: Phase) -> Kind | None:
        """The fault of this level to make now, in this phase; None for none."""


@frozen
class Rule:
    """One kind of fault, at the opportunities that match.

    `phase` None is any that the kind allows. The first `after` matching opportunities are let pass; of the others
    each is taken with `probability`, at most `times` of them (None: no limit).
    """

    kind: str
    phase: Phase | None = None
    times: int | None = None
    probability: float = 1.0
    after: int = 0

    def matches(self, level: Level, phase: Phase) -> bool:
        """Whether an opportunity is one for this rule."""
        kind = ALL_KINDS[self.kind]
        return level is kind.level and phase in kind.phases and self.phase in (None, phase)


@define
class _Drawer:
    """A rule, and how far it has come. Its chance is its own: what else is drawn doesn't change it."""

    rule: Rule
    random: Random
    seen: int = 0
    taken: int = 0

    def takes(self) -> bool:
        """Whether the fault happens at this matching opportunity."""
        self.seen += 1
        rule = self.rule
        if self.seen <= rule.after or (rule.times is not None and self.taken >= rule.times):
            return False
        if self.random.random() >= rule.probability:
            return False
        self.taken += 1
        return True


class FaultScript:
    """Draws by rules, the first one that takes an opportunity wins; the same for the same seed and opportunities.

    `hits` counts what was drawn, by kind and phase. (An observer hears what was done.)
    """

    def __init__(self, rules: Sequence[Rule], seed: int = 0) -> None:
        """Raises ValueError: a kind that doesn't exist, or a phase that it doesn't have."""
        for rule in rules:
            if rule.kind not in ALL_KINDS or (rule.phase is not None and rule.phase not in ALL_KINDS[rule.kind].phases):
                raise ValueError(f"there is no fault {rule.kind} in the phase {rule.phase}")
        self.rules = tuple(rules)
        self.seed = seed
        self.hits: Counter[tuple[str, Phase]] = Counter()
        self._drawers = [_Drawer(rule, Random(f"{seed}/{number}")) for number, rule in enumerate(rules)]

    def draw(self, level: Level, phase: Phase) -> Kind | None:
        """The fault for this opportunity."""
        for drawer in self._drawers:
            if drawer.rule.matches(level, phase) and drawer.takes():
                self.hits[drawer.rule.kind, phase] += 1
                return ALL_KINDS[drawer.rule.kind]
        return None

    def has(self, level: Level) -> bool:
        """Whether any rule is of this level."""
        return any(ALL_KINDS[rule.kind].level is level for rule in self.rules)

    def makes(self, kind: str) -> bool:
        """Whether any rule is of this kind."""
        return any(rule.kind == kind for rule in self.rules)


def load_script(path: Path) -> FaultScript:
    """The script in this file. Raises SettingsError with every mistake and its line."""
    name = str(path)
    try:
        content = read_small_file(path, MAX_BYTES).content
    except UnreadableFileError as error:
        raise SettingsError([Problem(name, 0, "", str(error))]) from None
    return parse_script(decode(content, name), name)


def parse_script(text: str, name: str) -> FaultScript:
    """The script in `text`; `name` is what problems call the file. Raises SettingsError, and nothing else."""
    if all(line.strip() == "" or line.lstrip().startswith("#") for line in text.splitlines()):
        raise SettingsError([Problem(name, 1, "", "is empty; at least faults is required")])
    reader = _Reader(name)
    script = reader.script(compose(text, name))
    if reader.problems or script is None:
        raise SettingsError(reader.problems)
    return script


@define
class _Reader:
    """Walks the file once; what is wrong is noted, and read as None."""

    file: str
    problems: list[Problem] = field(factory=list)

    def script(self, root: MappingNode) -> FaultScript | None:
        found = self._section(root, "", ("seed", "faults"))
        seed = self._number(found.get("seed"), "seed", int, 0, 2**53) if "seed" in found else 0
        if "faults" not in found:
            self._wrong(root, "faults", "is missing; it is required")
            return None
        rules = self._rules(found["faults"])
        if self.problems or seed is None:
            return None
        return FaultScript([rule for rule in rules if rule is not None], int(seed))

    def _rules(self, node: Node) -> list[Rule | None]:
        if not isinstance(node, SequenceNode) or not 1 <= len(node.value) <= MAX_RULES:
            self._wrong(node, "faults", f"must be a list of 1 to {MAX_RULES} faults")
            return []
        return [self._rule(item, f"faults[{number}]") for number, item in enumerate(node.value)]

    def _rule(self, node: Node, path: str) -> Rule | None:
        found = self._section(node, path, ("kind", "phase", "times", "probability", "after"))
        if not isinstance(node, MappingNode):
            return None
        if "kind" not in found:
            self._wrong(node, f"{path}.kind", "is missing; it is required")
        kind = self._word(found.get("kind"), f"{path}.kind", tuple(ALL_KINDS))
        phases = sorted((each.value for each in ALL_KINDS[kind].phases), key=_ORDER.index) if kind else _ORDER
        phase = self._word(found.get("phase"), f"{path}.phase", phases, f"of {kind} " if kind else "")
        times = self._number(found.get("times"), f"{path}.times", int, 1, 1_000_000)
        chance = self._number(found.get("probability"), f"{path}.probability", float, 0, 1)
        after = self._number(found.get("after"), f"{path}.after", int, 0, 1_000_000)
        if kind is None:
            return None
        return Rule(
            kind,
            Phase(phase) if phase else None,
            None if times is None else int(times),
            1.0 if chance is None else chance,
            int(after or 0),
        )

    def _section(self, node: Node, path: str, allowed: Sequence[str]) -> dict[str, Node]:
        if not isinstance(node, MappingNode):
            self._wrong(node, path, f"must be a section with these keys: {', '.join(allowed)}")
            return {}
        found: dict[str, Node] = {}
        for key, value in node.value:
            if key.value in allowed:
                found[key.value] = value
            else:
                self._wrong(key, key_path(path, key.value), _unknown(key.value, allowed))
        return found

    def _word(self, node: Node | None, path: str, allowed: Sequence[str], whose: str = "") -> str | None:
        if node is None:
            return None
        value = read_scalar(node) if isinstance(node, ScalarNode) else None
        if isinstance(value, str) and value in allowed:
            return value
        choice = f"allowed {whose}are: {', '.join(allowed)}"
        if not isinstance(node, ScalarNode) or node.value == "":
            self._wrong(node, path, f"must be one word; {choice}")
            return None
        near = difflib.get_close_matches(node.value, allowed, n=1)
        advice = f"did you mean {near[0]}?" if near else choice
        self._wrong(node, path, f"there is no {key_path('', node.value)} here; {advice}")
        return None

    def _number(self, node: Node | None, path: str, kind: type, low: int, high: int) -> float | None:
        if node is None:
            return None
        value = read_scalar(node) if isinstance(node, ScalarNode) else None
        right = isinstance(value, int) or (kind is float and isinstance(value, float))
        if right and not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high:
            return value
        noun = "a whole number" if kind is int else "a number"
        self._wrong(node, path, f"must be {noun} from {low} to {high}")
        return None

    def _wrong(self, node: Node, path: str, message: str) -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, path, message))


_ORDER = [phase.value for phase in Phase]


def _unknown(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"unknown; did you mean {near[0]}?" if near else f"unknown; allowed here: {', '.join(allowed)}"
