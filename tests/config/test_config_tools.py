"""The settings about tools: mistakes are told with their lines."""

from __future__ import annotations

import sys

import pytest

from kioskd.config.load import SettingsError, parse
from kioskd.config.tool_schema import Action, BuiltIn, Tools

BASE = 'endpoints: [{name: a, url: "wss://a/", model: m}]\ntools:\n'
DOOR = """\
  built_in: [set_volume, current_time]
  actions:
    - name: open_door
      description: "Opens the door."
      command: ["/usr/local/bin/open-door", "--front"]
      parameters:
        type: object
        properties:
          seconds: {type: integer, minimum: 1, maximum: 30, default: 5}
          "no": {enum: ["yes", null, 1.5, true]}
"""


def test_what_is_declared_is_read() -> None:
    tools = parse(BASE + DOOR, "x").tools
    assert tools.built_in == (BuiltIn.SET_VOLUME, BuiltIn.CURRENT_TIME)
    (action,) = tools.actions
    assert action.command == ("/usr/local/bin/open-door", "--front")
    assert action.parameters["properties"]["seconds"]["maximum"] == 30
    assert action.parameters["properties"]["no"] == {"enum": ["yes", None, 1.5, True]}
    assert (action.longest_s, action.side_effects, action.network) == (8, True, False)


def test_without_a_line_there_are_none() -> None:
    assert parse(BASE.replace("tools:\n", ""), "x").tools == Tools()
    assert Action("a", "b", ("/c",)).parameters["additionalProperties"] is False


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("open_door", "open door", 5, "must be 1 to 64"),
        ("open_door", "set_volume", 5, "is built in"),
        ('"/usr/local/bin/open-door"', "open-door", 7, "whole path"),
        ('["/usr/local/bin/open-door", "--front"]', "[]", 7, "1 to 64 entries"),
        (
            "      parameters:",
            "      longest_s: 10\n      parameters:",
            8,
            "answer_stall_s (10 s)",
        ),
        ("type: integer", "type: int", 11, "is no JSON Schema"),
        ("type: integer", 'type: string, pattern: "(a"', 11, "is no JSON Schema: '(a' is not a 'regex'"),
        ("type: integer", 'type: integer, "$ref": "https://evil.example/x"', 11, "nothing is fetched"),
        ("type: integer", 'type: integer, "$id": "https://evil.example/x"', 11, "not supported"),
        ("type: object", "type: array", 8, 'must have type: "object"'),
        ("maximum: 30", "maximum: 1e3", 11, "quote it"),
        ("[set_volume,", "[self_destruct,", 3, "one of set_volume"),
        ("  built_in:", "  answer_action: open_door\n  built_in:", 3, "only with answer_schema"),
        ("  built_in:", "  answer_schema: {type: object}\n  built_in:", 2, "answer_action: is missing"),
        (
            "  built_in:",
            "  answer_schema: {type: object}\n  answer_action: door\n  built_in:",
            4,
            "must be the name of",
        ),
        (
            "  built_in:",
            "  answer_schema: {type: object}\n  answer_action: open_door\n  built_in:",
            2,
            "no property spoken",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert DOOR.count(old) == 1
    with pytest.raises(SettingsError) as caught:
        parse(BASE + DOOR.replace(old, new), "x")
    assert any(f"x:{line}: tools" in each and says in each for each in str(caught.value).splitlines()), caught.value


def test_two_actions_have_two_names() -> None:
    again = DOOR.partition("  actions:\n")[2]
    with pytest.raises(SettingsError, match="already the name"):
        parse(BASE + DOOR + again, "x")


@pytest.mark.parametrize("tools", ["  built_in: [current_time]\n", DOOR])
def test_tools_whose_calls_cannot_be_checked_are_none(tools: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(SettingsError) as caught:
        parse(BASE + tools, "x")
    assert "tools.built_in: can't be checked: the package jsonschema is not installed" in str(caught.value)


def test_without_tools_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert parse(BASE + "  runner: child\n", "x").tools.built_in == ()
