"""The schema as JSON Schema, for editors that complete and check while one types. PURE."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

from kioskd.config.schema import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string"}


def json_schema() -> dict[str, Any]:
    """For all of kioskd.yaml: names, types, bounds and defaults. What values mean together only `check` knows."""
    return {"$schema": DIALECT, "title": "The settings of kioskd", **_section(Settings)}


def _section(cls: type) -> dict[str, Any]:
    fields = attrs.fields(attrs.resolve_types(cls))
    described: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if cls.__doc__:
        described["description"] = cls.__doc__.strip()
    described["properties"] = {each.name: _key(each) for each in fields}
    # A profile may bring what an endpoint needs: that can't be said here.
    required = [each.name for each in fields if each.default is attrs.NOTHING and each.name not in ("url", "model")]
    return described | ({"required": required} if required else {})


def _key(attribute: attrs.Attribute[Any]) -> dict[str, Any]:
    described = _type(attribute.type)
    for name, limits in (("within", ("minimum", "maximum")), ("items", ("minItems", "maxItems"))):
        if name in attribute.metadata:
            if described.get("type") == "object":
                limits = ("minProperties", "maxProperties")
            described |= dict(zip(limits, attribute.metadata[name], strict=True))
    default = attribute.default
    if default is attrs.NOTHING:
        return described
    if isinstance(default, Enum):
        return described | {"default": default.value}
    if isinstance(default, tuple):
        return described | {"default": list(default)}
    return described | ({"default": default} if isinstance(default, bool | int | float | str) else {})


def _type(kind: Any) -> dict[str, Any]:
    if isinstance(kind, types.UnionType):
        kinds = [each for each in typing.get_args(kind) if each is not types.NoneType]
        optional = len(kinds) < len(typing.get_args(kind))
        if len(kinds) > 1:
            names = [_SCALARS[each] for each in kinds] + (["null"] if optional else [])
            return {"type": names}
        described = _type(kinds[0])
        return described | {"type": [described["type"], "null"]} if optional else described
    if attrs.has(kind):
        return _section(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": _type(typing.get_args(kind)[0])}
    if typing.get_origin(kind) is Mapping and typing.get_args(kind)[1] is Any:
        return {"type": "object"}
    if typing.get_origin(kind) is Mapping:
        return {"type": "object", "additionalProperties": _type(typing.get_args(kind)[1])}
    return {"type": _SCALARS[kind]}
