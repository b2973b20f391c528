"""When a changed setting counts: the table has every key of the schema, and the change of each is taken by it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from attrs import evolve

from kioskd.config.effect import TABLE, Change, When, changes, counting_at_once, keys_of, same_session, when_counts
from kioskd.config.schema import (
    Endpoint,
    Hearing,
    KeySource,
    Metrics,
    Mint,
    Night,
    OwnerButton,
    Settings,
    Speech,
    Webhook,
)
from kioskd.config.spend_schema import Prices

ROOT = Path(__file__).parents[2]
LOBBY = Endpoint(
    "lobby",
    "wss://a/",
    "m",
    mint=Mint(),
    hearing=Hearing(key=KeySource()),
    speech=Speech(key=KeySource()),
    prices=Prices(),
)
SPARE = Endpoint("spare", "wss://b/", "m")
FULL = Settings((LOBBY, SPARE), metrics=Metrics("/a.prom"), webhook=Webhook(KeySource("hook")))
FULL = evolve(
    FULL,
    audio=evolve(FULL.audio, night=Night()),
    panel=evolve(FULL.panel, owner_button=OwnerButton(23)),
)


def other(value: Any, kind: Any) -> Any:
    """Another value of the same kind; it needn't make sense."""
    if isinstance(value, Enum):
        return next(each for each in type(value) if each is not value)
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple():
            return (*value, 5)
        case None:
            return True if bool in get_args(kind) else 1 if {int, float} & set(get_args(kind)) else "x"
    return {**value, "x": "y"}


def with_other(settings: Any, key: str) -> Any:
    """The settings with another value at this key; of endpoints the first one's."""
    name, _, rest = key.partition(".")
    if name == "endpoints[]":
        return evolve(settings, endpoints=(with_other(settings.endpoints[0], rest), *settings.endpoints[1:]))
    before = getattr(settings, name)
    kind = get_type_hints(type(settings))[name]
    return evolve(settings, **{name: with_other(before, rest) if rest else other(before, kind)})


def test_no_key_of_the_schema_is_forgotten_and_none_invented() -> None:
    listed = list(keys_of())
    assert set(listed) == set(TABLE)
    assert len(listed) == len(set(listed)) > 100


@pytest.mark.parametrize("key", TABLE)
def test_the_change_of_each_key_is_seen_and_counts_when_the_table_says(key: str) -> None:
    changed = with_other(FULL, key)
    assert changed != FULL
    now = counting_at_once(FULL, changed)
    if key == "endpoints[].name":  # another endpoint
        assert [change.key for change in changes(FULL, changed)] == ["endpoints[lobby]", "endpoints[lobbyx]"]
        assert now == FULL
        return
    assert changes(FULL, changed) == [Change(key.replace("[]", "[lobby]"), TABLE[key])]
    assert now == (changed if TABLE[key] is When.AT_ONCE else FULL)
    if key.startswith("endpoints"):
        assert same_session(LOBBY, changed.endpoints[0]) is (TABLE[key] is When.AT_ONCE)


@pytest.mark.parametrize(
    ("section", "when"),
    [("night", When.AT_ONCE), ("owner_button", When.REOPENED), ("metrics", When.AT_ONCE), ("mint", When.REOPENED)],
)
def test_a_section_that_comes_or_goes_counts_when_all_of_it_does(section: str, when: When) -> None:
    without = {
        "night": evolve(FULL, audio=evolve(FULL.audio, night=None)),
        "owner_button": evolve(FULL, panel=evolve(FULL.panel, owner_button=None)),
        "metrics": evolve(FULL, metrics=None),
        "mint": evolve(FULL, endpoints=(evolve(LOBBY, mint=None), SPARE)),
    }[section]
    for old, new in ((FULL, without), (without, FULL)):
        assert [change.when for change in changes(old, new)] == [when]
        assert counting_at_once(old, new) == (new if when is When.AT_ONCE else old)


def test_two_changes_each_in_its_time() -> None:
    new = evolve(FULL, audio=evolve(FULL.audio, volume=40, microphone="usb"))
    now = counting_at_once(FULL, new)
    assert (now.audio.volume, now.audio.microphone) == (40, "default")
    assert [change.key for change in changes(now, new)] == ["audio.microphone"]


def test_endpoints_are_known_by_their_names() -> None:
    loud = evolve(SPARE, voice="ash")
    swapped = evolve(FULL, endpoints=(loud, LOBBY))
    assert [change.key for change in changes(FULL, swapped)] == ["endpoints[spare].voice", "endpoints"]
    assert counting_at_once(FULL, swapped).endpoints == (LOBBY, loud), "the voice at once, the order later"
    alone = evolve(FULL, endpoints=(SPARE,))
    assert changes(FULL, alone) == [Change("endpoints[lobby]", When.REOPENED)]
    assert counting_at_once(FULL, alone) == FULL


def test_keys_are_looked_up_by_name_by_section_and_by_endpoint() -> None:
    assert when_counts("audio.volume") is When.AT_ONCE
    assert when_counts("endpoints[lobby].url") is When.REOPENED
    assert when_counts("audio") is When.REOPENED and when_counts("conversation") is When.NEXT_TURN
    with pytest.raises(KeyError):
        when_counts("audio.colour")


def test_every_key_of_the_shipped_file_is_in_the_table() -> None:
    def flat(node: Any, path: str) -> list[str]:
        if isinstance(node, dict) and node and not path.endswith((".query", ".headers", ".sorry_in")):
            return [key for name, each in node.items() for key in flat(each, f"{path}.{name}".lstrip("."))]
        return flat(node[0], f"{path}[]") if path == "endpoints" else [path]

    found = flat(yaml.safe_load((ROOT / "config" / "kioskd.yaml").read_text()), "")
    assert set(found) <= set(TABLE) and len(found) > 60
