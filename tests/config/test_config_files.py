"""The two settings files that come with kioskd: what the documentation says is what the schema does."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from kioskd.config import schema
from kioskd.config.load import load, parse

CONFIG = Path(__file__).parents[2] / "config"
DOCUMENTED = CONFIG / "kioskd.yaml"
SETTING_BEHIND_HASH = re.compile(r"^(\s*)# ([a-z_]+:(?: \S+)?)$", re.MULTILINE)
# What the documented endpoint sets because an endpoint has no default of it.
CHOSEN = {"name", "url", "model", "voice", "credential", "environment"}


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
        for inner in value if each.name == "endpoints" else (value,):
            if attrs.has(type(inner)):
                yield from values_of(inner)
            else:
                yield type(thing), each.name, inner


def default_of(cls: type, name: str) -> Any:
    default = getattr(attrs.fields(cls), name).default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def test_the_documented_file_loads_and_its_values_are_the_defaults() -> None:
    for cls, name, value in values_of(load(DOCUMENTED)):
        if name not in CHOSEN:
            assert value == default_of(cls, name), f"{cls.__name__}.{name}"


def test_the_documented_file_has_every_key_of_the_schema_in_its_section() -> None:
    """Written out: a key that is only commented out is switched on, then none may be left at its default's absence."""
    text = SETTING_BEHIND_HASH.sub(r"\1\2", DOCUMENTED.read_text())
    written = {match[1] for match in re.finditer(r"^\s*(?:- )?([a-z_]+):", text, re.MULTILINE)}
    assert {name for _, name in keys_of(schema.Settings)} == written
    count = len(re.findall(r"^\s*(?:- )?[a-z_]+:", text, re.MULTILINE))
    assert count == len(list(keys_of(schema.Settings))), "a key is missing in one section, or written twice"


def test_every_key_that_is_commented_out_is_a_good_setting(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    text = SETTING_BEHIND_HASH.sub(r"\1\2", DOCUMENTED.read_text())
    text = text.replace("/etc/kioskd/relay-ca.pem", str(authority)).replace("dialect: ga", "dialect: beta")
    settings = parse(text, "kioskd.yaml")
    assert settings.endpoints[0].max_tokens == 1024
    assert all(value is not None for _, _, value in values_of(settings))


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
