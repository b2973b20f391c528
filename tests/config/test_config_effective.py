"""What counts in the end and where it comes from; the schema for editors; layouts of other times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kioskd.config import migrations
from kioskd.config.effective import effective, flatten, redacted
from kioskd.config.json_schema import json_schema
from kioskd.config.load import SettingsError, parse
from kioskd.config.migrations import Dropped, Renamed, Reworded, Step, migrated, rewritten
from kioskd.config.versions import About, Trial, changed_keys, read_about, settings_version, superfluous
from kioskd.config.yaml_text import compose

DOCUMENTED = (Path(__file__).parents[2] / "config" / "kioskd.yaml").read_text()
PROFILED = """\
endpoints:
  - name: a
    profile: azure-preview
    url: "wss://a.openai.azure.com"
    model: mine
    query: {place: "very-secret", api-version: "1"}
    headers: {X-Place: hall}
audio:
  volume: 40
"""


def entries(text: str) -> dict[str, tuple[Any, str, int]]:
    return {entry.key: (entry.value, entry.origin, entry.line) for entry in effective(text, "f")}


def test_every_value_has_its_origin() -> None:
    found = entries(PROFILED)
    assert found["audio.volume"] == (40, "file", 9)
    assert found["audio.volume_ceiling"] == (100, "default", 0)
    value, origin, line = found["endpoints[0].dialect"]
    assert (value, origin) == ("beta", "profile") and line > 0
    assert found["endpoints[0].model"] == ("mine", "file", 5)
    assert set(found) == set(flatten(parse(PROFILED, "f")))


def test_strangers_see_no_secret() -> None:
    text = "\n".join(f"{entry.key} {entry.value}" for entry in map(redacted, effective(PROFILED, "f")))
    assert "very-secret" not in text and "hall" not in text and "wss://a.openai.azure.com" in text


def test_the_schema_takes_what_kioskd_takes() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert violations(yaml.safe_load(DOCUMENTED), schema) == []
    wrong = yaml.safe_load(DOCUMENTED)
    wrong["audio"] |= {"volume": 101, "echo": "off", "volum": 3}
    wrong["panel"]["lamp"]["pins"] = 3
    assert len(violations(wrong, schema)) == 4
    assert schema["properties"]["audio"]["properties"]["volume"] == {
        "type": "integer", "minimum": 0, "maximum": 100, "default": 80
    }  # fmt: skip


TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "null": type(None),
}  # fmt: skip


def violations(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """As much of JSON Schema as is used here."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[kind]) and (kind == "boolean" or value is not True) for kind in kinds):
        return [f"{path}: not {kinds}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: {value}")
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{path}: {value}")
    if isinstance(value, list):
        found += [each for item in value for each in violations(item, schema["items"], f"{path}[]")]
    if isinstance(value, dict):
        found += [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, inner in value.items():
            inside = schema.get("properties", {}).get(name, schema["additionalProperties"])
            found += violations(inner, inside, f"{path}.{name}") if inside else [f"{path}.{name} is unknown"]
    return found


# Layouts of other times, of which there have been none so far: these are made up

STEPS: dict[int, tuple[Step, ...]] = {
    1: (Renamed("audio", "loudness", "volume"), Reworded("log", "level", {"chatty": "debug"})),
    2: (Dropped("", "chime"), Renamed("endpoints[]", "engine", "model")),
}
OLD = """\
# ours
endpoints:
  - name: a  # first
    engine: m
    url: "wss://a/"
chime:
  bell: true
# sound
audio:
  loudness: 40  # not too loud
log: {level: chatty}
"""
NEW = """\
version: 3
# ours
endpoints:
  - name: a  # first
    model: m
    url: "wss://a/"
# sound
audio:
  volume: 40  # not too loud
log: {level: debug}
"""


def test_an_old_layout_is_rewritten_with_its_comments() -> None:
    assert rewritten(OLD, "f", STEPS, 3) == NEW
    assert rewritten(NEW, "f", STEPS, 3) == NEW
    half = rewritten(OLD, "f", STEPS, 2)
    assert "engine: m" in half and rewritten(half, "f", STEPS, 3) == NEW


def test_an_old_layout_means_what_it_says_by_its_own_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "CURRENT", 3)
    root = compose(OLD, "f")
    before = repr(root)
    tree = migrated(root, "f", STEPS, 3)
    assert repr(root) == before
    from kioskd.config.shape import shape

    settings, lines = shape(tree, "f")
    assert (settings.audio.volume, settings.log.level.value, settings.endpoints[0].model) == (40, "debug", "m")
    assert lines.of_key["audio.volume"] == 10 and lines.of_key["endpoints[0].model"] == 4
    wrong = migrated(compose(OLD.replace("loudness: 40", "loudness: 400"), "f"), "f", STEPS, 3)
    with pytest.raises(SettingsError, match=r"^f:10: audio\.volume: must be"):
        shape(wrong, "f")


def test_a_layout_of_the_future_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match=r"^f:1: version: this file has layout 2, .*--upgrade.*rollback") as caught:
        parse("version: 2\nsomething: new\n", "f")
    assert len(caught.value.problems) == 1
    with pytest.raises(SettingsError, match="must be a whole number"):
        parse(PROFILED + "version: new\n", "f")


# Versions


def test_a_version_is_known_by_what_was_written_of_it() -> None:
    about = About(
        "set", "ann from 192.0.2.7", "then", ("audio.volume",), 3, True, Trial(30, True, False, {"level": "x"})
    )
    assert read_about(json.loads(json.dumps(about.as_dict()))) == about
    stranges: list[Any] = [None, [], {"changed": 3, "base": "x", "trial": {"probation_s": "x", "before": 3}}]
    for strange in stranges:
        assert read_about(strange).base is None


def test_changed_keys_are_named_without_their_values() -> None:
    old, new = flatten(parse(PROFILED, "f")), flatten(parse(PROFILED.replace("very-secret", "other"), "f"))
    assert changed_keys(old, new) == ("endpoints[0].query",)
    assert changed_keys(None, new) == () and changed_keys(old, old) == ()
    assert len(changed_keys({}, {str(n): n for n in range(100)})) == 40


def test_a_comment_makes_no_other_version_and_a_value_does() -> None:
    settings = parse(PROFILED, "f")
    assert settings_version(settings) == settings_version(parse("# x\n" + PROFILED, "f"))
    assert settings_version(settings) != settings_version(parse(PROFILED.replace("40", "41"), "f"))


def test_what_is_needed_stays() -> None:
    assert superfluous(range(1, 31), (3, None)) == [1, 2, *range(4, 11)]
    assert superfluous(range(5), ()) == []
