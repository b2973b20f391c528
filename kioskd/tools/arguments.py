"""What a model writes as JSON, read strictly and held against a schema. PURE, and bounded whatever the text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_BYTES = 16 * 1024  # of a call's arguments
MAX_DEPTH = 16
MAX_DIGITS = 40  # of a whole number
MAX_VALUES = 500  # altogether: a schema may hold each against every other (uniqueItems)
MAX_WORDS = 200  # characters of what is told to the model


class BadArgumentsError(ValueError):
    """They are not used. Its text is for the model, and may repeat what it wrote; `place` is for the log."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message[:MAX_WORDS])
        self.place = place or "not the JSON that was asked for"


def read(text: str, at_most: int = MAX_BYTES, values: int = MAX_VALUES) -> dict[str, Any]:
    """The object in `text`, which any program reads alike. Nothing at all is an empty one. Raises BadArgumentsError."""
    if len(text) > at_most or len(text.encode("utf-8", "surrogatepass")) > at_most:
        raise BadArgumentsError(f"longer than {at_most} bytes", "too long")
    try:
        value = json.loads(
            text if text.strip() else "{}",
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except BadArgumentsError:
        raise
    except RecursionError:
        raise BadArgumentsError(f"nested more than {MAX_DEPTH} deep", "too deep") from None
    except ValueError:
        raise BadArgumentsError("not JSON") from None
    if not isinstance(value, dict):
        raise BadArgumentsError("must be a JSON object")
    _check(value, values)
    return value


def written(arguments: Mapping[str, Any]) -> str:
    """The same arguments always as the same text: one line of ASCII."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), allow_nan=False)


def alike(arguments: Mapping[str, Any]) -> str:
    """One text for all arguments that mean the same: to JSON, 1.0 is 1."""
    return written({name: _plain(value) for name, value in arguments.items()})


def hold_against(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raises BadArgumentsError where they don't satisfy it. Nothing is fetched for that, whatever the schema says."""
    from jsonschema import Draft202012Validator  # takes a while, and most kiosks have no tools
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(arguments))
    except Unresolvable as unresolvable:
        raise BadArgumentsError(f"can't be checked: {unresolvable}", "the schema itself") from None
    except RecursionError:
        raise BadArgumentsError("too deep for the schema", "the schema itself") from None
    if error is not None:
        place = "/".join(str(part)[:40] for part in list(error.absolute_path)[:MAX_DEPTH]) or "the whole"
        raise BadArgumentsError(f"{place}: {error.message}", f"{ascii(place)[1:-1]}: {error.validator}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadArgumentsError("a name is given twice", "a name twice")
    return found


def _no_constant(name: str) -> float:
    raise BadArgumentsError(f"{name} is no JSON", "not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadArgumentsError("a number is too large", "a number too large")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise BadArgumentsError("a number is too large", "a number too large")
    return int(text)


def _check(value: Any, values: int) -> None:
    """Nothing that is deeper, more, or of other characters, than what every program can take."""
    level, left = [value], values
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict | list):
                left -= len(each)
                inner += [*each, *each.values()] if isinstance(each, dict) else each
            elif isinstance(each, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in each):
                raise BadArgumentsError("holds a character that is no text (U+0000, or half a pair)", "no text")
        if left < 0:
            raise BadArgumentsError(f"more than {values} values", "too many values")
        if not inner:
            return
        level = inner
    raise BadArgumentsError(f"nested more than {MAX_DEPTH} deep", "too deep")
