"""What the settings about tools mean: names, commands, and JSON Schemas that this machine can check by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kioskd.config.problems import key_path
from kioskd.config.schema import Conversation
from kioskd.config.tool_schema import BuiltIn, Tools

MAX_DESCRIPTION = 1024  # characters; OpenAI's own bound
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what all wires take
_REFERENCES = ("$ref", "$dynamicRef")
_IDENTITIES = ("$id", "$anchor", "$dynamicAnchor", "$vocabulary")
_MEMBERS = ("properties", "patternProperties", "$defs", "dependentSchemas")  # names of the owner's own choice below

_UNCHECKED = "can't be checked: the package jsonschema is not installed (scripts/install --extras ...,tools)"

Finding = tuple[str, str]  # the key below the section, the message


def check(tools: Tools, conversation: Conversation) -> Iterator[Finding]:
    """Every contradiction in `tools`, and with how long the conversation waits."""
    patience = min(("answer_timeout_s", "answer_stall_s"), key=lambda part: float(getattr(conversation, part)))
    patience_s = getattr(conversation, patience)
    taken = {each.value: f"{each.value} is built in" for each in BuiltIn}
    if tools.built_in and not _can_check():
        yield "built_in", _UNCHECKED
    for number, action in enumerate(tools.actions):
        section = f"actions[{number}]"
        if not _NAME.fullmatch(action.name):
            yield f"{section}.name", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -, since models know tools by such names"
        elif action.name in taken:
            yield f"{section}.name", f"{taken[action.name]}; give each its own name"
        taken.setdefault(action.name, f"{action.name} is already the name of tools.actions[{number}]")
        if len(action.description) > MAX_DESCRIPTION:
            yield f"{section}.description", f"is longer than {MAX_DESCRIPTION} characters"
        if not action.command[0].startswith("/"):
            yield f"{section}.command[0]", "must be the whole path of a program, beginning with /"
        if action.longest_s >= patience_s:
            yield (
                f"{section}.longest_s",
                f"must be less than conversation.{patience} ({patience_s:g} s): by then the answer is given up",
            )
        yield from (
            (f"{section}.parameters{key}", text) for key, text in _schema(action.parameters, of="arguments always are")
        )
    yield from _answer(tools)


def _answer(tools: Tools) -> Iterator[Finding]:
    if tools.answer_schema is None:
        if tools.answer_action is not None:
            yield "answer_action", "counts only with answer_schema; remove it, or say what the answer has to be"
        return
    yield from ((f"answer_schema{key}", text) for key, text in _schema(tools.answer_schema, of="an answer is"))
    if tools.answer_action is None:
        yield "answer_action", "is missing: the name of the action that gets the answer"
    elif tools.answer_action not in {action.name for action in tools.actions}:
        names = ", ".join(action.name for action in tools.actions) or "there is none"
        yield "answer_action", f"must be the name of one of tools.actions ({names})"
    members = tools.answer_schema.get("properties")
    if not isinstance(members, Mapping) or tools.answer_spoken not in members:
        yield "answer_spoken", f"answer_schema has no property {tools.answer_spoken}: nothing could be spoken"


def _can_check() -> bool:
    """Whether a call's arguments can be held against a schema here: without that, every call would fail."""
    try:
        import jsonschema  # noqa: F401
    except ImportError:
        return False
    return True


def _schema(schema: Mapping[str, Any], *, of: str) -> Iterator[Finding]:
    """What keeps this from being a JSON Schema of an object that can be checked here, without asking anybody."""
    if schema.get("type") != "object":
        yield "", f'must have type: "object", which {of}'
    if schema.get("$schema", SCHEMA_DIALECT) != SCHEMA_DIALECT:
        yield ".$schema", f'must be "{SCHEMA_DIALECT}", or left out'
    yield from _foreign(schema, "")
    if not _can_check():
        yield "", _UNCHECKED
        return
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{part}]" if isinstance(part, int) else key_path("", f".{part}") for part in error.path)
        yield place, f"is no JSON Schema: {error.message[:200]}"


def _foreign(schema: Any, path: str, *, named: bool = False) -> Iterator[Finding]:
    """References that lead out of the schema. `named`: the keys at hand are names of the owner's own."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            inner = f"{path}.{key}"
            if not named and key in _IDENTITIES:
                yield inner, "is not supported here; use $defs and a $ref to it"
            elif not named and key in _REFERENCES and not str(value).startswith("#"):
                yield inner, 'must begin with "#": nothing is fetched from elsewhere'
            if named or key not in ("enum", "const", "default", "examples"):
                yield from _foreign(value, inner, named=not named and key in _MEMBERS)
    elif isinstance(schema, Sequence) and not isinstance(schema, str):
        for number, value in enumerate(schema):
            yield from _foreign(value, f"{path}[{number}]")
