"""Whatever is in a settings file: settings or a SettingsError, never a traceback, and never a second opinion."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kioskd.config.load import SettingsError, load, parse
from kioskd.config.schema import Settings

pytestmark = pytest.mark.long

DOCUMENTED = (Path(__file__).parents[2] / "config" / "kioskd.yaml").read_text()
# Without its comments: shorter, and nearly every mutation hits a setting.
BARE = "\n".join(line for line in DOCUMENTED.splitlines() if line.strip() and not line.lstrip().startswith("#")) + "\n"

FRAGMENTS = [
    *("", " ", "\t", "\n", "\r", "\x00", "\x85", "\ufeff", "\u2028", "\ud800", "\xe9", "\U0001f600"),
    *(
        ":",
        ": ",
        "-",
        "- ",
        "? ",
        "#",
        "&a ",
        "*a",
        "*a : 1\n",
        "!t ",
        "!!int ",
        "!!binary ",
        "|",
        ">",
        "'",
        '"',
        "%",
        "@",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ",",
        "---",
        "...",
        "<<: ",
        "<<: *a",
        "~",
        "=",
        "[[[[[[[[[[[[[[[[[[[",
        "\n---\n",
        "%YAML 1.1\n---\n",
    ),
    *("off", "010", "1:30", "1e999", "-1", "9" * 5000, "1.5", ".nan", "2026-01-01", "0x_", "._", "true", "null"),
    *(
        '"\\ud800"',
        '"\\0"',
        '"\\x1b"',
        "ws://[",
        "ws://h:99999999",
        "//@",
        "GPIO99",
        "[]",
        "{}",
        "{? {}}",
        "/proc/self/mem",
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The documented settings after a few edits: text inserted, cut, doubled, or a value replaced."""
    text = BARE
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        fragment = draw(st.sampled_from(FRAGMENTS) | st.text(max_size=4))
        kind = draw(st.sampled_from(["insert", "cut", "double", "value", "line"]))
        if kind == "insert":
            text = text[:place] + fragment + text[place:]
        elif kind == "cut":
            text = text[:place] + fragment + text[place + draw(st.integers(0, 40)) :]
        elif kind == "double":
            text = text[:place] + text[max(place - draw(st.integers(0, 80)), 0) :]
        else:
            lines = text.split("\n")
            number = draw(st.integers(0, len(lines) - 1))
            key = lines[number].partition(":")[0]
            lines[number] = f"{key}: {fragment}" if kind == "value" else fragment
            text = "\n".join(lines)
    return text


def read(text: str) -> Settings | None:
    try:
        return parse(text, "f")
    except SettingsError as error:
        assert error.problems
        last_line = text.count("\n") + 1
        for problem in error.problems:
            assert 0 <= problem.line <= last_line
            assert problem.message
            assert "\n" not in str(problem)
            str(problem).encode()  # fit for a log
        return None


@settings(max_examples=250, deadline=None)
@given(mutated())
@example("*a : 1")
@example("[" * 200_000)
@example("- " * 100_000)
@example("{a: " * 60_000)
@example("? " * 100_000)
@example("a: '" + "\n" * 200_000)
def test_a_mutated_file_is_settings_or_problems_and_nothing_else(text: str) -> None:
    found = read(text)
    if found is not None:
        # What is taken means the same to a plain YAML reader: nothing was guessed.
        plain = yaml.safe_load(text.removeprefix("\ufeff"))
        assert plain["endpoints"][0]["name"] == found.endpoints[0].name
        assert plain.get("conversation", {}).get("pre_roll_ms", 300) == found.conversation.pre_roll_ms
        assert plain.get("audio", {}).get("microphone", "default") == found.audio.microphone


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text("ab:-? \n\t'\"[]{}&*!|>%@#,", max_size=60).map(str.encode))
def test_any_bytes_are_settings_or_problems_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "kioskd.yaml"
    file.write_bytes(content)
    try:
        load(file)
    except SettingsError as error:
        assert error.problems


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"\A[-+]?[0-9a-fxobEe_.:]{1,8}\Z") | st.sampled_from(["~", "Null", "True", "FALSE", "nO", "oN"]))
def test_a_plain_scalar_that_is_taken_reads_the_same_in_yaml_1_1(scalar: str) -> None:
    """PyYAML reads 1.1: whatever it takes for more than text is either taken alike, or refused."""
    endpoint = "endpoints: [{name: a, url: wss://a, model: m, "
    found = read(f"{endpoint}voice: {scalar}}}]")
    if found is not None:
        assert yaml.safe_load(f"[{scalar}]") == [found.endpoints[0].voice]
    found = read(f"{endpoint}close_timeout_s: {scalar}}}]")
    if found is not None:
        assert yaml.safe_load(f"[{scalar}]") == [found.endpoints[0].close_timeout_s]
