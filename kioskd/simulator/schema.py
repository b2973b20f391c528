"""A few checks for JSON that say what is wrong the way the provider does: the first fault, with its path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kioskd.simulator.errors import ClientError, invalid_type, invalid_value, missing_parameter, unknown_parameter

Check = Callable[[Any, str], None]


def anything(_value: Any, _path: str) -> None:
    """Accept any JSON value."""


def text(max_length: int | None = None) -> Check:
    """A string of at most so many characters."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise invalid_type(path, "a string", named(value))
        if max_length is not None and len(value) > max_length:
            raise ClientError(
                f"Invalid '{path}': string too long. Expected a string with maximum length {max_length}, "
                f"but got a string with length {len(value)} instead.",
                "string_above_max_length",
                path,
            )

    return check


def one_of(*values: str) -> Check:
    """One string of a closed set."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise invalid_type(path, f"one of {', '.join(values)}", named(value))
        if value not in values:
            raise invalid_value(path, value, values)

    return check


def boolean(value: Any, path: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid_type(path, "a boolean", named(value))


def whole(low: int = -(2**53), high: int = 2**53) -> Check:
    """An integer within inclusive bounds."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(path, "an integer", named(value))
        _within(value, path, low, high, "integer")

    return check


def decimal(low: float, high: float) -> Check:
    """A finite number within inclusive bounds."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise invalid_type(path, "a decimal", named(value))
        _within(value, path, low, high, "decimal")

    return check


def nullable(inner: Check) -> Check:
    """The same, or null."""
    return lambda value, path: None if value is None else inner(value, path)


def either(first: Check, second: Check) -> Check:
    """One or the other; what is said is what the second says."""

    def check(value: Any, path: str) -> None:
        try:
            first(value, path)
        except ClientError:
            second(value, path)

    return check


def array(inner: Check, low: int = 0, high: int = 4096) -> Check:
    """A list of so many of these."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise invalid_type(path, "an array of objects", named(value))
        if not low <= len(value) <= high:
            raise ClientError(
                f"Invalid '{path}': expected an array with {low} to {high} elements, but got {len(value)}.",
                "invalid_value",
                path,
            )
        for index, element in enumerate(value):
            inner(element, f"{path}[{index}]")

    return check


def mapping(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no others."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", named(value))
        prefix = f"{path}." if path else ""
        for name in required:
            if name not in value:
                raise missing_parameter(prefix + name)
        for name, inner in value.items():
            if name not in fields:
                raise unknown_parameter(prefix + name)
            fields[name](inner, prefix + name)

    return check


def tagged(tag: str, kinds: Mapping[str, Check]) -> Check:
    """An object whose field `tag` tells which of these checks it must pass."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid_type(path, "an object", named(value))
        where = f"{path}.{tag}" if path else tag
        if tag not in value:
            raise missing_parameter(where)
        one_of(*kinds)(value[tag], where)
        kinds[value[tag]](value, path)

    return check


def named(value: Any) -> str:
    """A JSON value's type as the provider's errors name it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _within(value: float, path: str, low: float, high: float, kind: str) -> None:
    if value < low:
        raise ClientError(
            f"Invalid '{path}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            f"{kind}_below_min_value",
            path,
        )
    if value > high:
        raise ClientError(
            f"Invalid '{path}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            f"{kind}_above_max_value",
            path,
        )
