"""Whatever is in a settings file: settings or a SettingsError, never a traceback, and never a second opinion."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from random import Random

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


SHORT = """\
# the lobby's
endpoints:
  - name: lobby
    url: "wss://a.example/v1"
    model: m
    key: {file: "/etc/key"}
audio:
  volume: 40  # quiet
panel: {lamp: {pins: [27]}}
"""


def test_ten_thousand_mutated_files_are_settings_or_problems_with_lines() -> None:
    random = Random(6)
    taken = 0
    for _ in range(10_000):
        text = SHORT
        for _ in range(random.randint(1, 3)):
            place = random.randrange(len(text) + 1)
            fragment = random.choice(FRAGMENTS) if random.random() < 0.7 else chr(random.randrange(1, 0x3000))
            text = text[:place] + fragment + text[place + random.choice((0, 0, 1, 5, 30)) :]
        taken += read(text) is not None
    assert 500 < taken < 9500  # both happen


def bombs() -> dict[str, bytes]:
    """Files that have brought down readers of YAML."""
    laughs = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghijklmnopq"))
    return {
        "an anchor bomb": laughs.encode(),
        "a merge bomb": (laughs + "endpoints: {<<: *q}\n").encode(),
        "tabs": SHORT.replace("  ", "\t").encode(),
        "a key given twice": (SHORT + "audio: {volume: 3}\n").encode(),
        "NUL": SHORT.replace("lobby", "lob\0by").encode(),
        "UTF-16": SHORT.encode("utf-16"),
        "Latin-1": SHORT.replace("quiet", "leise für Gäste").encode("latin-1"),
        "half a character": SHORT.encode() + b"# \xc3",
        "nested 100,000 deep": b"[" * 100_000,
        "nested deep by indentation": "\n".join(" " * n + f"k{n}:" for n in range(600)).encode(),
        "one long line": b"a: " + b"x" * 250_000,
        "a long key": b"k" * 250_000 + b": 1",
        "100,000 keys": "".join(f"k{n}: 1\n" for n in range(25_000)).encode(),
        "an object of Python's": b"!!python/object/apply:os.system [touch /tmp/kioskd-was-here]",
        "another document": SHORT.encode() + b"---\n" + SHORT.encode(),
        "nothing": b"",
        "a picture": bytes(range(256)) * 100,
    }


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from kioskd.__main__ import main
sys.exit(main(["check", sys.argv[1]]))
"""


@pytest.mark.parametrize("name", [*bombs(), "100 MB"])
def test_a_nasty_file_is_refused_by_its_lines_in_bounded_time_and_memory(tmp_path: Path, name: str) -> None:
    file = tmp_path / "kioskd.yaml"
    with file.open("wb") as opened:
        opened.write(bombs().get(name, b"a: 1\n"))
        if name == "100 MB":
            opened.truncate(100 << 20)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, file], capture_output=True, text=True, errors="replace", check=False
    )
    assert (done.returncode, done.stderr) == (78, ""), done.stderr[-300:]
    lines = done.stdout.splitlines()
    assert 0 < len(lines) <= 100 and all(re.match(rf"{re.escape(str(file))}(:[0-9]+)?: ", line) for line in lines)
    assert sum(map(len, lines)) < 100_000
