"""How a version on trial is judged, and what is done with whatever a start finds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from attrs import evolve

from kioskd.config.trial import (
    LONGEST_TURN_S,
    STABLE_S,
    Found,
    Health,
    Judgement,
    Looked,
    Start,
    at_start,
    health_of,
    judge,
    read_health,
)

WELL: dict[str, Any] = {
    "health": "healthy",
    "troubles": [],
    "state": "ready",
    "pid": 7,
    "link": {"state": "up", "endpoint": "a"},
    "faults": [],
    "vitals": [{"name": "loop", "fresh": True}],
    "settings": {"version": "12345678"},
}


def test_a_healthy_kiosk_lacks_nothing() -> None:
    assert health_of(WELL | {"settings": {"version": "1", "trouble": "no"}}, "a").refusal == "no"
    health = health_of(WELL, "a")
    assert health == Health("healthy", frozenset(), (), "12345678", False, 7)
    assert health.as_good_as(health) and health.as_good_as(Health())
    assert not Health().as_good_as(health)


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({"link": {"state": "down", "endpoint": "a"}}, {"link"}),
        ({"link": {"state": "refused", "endpoint": "a"}}, {"link", "endpoint's consent"}),
        ({"link": {"state": "up", "endpoint": "b"}}, {"first endpoint"}),
        ({"faults": [{"fault": "microphone"}]}, {"fault microphone"}),
        ({"vitals": [{"name": "capture", "fresh": False}]}, {"vital capture"}),
        ({"state": "starting"}, {"readiness"}),
    ],
)
def test_what_is_missing_has_a_name_and_makes_it_worse(change: dict[str, Any], lacks: set[str]) -> None:
    health = health_of(WELL | change, "a")
    assert health.lacks == lacks
    assert not health.as_good_as(health_of(WELL, "a"))
    assert health.as_good_as(health) and health_of(WELL, "a").as_good_as(health)


def test_another_trouble_is_worse_than_the_one_before() -> None:
    """Degraded both times; but what the network does must not excuse a wrong sound card."""
    before = Health("degraded", frozenset({"link"}))
    assert not Health("degraded", frozenset({"link", "fault speaker"})).as_good_as(before)
    assert not Health("degraded", frozenset({"fault speaker"})).as_good_as(before)
    assert Health("degraded", frozenset({"link"})).as_good_as(before)


@pytest.mark.parametrize("status", [{}, {"health": 3, "faults": "x", "link": None, "settings": [], "pid": "7"}])
def test_a_strange_status_is_no_good_one(status: dict[str, Any]) -> None:
    assert not health_of(status).as_good_as(health_of(WELL))


def test_health_survives_its_way_through_a_file() -> None:
    health = Health("degraded", frozenset({"link", "fault speaker"}), ("no card",))
    assert read_health(health.as_dict()) == health
    assert read_health({"level": "great", "lacks": 3, "troubles": None}) == Health()


def test_it_is_kept_once_it_has_been_good_for_a_while() -> None:
    assert judge(Looked(STABLE_S, 6), 30) is Judgement.KEEP
    assert judge(Looked(STABLE_S - 0.1, 6), 30) is Judgement.WAIT
    assert judge(Looked(None, 29.9), 30) is Judgement.WAIT
    assert judge(Looked(None, 30), 30) is Judgement.REVERT


def test_the_last_moment_still_counts_and_luck_does_not() -> None:
    assert judge(Looked(1.0, 31), 30) is Judgement.WAIT
    assert judge(Looked(1.0, 30 + STABLE_S), 30) is Judgement.REVERT


def test_a_visitor_who_speaks_takes_nothing_of_its_time_but_not_for_ever() -> None:
    assert judge(Looked(None, 129, 100), 30) is Judgement.WAIT
    assert judge(Looked(None, 130, 100), 30) is Judgement.REVERT
    assert judge(Looked(None, 30 + LONGEST_TURN_S, 10 * LONGEST_TURN_S), 30) is Judgement.REVERT


def test_every_start_is_decided_and_a_kiosk_is_never_started_with_what_it_cannot_read() -> None:
    booleans = (True, False)
    for valid, current, trial, is_trial, settled, has in itertools.product(booleans, repeat=6):
        for starts in (0, 1, 2):
            found = Found(valid, current and has, trial, is_trial and trial, settled and trial, starts, has)
            step = at_start(found)
            if step is Start.FORGET_TRIAL:
                step = at_start(evolve(found, on_trial=False, is_trial=False, settled=False))
                assert step is not Start.FORGET_TRIAL
            if step in (Start.GO, Start.TAKE_OVER, Start.TRY):
                assert valid
            if step is Start.LEAVE:
                assert not valid
            if found.is_trial and not found.settled and starts > 0:
                assert step is Start.REVERT


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (Found(True, True, False, False, False, 0, True), Start.GO),
        (Found(True, False, False, False, False, 0, False), Start.TAKE_OVER),
        (Found(False, False, False, False, False, 0, True), Start.RESTORE),
        (Found(False, False, False, False, False, 0, False), Start.LEAVE),
        (Found(True, False, True, True, False, 0, True), Start.TRY),
        (Found(True, False, True, True, False, 1, True), Start.REVERT),
        (Found(False, False, True, True, False, 0, True), Start.REVERT),
        (Found(True, True, True, False, False, 0, True), Start.FORGET_TRIAL),
        (Found(True, True, True, True, True, 5, True), Start.FORGET_TRIAL),
    ],
)
def test_the_starts_by_name(found: Found, step: Start) -> None:
    assert at_start(found) is step
