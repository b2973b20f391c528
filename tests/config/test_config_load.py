"""Reading settings: what is taken, and what each mistake is called, with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kioskd.config import schema
from kioskd.config.load import Problem, SettingsError, load, parse

SMALL = """\
endpoints:
  - name: openai
    url: wss://api.openai.com/v1/realtime
    model: gpt-realtime
"""


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(text, "kioskd.yaml")
    for problem in caught.value.problems:
        assert "\n" not in str(problem)
        assert problem.file == "kioskd.yaml"
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return caught.value.problems


def the_problem(text: str) -> Problem:
    (problem,) = problems_of(text)
    return problem


def with_line(line: str) -> str:
    """SMALL with one more line in its endpoint, which is line 5."""
    return SMALL + "    " + line + "\n"


def test_what_is_left_out_has_its_default() -> None:
    endpoint = schema.Endpoint(name="openai", url="wss://api.openai.com/v1/realtime", model="gpt-realtime")
    assert parse(SMALL, "kioskd.yaml") == schema.Settings(endpoints=(endpoint,))


def test_every_type_of_setting_is_read() -> None:
    settings = parse(
        SMALL
        + """\
    dialect: beta
    voice: "no"
    transcription_model: null
    temperature: 1
    ping_interval_s: 25.5
    http: {total_timeout_s: 130}
audio: {signs: false}
panel:
  button: {pin: BOARD11}
  lamp: {kind: rgb, pins: [2, GPIO3, 4]}
conversation:
  instructions: |
    Be kind.
    \tAnd brief. \U0001f469\u200d\U0001f680
""",
        "kioskd.yaml",
    )
    (endpoint,) = settings.endpoints
    assert endpoint.dialect is schema.Dialect.BETA
    assert (endpoint.voice, endpoint.transcription_model) == ("no", None)
    assert (endpoint.temperature, endpoint.ping_interval_s, endpoint.http.total_timeout_s) == (1.0, 25.5, 130.0)
    assert isinstance(endpoint.temperature, float)
    assert settings.audio.signs is False
    assert settings.panel == schema.Panel(
        schema.Button(pin="BOARD11"), schema.Lamp(schema.LampKind.RGB, pins=(2, "GPIO3", 4))
    )
    assert settings.conversation.instructions == "Be kind.\n\tAnd brief. \U0001f469\u200d\U0001f680\n"


@pytest.mark.parametrize("text", ["\ufeff" + SMALL, SMALL.replace("\n", "\r\n"), "---\n" + SMALL, SMALL + "...\n"])
def test_what_editors_and_tools_leave_behind_does_no_harm(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kioskd.yaml"
    file.write_bytes(text.encode())
    assert load(file) == load(str(file)) == parse(text, "") == parse(SMALL, "")


def test_a_problem_is_one_line_of_file_line_key_and_message() -> None:
    assert str(the_problem(with_line("dialect: bta"))) == (
        "kioskd.yaml:5: endpoints[0].dialect: must be one of ga, beta, not bta; did you mean beta?"
    )
    assert str(Problem("a.yaml", 0, "", "is not there")) == "a.yaml: is not there"


# The first layer: YAML itself.


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "is empty"),
        ("# nothing\n", 1, "is empty"),
        ("- a\n", 1, "key: value"),
        ("words\n", 1, "key: value"),
        (SMALL + "a: b: c\n", 5, "quote the text"),
        (SMALL + "  log: {}\n", 5, "indentation"),
        (SMALL + 'a: "b\n', 6, "quoted scalar"),
        (SMALL + "a: [1, 2\n", 6, "not YAML"),
        (SMALL + "log:\n\tlevel: info\n", 6, "tab"),
        (SMALL + "log: &a\n", 5, "anchor &a"),
        (SMALL + "log: *a\n", 5, "alias *a"),
        (SMALL + "*a : 1\n", 5, "alias *a"),
        (SMALL + "log: !!map {}\n", 5, "tag !!map"),
        (SMALL + "log: !!python/object/apply:os.system [x]\n", 5, "tag !!python"),
        (SMALL + "version: 1\nversion: 1\n", 6, "twice, first in line 5"),
        (SMALL + "? [a]\n: 1\n", 5, "a key is one word"),
        (SMALL + "---\na: 1\n", 5, "second document"),
        (SMALL + "log: " + "[" * 40 + "]" * 40, 5, "deep"),
        (SMALL + "log: \x00\n", 5, "U+0000"),
        (SMALL + "# \x1b[31m\n", 5, "U+001B"),
        (SMALL + "# a\u2028b\n", 5, "U+2028"),
        (SMALL + "# a\rb\n", 5, "U+000D"),
        (SMALL + "# \ud800\n", 5, "U+D800"),
        ("a" * 300_000, 0, "larger than 256 KiB"),
    ],
)
def test_yaml_that_is_wrong_or_means_trouble(text: str, line: int, says: str) -> None:
    problem = the_problem(text)
    assert problem.line == line
    assert says in problem.message


def test_every_mistake_of_the_first_layer_is_told_at_once() -> None:
    problems = problems_of("a: &x 1\nb: *x\nc: !t 2\na: 3\nd: {e: 1, e: 2}\n---\n{}\n")
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, ""),
        (2, ""),
        (3, ""),
        (4, "a"),
        (5, "d.e"),
        (6, ""),
    ]
    assert [problem.line for problem in problems_of("a: &x 1\nb: &x 2\n")] == [1, 2]
    assert [problem.line for problem in problems_of("a:\n\tb: 1\n\tc: 1\n")] == [2, 3]


def test_a_billion_laughs_are_not_even_begun() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    assert len(problems_of(bomb)) == 11 + 20 - 10  # the two equal aliases of a line are one complaint


def test_a_file_with_very_many_mistakes_is_told_with_a_bound() -> None:
    problems = problems_of(SMALL + "".join(f"x{number}: 1\n" for number in range(5000)))
    assert len(problems) == 100
    assert "4901 more" in problems[-1].message


# The second layer: shape and types.


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("modle: x", "modle", "did you mean model?"),
        ("pre_roll_ms: 1", "pre_roll_ms", "belongs into conversation"),
        ("colour: red", "colour", "allowed here: name, url, model"),
        ("api_key: x", "api_key", "does not belong into this file"),
        ('"a\\nb": x', "'a\\nb'", "unknown"),
        ("breaker: 5", "breaker", "must be a section"),
        ("breaker: []", "breaker", "must be a section"),
        ("breaker:", "breaker", "delete the line"),
        ("http: {total_timeout_s: fast}", "http.total_timeout_s", "a number from 1 to 1200 (seconds), not fast"),
        ("voice: 7", "voice", "quote it"),
        ("voice: true", "voice", "must be text"),
        ("voice: [a]", "voice", "not a list"),
        ("voice: {a: b}", "voice", "not a section"),
        ('voice: ""', "voice", "is empty"),
        ('voice: " x"', "voice", "space"),
        ('voice: "a\\0"', "voice", "U+0000"),
        ('voice: "\\ud800"', "voice", "U+D800"),
        ('voice: "a\\nb"', "voice", "U+000A"),
        (f"voice: {'x' * 3000}", "voice", "longer than 2048"),
        ("plain_text_allowed: 1", "plain_text_allowed", "must be true or false, not 1"),
        ('plain_text_allowed: "true"', "plain_text_allowed", "remove the quotes"),
        ("requests_per_minute: true", "requests_per_minute", "whole number from 1 to 6000, not true"),
        ("requests_per_minute: 1.5", "requests_per_minute", "leave out the fraction"),
        ("requests_per_minute: 1.0", "requests_per_minute", "leave out the fraction"),
        ('requests_per_minute: "60"', "requests_per_minute", "remove the quotes"),
        ("requests_per_minute: 0", "requests_per_minute", "from 1 to 6000, not 0"),
        ("requests_per_minute: 6001", "requests_per_minute", "from 1 to 6000, not 6001"),
        (f"requests_per_minute: {'9' * 5000}", "requests_per_minute", "different things"),
        ("requests_per_minute:", "requests_per_minute", "delete the line"),
        ("open_timeout_s: 2,5", "open_timeout_s", "with a point"),
        ("open_timeout_s: 10s", "open_timeout_s", "without a unit"),
        ("open_timeout_s: true", "open_timeout_s", "must be a number"),
        ("max_tokens: 5000", "max_tokens", "from 1 to 4096"),
        ("temperature: 3", "temperature", "from 0 to 2"),
        ("auth: Bearer", "auth", "did you mean bearer?"),
        ("beta_header: auto", "beta_header", "must be true or false"),
        ("query: a=b", "query", "lines of the form name: value"),
        ("query: [a]", "query", "not a list"),
        ("query: {api-version: 2026-07-15}", "query.api-version", 'quote it: "2026-07-15"'),
        ("query: {stream: true}", "query.stream", "quote it"),
        ("query: {a: {b: c}}", "query.a", "not a section"),
        (f"query: {{{', '.join(f'a{n}: b' for n in range(33))}}}", "query", "at most 32 entries, not 33"),
        ('headers: {X-A: "a\\r\\nX-B: b"}', "headers.X-A", "U+000D"),
        ("mint: broker", "mint", "must be a section"),
        ("mint: {kind: client_secret}", "mint.kind", "did you mean client-secret?"),
        ("mint: {timeout_s: 0.5}", "mint.timeout_s", "from 1 to 60"),
        ("mint: {api_key: x}", "mint.api_key", "does not belong into this file"),
        ("noise_reduction: far", "noise_reduction", "one of none, near_field, far_field"),
        ("noise_reduction: farfield", "noise_reduction", "did you mean far_field?"),
    ],
)
def test_a_wrong_setting_names_what_is_allowed(line: str, key: str, says: str) -> None:
    problem = the_problem(with_line(line))
    assert (problem.line, problem.key) == (5, f"endpoints[0].{key}")
    assert says in problem.message
    assert len(problem.message) < 500


AMBIGUOUS = """
off on yes no y n Y N Yes NO On OFF
010 -010 08 0o17 0x1F 0b1 1_000 1:30 190:20:30 1:30.5 1e3 1.5e+3 010.5 .inf -.INF .nan
2026-01-01 2026-1-1T10:00:00Z = <<
"""


@pytest.mark.parametrize("scalar", AMBIGUOUS.split())
def test_what_yaml_versions_read_differently_is_never_guessed_at(scalar: str) -> None:
    problem = the_problem(with_line(f"voice: {scalar}"))
    assert problem.key == "endpoints[0].voice"
    assert f'quote it: "{scalar}"' in problem.message
    assert parse(with_line(f'voice: "{scalar}"'), "").endpoints[0].voice == scalar
    for line, allowed in (
        ("plain_text_allowed", "true or false"),
        ("requests_per_minute", "a whole number from 1 to 6000"),
        ("noise_reduction", "one of none, near_field, far_field"),
        ("breaker", "a section"),
    ):
        message = the_problem(with_line(f"{line}: {scalar}")).message
        assert allowed in message
        assert "quote it" in message or line == "breaker"


@pytest.mark.parametrize("number", ["20", "20.", "20.0", "+20"])
def test_numbers_that_all_versions_read_alike_are_numbers(number: str) -> None:
    assert parse(with_line(f"open_timeout_s: {number}"), "").endpoints[0].open_timeout_s == 20.0


def test_every_mistake_of_the_second_layer_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
endpoints:
  - nam: a
    url: 5
  - words
panel:
  lamp: {pins: 27}
  button: {pin: 1.5}
audio:
  signs: yes
"""
    assert [(problem.line, problem.key) for problem in problems_of(text)] == [
        (2, "endpoints[0].model"),
        (2, "endpoints[0].nam"),
        (2, "endpoints[0].name"),
        (3, "endpoints[0].url"),
        (4, "endpoints[1]"),
        (6, "panel.lamp.pins"),
        (7, "panel.button.pin"),
        (9, "audio.signs"),
    ]


def test_a_value_on_a_line_of_its_own_is_told_at_the_line_of_its_key() -> None:
    problem = the_problem(SMALL + "audio:\n  speaker:\n    - default\n")
    assert (problem.line, problem.key) == (6, "audio.speaker")


@pytest.mark.parametrize("escape", ["\\ud800", "\\x85", "\\x7f", "\\0", "\\x1b", "\\r"])
def test_instructions_hold_nothing_that_can_not_be_sent_or_printed(escape: str) -> None:
    problem = the_problem(SMALL + f'conversation: {{instructions: "Be kind.{escape}"}}\n')
    assert problem.key == "conversation.instructions"
    assert "delete it" in problem.message


def test_endpoints_are_one_to_sixteen() -> None:
    assert "1 to 16 entries, not 0" in the_problem("endpoints: []").message
    assert (
        "1 to 16 entries, not 17" in the_problem(f"endpoints: [{'{name: a, url: wss://a, model: m}, ' * 17}]").message
    )
    assert the_problem("version: 1").key == "endpoints"
    assert "layouts up to 1: bring kioskd up to date" in the_problem(SMALL + "version: 2").message


# Files.


def test_a_file_that_can_not_be_read_is_a_problem_and_never_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "latin1").write_bytes(SMALL.encode() + b"# K\xf6ln\n")
    (tmp_path / "large").write_bytes(b"#" * 262_145)
    for name, line, says in (
        ("missing", 0, "no such file"),
        ("latin1/x", 0, "no such file"),
        ("fifo", 0, "not a regular file"),
        (".", 0, "not a regular file"),
        ("n\0l", 0, "not the name of a file"),
        ("x" * 300, 0, "can't be opened"),
        ("latin1", 5, "UTF-8"),
        ("large", 0, "larger than"),
    ):
        with pytest.raises(SettingsError) as caught:
            load(tmp_path / name)
        (problem,) = caught.value.problems
        assert (problem.file, problem.line) == (str(tmp_path / name), line)
        assert says in problem.message
