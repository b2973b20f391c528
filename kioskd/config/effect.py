"""When a changed setting counts in a running kiosk: the one table of all keys. PURE.

No key wants a restart, and none costs a conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from attrs import evolve, frozen

from kioskd.config.schema import Endpoint, Settings
from kioskd.value import Value


class When(Enum):
    """When a setting counts, from soon to late."""

    AT_ONCE = "at once"  # also in the middle of an answer; what the endpoint is told counts for the next question
    NEXT_TURN = "from the next turn on"  # a turn ends by the rules by which it began
    REOPENED = "once nobody is talking: what it belongs to is opened anew"  # one device, the pins, or one endpoint


_KEYS: dict[When, str] = {
    When.AT_ONCE: """
        version
        endpoints[].voice endpoints[].transcription_model endpoints[].noise_reduction endpoints[].max_tokens
        endpoints[].temperature endpoints[].requests_per_minute endpoints[].breaker.failures endpoints[].breaker.open_s
        endpoints[].http.answer_timeout_s endpoints[].http.stream_timeout_s endpoints[].http.total_timeout_s
        conversation.instructions conversation.language
        audio.volume audio.volume_ceiling audio.night.begin audio.night.end audio.night.volume audio.mixer
        audio.signs audio.echo audio.echo_tail_ms
        audio.sounds.listening audio.sounds.sent audio.sounds.too_short audio.sounds.limit_reached
        audio.sounds.connection_lost audio.sounds.out_of_order audio.sounds.sorry audio.sounds.sorry_in
        audio.sounds.fault
        audio.self_test.at_start audio.self_test.daily_at
        panel.lamp.kind panel.lamp.pins panel.lamp.active_high
        log.level log.transcripts
        metrics.textfile metrics.interval_s
        tools.built_in tools.actions tools.runner tools.answer_schema tools.answer_action tools.answer_spoken
        webhook.address.credential webhook.address.file webhook.address.environment webhook.at_most_every_s
        spend.ledger spend.currency spend.caps.hour spend.caps.day spend.caps.month spend.warn_at
        spend.credits_warn_below choice.order choice.hysteresis choice.by_hour
        endpoints[].prices.currency endpoints[].prices.date endpoints[].prices.rate endpoints[].prices.text_input
        endpoints[].prices.text_cached endpoints[].prices.audio_input endpoints[].prices.audio_cached
        endpoints[].prices.text_output endpoints[].prices.audio_output endpoints[].prices.hearing_minute
        endpoints[].prices.speech_minute endpoints[].prices.speech_characters endpoints[].prices.text_of_models
        endpoints[].caps.hour endpoints[].caps.day endpoints[].caps.month endpoints[].model_for_question
        endpoints[].unverified
    """,
    When.NEXT_TURN: """
        conversation.pre_roll_ms conversation.post_roll_ms conversation.min_utterance_ms conversation.max_utterance_s
        conversation.endpoint_silence_ms conversation.no_speech_ms conversation.stuck_button_s
        conversation.answer_timeout_s conversation.answer_stall_s conversation.cut_answer conversation.forget_after_s
        conversation.history_turns conversation.history_characters conversation.stop_grace_s
    """,
    When.REOPENED: """
        endpoints[].name endpoints[].url endpoints[].model endpoints[].profile endpoints[].dialect
        endpoints[].key.credential endpoints[].key.file endpoints[].key.environment endpoints[].auth
        endpoints[].key_parameter endpoints[].model_parameter endpoints[].beta_header endpoints[].query
        endpoints[].headers endpoints[].mint.kind endpoints[].mint.url endpoints[].mint.timeout_s
        endpoints[].plain_text_allowed endpoints[].extra_ca endpoints[].proxy
        endpoints[].open_timeout_s endpoints[].close_timeout_s endpoints[].setup_timeout_s
        endpoints[].ping_interval_s endpoints[].ping_timeout_s endpoints[].session_limit_s
        endpoints[].kind endpoints[].transport endpoints[].envelope endpoints[].server_keeps
        endpoints[].hearing.by endpoints[].hearing.url endpoints[].hearing.model endpoints[].hearing.stream
        endpoints[].hearing.grammar endpoints[].hearing.key.credential endpoints[].hearing.key.file
        endpoints[].hearing.key.environment endpoints[].faq endpoints[].keep_place
        endpoints[].speech.by endpoints[].speech.url endpoints[].speech.model endpoints[].speech.voice
        endpoints[].speech.key.credential endpoints[].speech.key.file endpoints[].speech.key.environment
        audio.microphone audio.speaker audio.microphone_channel audio.period_frames audio.buffer_ms
        panel.button.pin panel.button.pull_up panel.button.debounce_ms panel.button.gestures panel.button.tap_ms
        panel.button.slip_ms panel.button.double_press panel.button.double_press_ms
        panel.owner_button.pin panel.owner_button.pull_up panel.owner_button.debounce_ms
        panel.owner_button.long_press_s
    """,
}

TABLE: dict[str, When] = {key: when for when, keys in _KEYS.items() for key in keys.split()}
"""Every key of the settings; `endpoints[]` stands for each of them."""

_SOONEST_FIRST = list(When)
_NAMED = re.compile(r"\[[^]]+\]")


@frozen(eq=False, repr=False)
class Change(Value):
    """A key whose value changes, with the endpoint's name in brackets: `endpoints[lobby].voice`."""

    key: str
    when: When


def keys_of(kind: Any = Settings, path: str = "") -> Iterator[str]:
    """Every key of the schema, as `TABLE` has it."""
    hints = get_type_hints(kind)
    for field in attrs.fields(kind):
        key = f"{path}.{field.name}" if path else field.name
        if key == "endpoints":
            yield from keys_of(Endpoint, "endpoints[]")
        elif (section := _section(hints[field.name])) is not None:
            yield from keys_of(section, key)
        else:
            yield key


def when_counts(key: str) -> When:
    """When a change of this key counts; of a section: when all of it does. Raises KeyError for what is neither."""
    return _when(_NAMED.sub("[]", key))


def changes(old: Settings, new: Settings) -> list[Change]:
    """What changes from one to the other, in the order of the schema. An endpoint that comes or goes is one change."""
    return [Change(key, when_counts(key)) for key in dict.fromkeys(_changed(old, new, ""))]


def counting_at_once(old: Settings, new: Settings) -> Settings:
    """The old settings with what of the new ones counts at once."""
    merged: Settings = _merged(old, new, "")
    return merged


def same_session(old: Endpoint, new: Endpoint) -> bool:
    """Whether an endpoint can go on as it is: nothing differs but what counts at once."""
    return bool(_merged(old, new, "endpoints[]") == new)


def _section(hint: Any) -> Any:
    """The attrs class of a section, also of one that may be missing; None for a value, and for a list of sections."""
    if get_origin(hint) is tuple:
        return None
    return next((kind for kind in (hint, *get_args(hint)) if attrs.has(kind)), None)


@cache
def _when(key: str) -> When:
    if key in TABLE:
        return TABLE[key]
    if key in ("endpoints", "endpoints[]"):
        return When.REOPENED
    within = {TABLE[each] for each in TABLE if each.startswith(f"{key}.")}
    if not within:
        raise KeyError(key)
    return max(within, key=_SOONEST_FIRST.index)


def _named(settings: Settings) -> dict[str, Endpoint]:
    return {endpoint.name: endpoint for endpoint in settings.endpoints}


def _changed(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if not attrs.has(type(old)) or type(old) is not type(new):
        yield path
        return
    for field in attrs.fields(type(old)):
        key = f"{path}.{field.name}" if path else field.name
        if key == "endpoints":
            yield from _changed_endpoints(old, new)
        else:
            yield from _changed(getattr(old, field.name), getattr(new, field.name), key)


def _changed_endpoints(old: Settings, new: Settings) -> Iterator[str]:
    before, after = _named(old), _named(new)
    for name in {**before, **after}:
        yield from _changed(before.get(name), after.get(name), f"endpoints[{name}]")
    if list(before) != list(after) and before.keys() == after.keys():
        yield "endpoints"  # in another order


def _merged(old: Any, new: Any, path: str) -> Any:
    if path == "endpoints":
        after = {endpoint.name: endpoint for endpoint in new}
        return tuple(_merged(each, after.get(each.name, each), "endpoints[]") for each in old)
    if attrs.has(type(old)) and type(old) is type(new):
        return evolve(
            old,
            **{
                field.name: _merged(
                    getattr(old, field.name),
                    getattr(new, field.name),
                    f"{path}.{field.name}" if path else field.name,
                )
                for field in attrs.fields(type(old))
            },
        )
    return new if old == new or when_counts(path) is When.AT_ONCE else old
