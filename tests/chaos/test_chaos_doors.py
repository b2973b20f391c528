"""Whole turns over every other kind of endpoint, under the faults of its wires: nobody is failed."""

from __future__ import annotations

import pytest

from kioskd.chaos import doors
from kioskd.chaos.cases import Fate
from kioskd.simulator.faults.catalogue import TEXT_KINDS

PRESSES = 8
SEED = 3


def test_every_fault_of_the_text_doors_has_a_kind_that_meets_it() -> None:
    met = {name for door in doors.DOORS.values() for name in doors.kinds_of(door)}
    assert TEXT_KINDS.keys() <= met
    assert doors.kinds_of(doors.DOORS["local"]) == ()


@pytest.mark.long
@pytest.mark.parametrize("name", doors.DOORS)
def test_nobody_is_failed(name: str) -> None:
    result = doors.run(name, PRESSES, SEED)
    assert result.findings == []
    assert result.fates[Fate.ANSWERED] > 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["responses", "chat-sse", "audio-sse", "local"])
def test_without_faults_every_press_is_answered_or_ended_by_the_visitor(name: str) -> None:
    result = doors.run(name, PRESSES, SEED, faults=False)
    assert result.findings == []
    assert set(result.fates) <= {Fate.ANSWERED, Fate.INTERRUPTED, Fate.CANCELLED, Fate.DISCARDED}
