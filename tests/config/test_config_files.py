"""The two settings files that come with kioskd: what the documentation says is what the schema does."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from kioskd.config import schema
from kioskd.config.load import load, parse
from kioskd.config.spend_schema import Prices

CONFIG = Path(__file__).parents[2] / "config"
DOCUMENTED = CONFIG / "kioskd.yaml"
SETTING_BEHIND_HASH = re.compile(r'^(\s*)# ((?:- )?[a-z_]+:(?: (?:\S+|"[^"]*"|\{.*\}|\[.*\]))?)$', re.MULTILINE)
# What the documented endpoint sets because an endpoint has no default of it.
CHOSEN = {"name", "profile", "url", "model", "voice", "credential", "environment"}


def keys_of(cls: type) -> Iterator[tuple[type, str]]:
    for each in attrs.fields(attrs.resolve_types(cls)):
        yield cls, each.name
        for inner in (schema.Endpoint,) if each.name == "endpoints" else (each.type, *typing.get_args(each.type)):
            if isinstance(inner, type) and attrs.has(inner):
                yield from keys_of(inner)


def values_of(thing: Any) -> Iterator[tuple[type, str, Any]]:
    """Every key of settings with its value; sections and endpoints are walked through."""
    for each in attrs.fields(type(thing)):
        value = getattr(thing, each.name)
        of_sections = isinstance(value, tuple) and value and attrs.has(type(value[0]))
        for inner in value if of_sections else (value,):
            if attrs.has(type(inner)):
                yield from values_of(inner)
            else:
                yield type(thing), each.name, inner


def default_of(cls: type, name: str) -> Any:
    default = getattr(attrs.fields(cls), name).default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def test_the_documented_file_loads_and_its_values_are_the_defaults() -> None:
    for cls, name, value in values_of(load(DOCUMENTED)):
        if name not in CHOSEN and cls is not Prices:  # the profile's
            assert value == default_of(cls, name), f"{cls.__name__}.{name}"


def test_the_documented_file_takes_a_cap() -> None:
    """The installer puts it on every kiosk, and the README sets one: its profile has each price that counts."""
    text = re.sub(r"^  # caps:$", "  caps: {day: 5}", DOCUMENTED.read_text(), flags=re.MULTILINE)
    assert parse(text, "kioskd.yaml").spend.caps.day == 5


def test_the_documented_file_has_every_key_of_the_schema_in_its_section() -> None:
    """Written out: a key that is only commented out is switched on, then none may be left at its default's absence."""
    text = SETTING_BEHIND_HASH.sub(r"\1\2", DOCUMENTED.read_text())
    written = {match[1] for match in re.finditer(r"^\s*(?:- )?([a-z_]+):", text, re.MULTILINE)}
    assert {name for _, name in keys_of(schema.Settings)} == written
    count = len(re.findall(r"^\s*(?:- )?[a-z_]+:", text, re.MULTILINE))
    assert count == len(list(keys_of(schema.Settings))), "a key is missing in one section, or written twice"


def is_section(cls: type, name: str) -> bool:
    kind = attrs.fields_dict(attrs.resolve_types(cls))[name].type
    return name == "endpoints" or any(attrs.has(each) for each in (kind, *typing.get_args(kind)))


def only(endpoint: dict[str, Any], kind: str) -> dict[str, Any]:
    """What of the documented endpoint a kind can use."""
    hearing, speech = endpoint["hearing"], endpoint["speech"]
    match kind:
        case "realtime":
            return endpoint | {"dialect": "beta", "hearing": {}, "speech": {}, "faq": None}
        case "chat":
            return endpoint | {
                "kind": kind,
                "url": "https://api.openai.com/v1/chat/completions",
                "mint": None,
                "faq": None,
                "hearing": hearing | {"grammar": None},
                "speech": speech,
            }
        case "chat, heard here":
            here = {"by": "local", "url": None}
            return only(endpoint, "chat") | {"hearing": hearing | here, "speech": speech | here}
    bare = {"kind": kind, "mint": None, "hearing": {}, "speech": {}, "keep_place": True}
    return {key: value for key, value in (endpoint | bare).items() if key not in ("url", "model", "profile")}


def test_every_key_that_is_commented_out_is_a_good_setting(tmp_path: Path) -> None:
    authority, faq = tmp_path / "ca.pem", tmp_path / "faq.yaml"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    faq.touch()
    text = SETTING_BEHIND_HASH.sub(r"\1\2", DOCUMENTED.read_text())
    text = text.replace("/etc/kioskd/relay-ca.pem", str(authority)).replace("/etc/kioskd/faq.yaml", str(faq))
    written = yaml.safe_load(text)
    seen: set[tuple[type, str]] = set()
    set_somewhere: set[tuple[type, str]] = set()
    for kind in ("realtime", "chat", "chat, heard here", "local"):
        settings = parse(json.dumps(written | {"endpoints": [only(written["endpoints"][0], kind)]}), "kioskd.yaml")
        assert settings.endpoints[0].max_tokens == 1024
        seen |= {(cls, name) for cls, name, _ in values_of(settings)}
        set_somewhere |= {(cls, name) for cls, name, value in values_of(settings) if value is not None}
    assert {each for each in seen - set_somewhere if not is_section(*each)} == set()


def test_every_key_is_explained_and_its_bounds_are_named() -> None:
    lines = DOCUMENTED.read_text().splitlines()
    for number, line in enumerate(lines):
        setting = re.match(r"^\s*(?:- |# )?([a-z_]+): ?\S*$", line)
        if setting and setting[1] not in ("speaker",):
            assert lines[number - 1].lstrip().startswith("#"), f"line {number + 1} has no comment"
    text = DOCUMENTED.read_text()
    for cls, name in keys_of(schema.Settings):
        bounds = getattr(attrs.fields(cls), name).metadata.get("within")
        if bounds and name != "version":
            comment = text[: re.search(rf"^\s*(?:# )?{name}:", text, re.MULTILINE).start()]  # type: ignore[union-attr]
            assert f"{bounds[0]:g} to {bounds[1]:g}" in comment[-400:], f"{cls.__name__}.{name}"


def test_the_demo_talks_to_the_simulator_on_a_virtual_board() -> None:
    settings = load(CONFIG / "demo.yaml")
    (endpoint,) = settings.endpoints
    assert (endpoint.name, endpoint.model) == ("demo", "kioskd-demo")
    assert endpoint.url == "ws://127.0.0.1:8900/v1/realtime"
    assert endpoint.key == schema.KeySource(environment="KIOSKD_DEMO_KEY")
    assert settings.panel.button.pin == 17
    assert settings.panel.lamp == schema.Lamp(kind=schema.LampKind.PWM, pins=(27,))
    assert settings.audio == schema.Audio()


@pytest.mark.parametrize("name", ["kioskd.yaml", "demo.yaml"])
def test_no_line_is_too_long_for_a_terminal(name: str) -> None:
    assert max(map(len, (CONFIG / name).read_text().splitlines())) <= 130
