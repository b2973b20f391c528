"""Which fault happens when: the rules, their seed, and the file in which they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.config.problems import SettingsError
from kioskd.simulator.faults.catalogue import KINDS, Level, Phase
from kioskd.simulator.faults.script import FaultScript, Rule, load_script, parse_script

ROOT = Path(__file__).parents[2]
MESSAGE = Level.MESSAGE
REQUIRED = """
    refuse-connect dns-failure tls-failure rst-mid-frame fin-mid-frame black-hole stall-5s slow-2kbs jitter-300ms
    upgrade-400 upgrade-401 upgrade-403 upgrade-404 upgrade-429-header upgrade-429-date upgrade-429-body
    upgrade-429-text upgrade-429-bare upgrade-500 upgrade-502 upgrade-503 second-connection-refused
    upgrade-then-silence
    error-close-3000 error-close-4000 session-expired close-1001 close-1008 close-1009 close-1011 close-1012
    frame-20mb garbage-json binary-frame bad-base64 odd-bytes unknown-event duplicate-event late-rate-limits
    no-response-created no-response-done failed-rate-limit failed-server-error incomplete-max-tokens
    incomplete-content-filter text-only-answer answers-by-itself update-rejected update-unacknowledged
    silent-upstream null-code-error slow-cancel second-response-done item-id-missing
"""


def drawn(script: FaultScript, *phases: Phase, level: Level = MESSAGE) -> list[str | None]:
    kinds = [script.draw(level, phase) for phase in phases]
    return [kind and kind.name for kind in kinds]


def test_the_catalogue_has_every_fault() -> None:
    assert set(KINDS) == set(REQUIRED.split())
    assert all(kind.name == name and kind.phases and kind.summary for name, kind in KINDS.items())


def test_what_happens_at_the_upgrade_happens_nowhere_else() -> None:
    for kind in KINDS.values():
        if kind.level is Level.UPGRADE:
            assert kind.phases == {Phase.CONNECT}
        elif kind.level is MESSAGE:
            assert Phase.CONNECT not in kind.phases


def test_after_and_times_count_matching_opportunities() -> None:
    script = FaultScript([Rule("close-1011", Phase.ASKED, times=2, after=1)])
    phases = [Phase.ASKED, Phase.IDLE, Phase.ASKED, Phase.ANSWERING, Phase.ASKED, Phase.ASKED]
    assert drawn(script, *phases) == [None, None, "close-1011", None, "close-1011", None]
    assert script.hits == {("close-1011", Phase.ASKED): 2}


def test_a_rule_without_a_phase_takes_what_its_kind_allows() -> None:
    script = FaultScript([Rule("odd-bytes")])
    assert [phase for phase in Phase if drawn(script, phase) == ["odd-bytes"]] == [Phase.ASKED, Phase.ANSWERING]
    assert drawn(script, *Phase, level=Level.NETWORK) == [None] * len(Phase)


def test_the_first_rule_wins_and_the_next_gets_its_turn() -> None:
    script = FaultScript([Rule("close-1011", times=1), Rule("close-1012")])
    assert drawn(script, Phase.IDLE, Phase.IDLE) == ["close-1011", "close-1012"]


@given(st.integers(0, 2**53), st.lists(st.sampled_from(sorted(Phase, key=lambda phase: phase.value)), max_size=60))
def test_the_same_seed_draws_the_same(seed: int, phases: list[Phase]) -> None:
    rules = [Rule("close-1011", probability=0.3), Rule("garbage-json", probability=0.5, after=2)]
    assert drawn(FaultScript(rules, seed), *phases) == drawn(FaultScript(rules, seed), *phases)


def test_another_seed_draws_otherwise() -> None:
    rules = [Rule("garbage-json", probability=0.5)]
    first, second = (drawn(FaultScript(rules, seed), *[Phase.IDLE] * 64) for seed in (1, 2))
    assert first != second
    assert 10 < first.count("garbage-json") < 54


def test_a_rules_luck_does_not_hang_on_what_else_is_drawn() -> None:
    rules = [Rule("garbage-json", Phase.IDLE, probability=0.5), Rule("jitter-300ms", probability=0.5)]
    alone, mixed = FaultScript(rules, 1), FaultScript(rules, 1)
    expected = drawn(alone, *[Phase.IDLE] * 64)
    found = []
    for _ in range(64):
        mixed.draw(Level.NETWORK, Phase.IDLE)
        found += drawn(mixed, Phase.IDLE)
    assert found == expected


@pytest.mark.parametrize("rule", [Rule("close-9999"), Rule("update-rejected", Phase.ANSWERING)])
def test_a_rule_that_can_not_be_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match=rule.kind):
        FaultScript([rule])


def test_a_file_is_read() -> None:
    text = """
seed: 7
faults:
  - kind: close-1011
    phase: answering
    times: 3
    probability: 0.5
    after: 2
  - kind: stall-5s
"""
    script = parse_script(text, "f.yaml")
    assert script.seed == 7
    assert script.rules == (Rule("close-1011", Phase.ANSWERING, 3, 0.5, 2), Rule("stall-5s"))
    assert script.has(Level.NETWORK) and script.has(MESSAGE) and not script.has(Level.UPGRADE)


def test_the_example_can_be_read_and_names_every_fault() -> None:
    path = ROOT / "config" / "demo-faults.yaml"
    assert load_script(path).rules
    text = path.read_text()
    assert [name for name in KINDS if name not in text] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f.yaml:1: is empty; at least faults is required"),
        ("# nothing\n", "f.yaml:1: is empty; at least faults is required"),
        ("- a\n", "f.yaml:1: must consist of lines such as key: value"),
        ("seed: 1\n", "f.yaml:1: faults: is missing; it is required"),
        ("faults: []\n", "f.yaml:1: faults: must be a list of 1 to 1000 faults"),
        ("faults: x\n", "f.yaml:1: faults: must be a list of 1 to 1000 faults"),
        ("falts: []\nfaults: [{kind: stall-5s}]\n", "f.yaml:1: falts: unknown; did you mean faults?"),
        ("faults: [7]\n", "f.yaml:1: faults[0]: must be a section with these keys: kind, phase, times, "),
        ("faults:\n  - phase: idle\n", "f.yaml:2: faults[0].kind: is missing; it is required"),
        ("faults:\n  - kind: clse-1011\n", "f.yaml:2: faults[0].kind: there is no clse-1011 here; did you mean close-"),
        ("faults:\n  - kind: [a]\n", "f.yaml:2: faults[0].kind: must be one word; allowed are: refuse-connect, dns"),
        (
            "faults:\n  - kind: odd-bytes\n    phase: idle\n",
            "f.yaml:3: faults[0].phase: there is no idle here; allowed of odd-bytes are: asked, answering",
        ),
        ("faults:\n  - {kind: stall-5s, phase: iddle}\n", "f.yaml:2: faults[0].phase: there is no iddle here; did you"),
        ("faults:\n  - {kind: stall-5s, times: 0}\n", "f.yaml:2: faults[0].times: must be a whole number from 1 to "),
        ("faults:\n  - {kind: stall-5s, times: 1.5}\n", "f.yaml:2: faults[0].times: must be a whole number from 1 to "),
        ("faults:\n  - {kind: stall-5s, times: true}\n", "f.yaml:2: faults[0].times: must be a whole number from 1 to"),
        ("faults:\n  - {kind: stall-5s, probability: 2}\n", "f.yaml:2: faults[0].probability: must be a number from 0"),
        ("faults:\n  - {kind: stall-5s, after: soon}\n", "f.yaml:2: faults[0].after: must be a whole number from 0 to"),
        ("seed: -1\nfaults: [{kind: stall-5s}]\n", "f.yaml:1: seed: must be a whole number from 0 to 9007199254740992"),
        (
            "faults:\n  - {kind: stall-5s, sometimes: 1}\n",
            "f.yaml:2: faults[0].sometimes: unknown; did you mean times?",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as told:
        parse_script(text, "f.yaml")
    assert len(told.value.problems) == 1
    assert str(told.value).startswith(problem)


def test_all_mistakes_are_told_at_once() -> None:
    text = "seed: x\nfaults:\n  - kind: nonsense\n    phase: never\n    times: many\n"
    with pytest.raises(SettingsError) as told:
        parse_script(text, "f.yaml")
    assert [problem.line for problem in told.value.problems] == [1, 3, 4, 5]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        load_script(tmp_path / "none.yaml")


@given(st.text(max_size=200))
def test_no_text_is_a_traceback(text: str) -> None:
    try:
        parse_script(text, "f.yaml")
    except SettingsError as error:
        assert error.problems
