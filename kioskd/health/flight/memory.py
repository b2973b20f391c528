"""All that `Kiosk.step` depends on, as plain JSON values: settings that count, and what the kiosk remembers. PURE."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, get_type_hints

import attrs

from kioskd.config.schema import Audio, Conversation, Sounds
from kioskd.dialogue.effects import View
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.scene import Scene
from kioskd.dialogue.surroundings import NO_SOUND, Surroundings
from kioskd.health.flight.codec import CodecError, Form, fields_form, form_of

_SOUNDING = "tone"  # stands for any sound: only whether there is one counts
_NOT_SCENE = frozenset({"settings", "around", "effects"})  # effects are handed out by each step, and begin anew
_NOT_AROUND = frozenset({"settings", "audio"})
_SOUNDS = tuple(field.name for field in attrs.fields(Sounds) if field.type in (str, "str"))


def dump_settings(conversation: Conversation, audio: Audio) -> dict[str, Any]:
    """Numbers and choices, no words: nothing of the instructions, and no names of devices or files."""
    sounds = {name: NO_SOUND if getattr(audio.sounds, name) == NO_SOUND else _SOUNDING for name in _SOUNDS}
    return {"conversation": _choices(conversation), "audio": _choices(audio), "sounds": sounds}


def load_settings(record: Any) -> tuple[Conversation, Audio]:
    """What `dump_settings` wrote. Raises CodecError."""
    try:
        conversation, audio = dict(record["conversation"]), dict(record["audio"])
        heard: dict[str, Any] = {name: str(record["sounds"][name]) for name in _SOUNDS}
    except (LookupError, TypeError, ValueError) as error:
        raise CodecError(f"no settings: {record!r:.100}") from error
    return _chosen(Conversation, conversation), attrs.evolve(_chosen(Audio, audio), sounds=Sounds(**heard))


def dump_memory(scene: Scene, shown: View | None) -> dict[str, Any]:
    """What `Kiosk.memory` gives."""
    return {
        "scene": _scene().write(scene),
        "around": _around().write(scene.around),
        "shown": form_of(View | None).write(shown),
    }


def load_kiosk(settings: Any, memory: Any) -> Kiosk:
    """A kiosk that goes on from there. Raises CodecError."""
    conversation, audio = load_settings(settings)
    if not isinstance(memory, dict) or memory.keys() != {"scene", "around", "shown"}:
        raise CodecError(f"no memory of a kiosk: {memory!r:.100}")
    around = fields_form(Surroundings, _NOT_AROUND, settings=conversation, audio=audio).read(memory["around"])
    scene = fields_form(Scene, _NOT_SCENE, settings=conversation, around=around).read(memory["scene"])
    return Kiosk.resumed(scene, form_of(View | None).read(memory["shown"]))


_scene = cache(partial(fields_form, Scene, _NOT_SCENE))
_around = cache(partial(fields_form, Surroundings, _NOT_AROUND))


@cache
def _choice_forms(kind: Any) -> dict[str, Form]:
    """Of the fields that are no words and no sections."""
    hints = get_type_hints(kind)
    words = (str, str | None)
    return {
        field.name: form_of(hints[field.name])
        for field in attrs.fields(kind)
        if hints[field.name] not in words and field.name not in ("sounds", "night")
    }


def _choices(settings: Any) -> dict[str, Any]:
    kind: Any = type(settings)
    return {name: form.write(getattr(settings, name)) for name, form in _choice_forms(kind).items()}


def _chosen(kind: Any, record: dict[str, Any]) -> Any:
    forms = _choice_forms(kind)
    if record.keys() != forms.keys():
        raise CodecError(f"settings of another version: {', '.join(sorted(record.keys() ^ forms.keys()))}")
    return kind(**{name: forms[name].read(value) for name, value in record.items()})
