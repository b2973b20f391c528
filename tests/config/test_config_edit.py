"""Single keys are changed in the text, and not one other character."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kioskd.config.edit import EditError, changed
from kioskd.config.effective import flatten
from kioskd.config.load import SettingsError, parse

DOCUMENTED = (Path(__file__).parents[2] / "config" / "kioskd.yaml").read_text()
SMALL = """\
# our kiosk
endpoints:
- name: lobby   # upstairs
  url: "wss://a.example/v1"
  model: m
  headers: {X-Kiosk: "lobby 2"}
- {name: spare, url: "wss://b.example/v1", model: m}
conversation:
    instructions: |
      Be kind.
      # language: not a comment

      Be brief.

    # about the time
    answer_timeout_s: 20   # long
# the end
"""


def edit(*assignments: str, text: str = SMALL) -> str:
    return changed(text, assignments, "f")


def lines_changed(old: str, new: str) -> list[str]:
    return [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]


@pytest.mark.parametrize(
    ("assignment", "lines"),
    [
        ("audio.volume=40", ["-   volume: 80", "+   volume: 40"]),
        ("log.level=debug", ["-   level: info", "+   level: debug"]),
        ("audio.signs=false", ["-   signs: true", "+   signs: false"]),
        ("endpoints.openai.voice=ash", ["-     voice: marin", '+     voice: "ash"']),
        ("endpoints[0].voice=", ["-     voice: marin"]),
        ("conversation.language=de", ['+   language: "de"']),
        ("audio.night.begin=21:30", ["+   night:", '+     begin: "21:30"']),
        ("panel.lamp.pins=[5]", ["-     pins: [27]", "+     pins: [5]"]),
        ("endpoints[0].query.api-version=2025-04", ["-     query: {}", '+     query: {api-version: "2025-04"}']),
        ('metrics={textfile: "/a/b.prom"}', ['+ metrics: {textfile: "/a/b.prom"}']),
        ("webhook.address.file=/etc/w", ["+ webhook:", "+   address:", '+     file: "/etc/w"']),
    ],
)
def test_of_the_documented_file_only_these_lines_change(assignment: str, lines: list[str]) -> None:
    new = edit(assignment, text=DOCUMENTED)
    assert lines_changed(DOCUMENTED, new) == lines
    parse(new, "f")


def test_an_optional_key_is_put_behind_its_own_explanation() -> None:
    new = edit("conversation.language=de", text=DOCUMENTED).splitlines()
    assert new[new.index('  language: "de"') - 1] == "  # language: en"


@pytest.mark.parametrize(
    ("assignment", "lines"),
    [
        ("endpoints.lobby.model=n", ["-   model: m", '+   model: "n"']),
        ("endpoints.lobby.name=hall", ["- - name: lobby   # upstairs", '+ - name: "hall"   # upstairs']),
        ("conversation.answer_timeout_s=9.5", ["9.5   # long"]),
        ("conversation.answer_timeout_s=", ["-     answer_timeout_s: 20   # long"]),
        ("conversation.language=de", ['+     language: "de"']),
        ("conversation.instructions=Hi: you", ['+     instructions: "Hi: you"']),
        ("endpoints.spare.voice=x", ['model: m, voice: "x"}']),
        ("endpoints.lobby.headers.X-Room=7", ['X-Kiosk: "lobby 2", X-Room: "7"}']),
        ("audio.sounds.sent=none", ["+ audio:", "+   sounds:", '+     sent: "none"']),
    ],
)
def test_other_ways_of_writing_are_respected(assignment: str, lines: list[str]) -> None:
    new = edit(assignment)
    parse(new, "f")
    found = lines_changed(SMALL, new)
    for line in lines:
        assert any(line in each for each in found), found
    kept = [line for line in SMALL.splitlines() if line.strip().startswith("#")]
    if "instructions" not in assignment:
        assert all(line in new.splitlines() for line in kept)
    else:
        assert "    # about the time" in new.splitlines()


def test_the_last_key_takes_its_section_along() -> None:
    text = SMALL + "log:\n  level: info  # enough\n"
    assert edit("log.level=", text=text) == SMALL
    assert edit("log.transcripts=", text=text) == text


def test_line_ends_stay_as_they_are() -> None:
    text = SMALL.replace("\n", "\r\n")
    new = edit("audio.volume=1", "endpoints.lobby.model=n", text=text)
    assert "\n" not in new.replace("\r\n", "") and parse(new, "f").audio.volume == 1
    bare = SMALL.removesuffix("\n# the end\n")
    assert parse(edit("audio.volume=1", text=bare), "f").audio.volume == 1


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("audio.volume", "no KEY=VALUE"),
        ("a..b=1", "no key"),
        ("endpoints.hall.voice=x", "there is lobby, spare"),
        ("endpoints[5].voice=x", "no entry 5"),
        ("panel.lamp.pins=[1] # x", "behind the bracket"),
        ("panel.lamp.pins=[1", "no list"),
        ("panel.lamp.pins=[1]\nlog: {}", "no list"),
        ("endpoints.lobby.name=", "use: kioskd config edit"),
        ("endpoints.lobby.name.first=x", "no keys of its own"),
        ("endpoints[" + "9" * 5000 + "].voice=x", "is no key"),
        ("tools.built_in=" + "[" * 900 + "]" * 900, "^tools.built_in: this value can't be read"),
        ("tools.built_in=[&a [*a]]", "^tools.built_in: this value can't be read"),
        ("endpoints[0].headers={[a]: c}", r"^endpoints\[0\].headers: this value can't be read"),
        ("endpoints[0].headers={{a: b}: c}", r"^endpoints\[0\].headers: this value can't be read"),
    ],
)
def test_what_cannot_be_done_is_told(assignment: str, words: str) -> None:
    with pytest.raises(EditError, match=words) as caught:
        edit(assignment)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("audio.volume=loud", 'from 0 to 100, not "loud"'),
        ("audio.volume=400", "from 0 to 100, not 400"),
        ("audio.volum=4", "did you mean volume"),
        ("log.level=loud", "must be one of"),
        ("endpoints.lobby.url=", "it is required"),
        ("audio.night={begin: 22:00}", "different things in YAML"),
    ],
)
def test_what_a_value_means_the_loader_decides_with_its_line(assignment: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        parse(edit(assignment), "f")
    assert all(problem.line for problem in caught.value.problems)


def test_no_value_can_bring_a_key_of_its_own() -> None:
    for value in ("m\nlog:\n  level: debug", 'm"\nlog: {level: debug}', "m # x", "m, voice: x}", "*a", "!t m", "- m"):
        for key in ("endpoints.lobby.model", "endpoints.spare.model"):
            tree = flatten_text(edit(f"{key}={value}"))
            assert tree["log.level"] == "info" and tree["endpoints[1].voice"] is None
            assert value in (tree["endpoints[0].model"], tree["endpoints[1].model"])


def flatten_text(text: str) -> dict[str, Any]:
    """Without what a value may not be: here it is only of interest where it ends."""
    import yaml

    plain = yaml.safe_load(text)
    endpoints = plain["endpoints"]
    found = {f"endpoints[{n}].{key}": each.get(key) for n, each in enumerate(endpoints) for key in ("model", "voice")}
    return {"log.level": plain.get("log", {}).get("level", "info"), **found}


KEYS = st.sampled_from(
    [
        *("audio.volume", "audio.microphone", "audio.night.volume", "audio.sounds.sorry_in.de", "log.level", "version"),
        *("endpoints[0].voice", "endpoints.openai.query.a", "conversation.instructions", "conversation.language"),
        *("panel.button.pin", "panel.owner_button.pin", "metrics.textfile", "endpoints[0].mint.kind", "x", "audio"),
    ]
)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(key=KEYS, value=st.text(max_size=12) | st.sampled_from(["1", "off", "null", "[1]", "{}", "{a: b}", "a: b"]))
@example(key="conversation.instructions", value="a\n  b\n\n")
@example(key="endpoints[0].voice", value="\x85")
def test_any_value_for_any_key_changes_that_key_or_nothing(key: str, value: str) -> None:
    before = flatten(parse(DOCUMENTED, "f"))
    try:
        after = flatten(parse(edit(f"{key}={value}", text=DOCUMENTED), "f"))
    except (EditError, SettingsError):
        return
    name = key.replace("endpoints.openai", "endpoints[0]")
    for other in {*before, *after}:
        if before.get(other) != after.get(other):
            # A section that appears brings its defaults; an entry of a mapping changes the mapping.
            assert other.startswith(name.rpartition(".")[0] or name)
