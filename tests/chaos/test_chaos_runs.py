"""Whole runs: a seed replays exactly, nobody is failed, and without a safeguard somebody is."""

from __future__ import annotations

import pytest

from kioskd.chaos import virtual
from kioskd.chaos.cases import Fate
from kioskd.chaos.sabotage import SABOTAGES, sabotaged

pytestmark = pytest.mark.long
SEED = 5


def test_a_seed_replays_exactly_and_fails_nobody() -> None:
    first, second = virtual.run(100, SEED), virtual.run(100, SEED)
    assert first.findings == []
    assert first.hash == second.hash
    assert first.fates[Fate.ANSWERED] > 30  # or the run were all faults
    assert len({kind for kind, _ in first.coverage.hits}) > 15
    assert virtual.run(20, SEED + 1).hash != first.hash


def test_without_faults_every_press_is_answered_or_ended_by_the_visitor() -> None:
    result = virtual.run(60, SEED, faults=False)
    assert result.findings == []
    assert set(result.fates) <= {Fate.ANSWERED, Fate.INTERRUPTED, Fate.CANCELLED, Fate.DISCARDED}


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_safeguard_that_is_off_turns_a_column_red(name: str) -> None:
    with sabotaged(name):
        result = virtual.run(200, SEED)
    assert {finding.column for finding in result.findings} & SABOTAGES[name].columns
