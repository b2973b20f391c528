"""What a YAML scalar means, where all versions of YAML agree about it.

YAML 1.1 (PyYAML) and 1.2 read many plain scalars differently: `no`, `010`, `1:30`, `1e3`, `2026-01-01`. Those are never
guessed at. Sources: yaml.org/type (bool, int, float, timestamp of 1.1), YAML 1.2.2 chapter 10.3 (core schema).
"""

from __future__ import annotations

import re
from enum import Enum

from yaml.nodes import ScalarNode

Scalar = str | int | float | bool | None


class Reading(Enum):
    """A scalar that has no value of its own."""

    AMBIGUOUS = "ambiguous"


MAX_DIGITS = 15  # any 15 digits fit a float exactly; no setting comes near

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+")
_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_AMBIGUOUS = re.compile(
    r"""
    y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF   # booleans of 1.1, texts of 1.2
    | [-+]?0[0-9_]+                                     # 010: octal in 1.1, decimal in 1.2
    | [-+]?0o[0-7_]+ | [-+]?0x[0-9a-fA-F_]+ | [-+]?0b[01_]+
    | [-+]?(?=[0-9_.]*[0-9])[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)?  # 1_000, 1e3, 010.5
    | [-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?  # 1:30 is 90 in 1.1
    | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?
    | = | <<
    """,
    re.VERBOSE,
)


def read_scalar(node: ScalarNode) -> Scalar | Reading:
    """The value of a scalar: quoted and block ones are text, plain ones are what every YAML version makes of them."""
    text: str = node.value
    if node.style is not None:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if sum(character.isdigit() for character in text) <= MAX_DIGITS:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            return float(text)
    return Reading.AMBIGUOUS if _AMBIGUOUS.fullmatch(text) else text
