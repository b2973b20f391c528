"""Events, effects and the kiosk's memory as plain JSON values, and back. PURE.

The forms follow from the types' own annotations, so that a new event can't be forgotten. What was said leaves no trace
but its length: bytes and texts become lengths, and only causes and reasons, which the owner's log has too, stay words.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

from kioskd.config.secrets import mask_keys
from kioskd.dialogue.effects import Effect, Play
from kioskd.dialogue.events import AnswerAudio, Event

TOLD = ("cause", "reason")  # fields that are words to the owner
TOLD_AT_MOST = 500  # characters of each: whole lines of a log, and a record stays small
LENGTH_AT_MOST = 64 << 20  # bytes or characters that a record may claim: 20 minutes of sound

EVENTS: dict[str, type] = {kind.__name__: kind for kind in get_args(Event)}
EFFECTS: dict[str, type] = {kind.__name__: kind for kind in get_args(Effect)}

encode_json = json.JSONEncoder(separators=(",", ":")).encode


class CodecError(ValueError):
    """Something recorded can't be read: by another version, or damaged."""


@attrs.frozen(eq=False, repr=False)
class Form:
    """How a type is written and read. `read` raises CodecError."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def dump(what: Event | Effect) -> dict[str, Any]:
    """Its type's name under `event` or `effect`, and its fields beside that."""
    kind: Any = type(what)
    name = kind.__name__
    return {"event" if name in EVENTS else "effect": name, **form_of(kind).write(what)}


def load(record: dict[str, Any]) -> Event | Effect:
    """What `dump` wrote; sound and texts as long as they were, without their content. Raises CodecError."""
    kind, known = ("event", EVENTS) if "event" in record else ("effect", EFFECTS)
    name = record.get(kind)
    if not isinstance(name, str) or name not in known:
        raise CodecError(f"no {kind} of this version: {name!r}")
    fields = {key: value for key, value in record.items() if key not in (kind, "at")}
    try:
        read: Event | Effect = form_of(known[name]).read(fields)
    except CodecError as error:
        raise CodecError(f"{name}: {error}") from error
    return read


def event_line(event: Event, now: float) -> str:
    """One event as the text of a record. An answer's pieces come dozens a second: theirs is made by hand."""
    if type(event) is AnswerAudio:
        size, ms = len(event.pcm), event.duration_ms
        return f'{{"at":{now!r},"event":"AnswerAudio","turn":{event.turn},"pcm":{size},"duration_ms":{ms!r}}}'
    return encode_json({"at": now, **dump(event)})


def effect_line(effect: Effect) -> str:
    """One effect as the text of a record; its time is that of the event before it."""
    if type(effect) is Play:
        return f'{{"effect":"Play","turn":{effect.turn},"pcm":{len(effect.pcm)}}}'
    return encode_json(dump(effect))


@cache
def form_of(hint: Any, told: bool = False) -> Form:
    """The form of a type, as an annotation names it. Raises TypeError where there is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is str:
        return _told if told else _length_of(lambda length: "·" * length)
    if hint is bytes:
        return _length_of(bytes)
    if hint in (bool, int, float, NoneType):
        return _number(hint)
    if origin in (Union, UnionType):
        (form,) = (form_of(argument, told) for argument in arguments if argument is not NoneType)
        return _optional(form)
    if origin is frozenset:
        return _several(form_of(arguments[0]), frozenset, sort=True)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _several(form_of(arguments[0]), tuple, sort=False)
    if origin is type:
        kinds = get_args(arguments[0]) or arguments
        return _one_of({kind.__name__: kind for kind in kinds}, lambda kind: kind.__name__)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of({member.value: member for member in hint}, lambda member: member.value)
    if isinstance(hint, type) and attrs.has(hint):
        return fields_form(hint)
    raise TypeError(f"the flight recorder knows no form of {hint}")


def fields_form(kind: type, without: frozenset[str] = frozenset(), **given: Any) -> Form:
    """The form of an attrs class: an object of its fields. Those in `without` are neither written nor read."""
    hints = get_type_hints(kind)
    names = [field.name for field in attrs.fields(kind) if field.name not in without]
    forms = {name: form_of(hints[name], name in TOLD) for name in names}
    writers = [(name, form.write) for name, form in forms.items()]

    def write(value: Any) -> Any:
        return {name: written(getattr(value, name)) for name, written in writers}

    def read(value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() != forms.keys():
            raise CodecError(f"{kind.__name__} has the fields {', '.join(forms) or 'none'}; this is {value!r:.100}")
        return kind(**{name: forms[name].read(part) for name, part in value.items()}, **given)

    return Form(write, read)


def _same(value: Any) -> Any:
    return value


def _number(kind: type) -> Form:
    allowed: tuple[type, ...] = (int, float) if kind is float else (kind,)

    def read(value: Any) -> Any:
        if type(value) not in allowed:
            raise CodecError(f"{value!r:.100} is no {kind.__name__}")
        return value

    return Form(_same, read)


def _length_of(make: Callable[[int], Any]) -> Form:
    def read(value: Any) -> Any:
        if type(value) is not int or not 0 <= value <= LENGTH_AT_MOST:
            raise CodecError(f"{value!r:.100} is no length")
        return make(value)

    return Form(len, read)


def _read_told(value: Any) -> str:
    if not isinstance(value, str):
        raise CodecError(f"{value!r:.100} is no text")
    return value


_told = Form(lambda text: mask_keys(text[:TOLD_AT_MOST]), _read_told)


def _optional(form: Form) -> Form:
    def read(value: Any) -> Any:
        return None if value is None else form.read(value)

    return Form(lambda value: None if value is None else form.write(value), read)


def _several(form: Form, make: Callable[[list[Any]], Any], *, sort: bool) -> Form:
    def write(values: Any) -> Any:
        written = [form.write(value) for value in values]
        return sorted(written) if sort else written

    def read(values: Any) -> Any:
        if not isinstance(values, list):
            raise CodecError(f"{values!r:.100} is no list")
        return make([form.read(value) for value in values])

    return Form(write, read)


def _one_of(members: dict[str, Any], name_of: Callable[[Any], str]) -> Form:
    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in members:
            raise CodecError(f"{value!r:.100} is none of {', '.join(members)}")
        return members[value]

    return Form(name_of, read)
