"""The ladder, vital by vital: what stands still alone leads to its rungs, in their order and at their time."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from kioskd.commands import exits
from kioskd.config.schema import Endpoint
from kioskd.health.vitals import (
    LAST_RESORT_S,
    LOOK_S,
    LOOP_LOOKS,
    RUNG_S,
    STANDSTILL_S,
    STEADY_S,
    STOP_BOUND_S,
    STOP_OVERDUE,
    VITALS,
    Ladder,
    Reading,
    Rung,
    Verdict,
    link_limit_s,
)

UNIT = Path(__file__).parents[2] / "systemd" / "kioskd.service"
REOPEN, RESTART, EXIT = Rung.REOPEN, Rung.RESTART, Rung.EXIT

# The documented rungs: README, "When it hangs".
LADDERS = [
    ("loop", False, [EXIT]),
    ("capture", False, [REOPEN, RESTART, EXIT]),
    ("capture", True, [REOPEN, EXIT]),
    ("playback", False, [REOPEN, RESTART, EXIT]),
    ("playback", True, [REOPEN, EXIT]),
    ("link", False, [REOPEN, RESTART, EXIT]),
    ("panel", False, [RESTART, EXIT]),
]


def all_fresh() -> dict[str, Reading]:
    return {name: Reading(name, 0.0, vital.limit_s) for name, vital in VITALS.items()}


class Watch:
    """Looks every LOOK_S, from a moment long after the start."""

    def __init__(self) -> None:
        self.ladder, self.now = Ladder(), 1000.0
        for _ in range(20):
            self.look()

    def look(self, *changed: Reading, after_s: float = LOOK_S) -> Verdict:
        self.now += after_s
        return self.ladder.look((all_fresh() | {reading.name: reading for reading in changed}).values(), self.now)

    def climb(self, stale: Reading, looks: int) -> list[tuple[float, Rung]]:
        """The rungs taken while it stays stale, with the seconds since the first look that saw it."""
        began = self.now + LOOK_S
        found = []
        for _ in range(looks):
            verdict = self.look(stale)
            assert [reading.name for reading in verdict.stale] == [stale.name]
            found += [(self.now - began, step.rung) for step in verdict.steps]
        return found


def stale(name: str, hung: bool = False) -> Reading:
    limit_s = VITALS[name].limit_s
    return Reading(name, limit_s + 0.1, limit_s, hung=hung)


def test_every_vital_has_a_documented_ladder() -> None:
    assert {name for name, _, _ in LADDERS} == set(VITALS)


@pytest.mark.parametrize(("name", "hung", "rungs"), LADDERS)
def test_what_stands_still_alone_leads_to_its_rungs(name: str, hung: bool, rungs: list[Rung]) -> None:
    taken = Watch().climb(stale(name, hung), looks=1 + (len(rungs) - 1) * int(RUNG_S / LOOK_S))
    assert taken == [(RUNG_S * number, rung) for number, rung in enumerate(rungs)]


def test_what_moves_or_is_known_to_be_absent_leads_nowhere() -> None:
    watch = Watch()
    for name, vital in VITALS.items():
        assert watch.look(Reading(name, vital.limit_s, vital.limit_s)).alive
        absent = Reading(name, 1e6, vital.limit_s, "no board; next try in 4 s")
        assert absent.fresh and watch.look(absent) == Verdict()


def test_one_that_moves_again_has_recovered_and_the_next_trouble_is_a_new_one() -> None:
    watch = Watch()
    assert watch.climb(stale("capture"), looks=1) == [(0.0, REOPEN)]
    assert watch.look().recovered == ("capture",)
    assert watch.look().recovered == ()
    while watch.now < 1000 + 20 * LOOK_S + LOOK_S + STEADY_S + LOOK_S:
        watch.look()
    assert watch.climb(stale("capture"), looks=1) == [(0.0, REOPEN)]


def test_one_that_recovers_only_for_a_moment_climbs_on() -> None:
    watch, taken = Watch(), []
    for _ in range(3):
        taken += watch.climb(stale("link"), looks=1)
        for _ in range(5):
            watch.look()
    assert [rung for _, rung in taken] == [REOPEN, RESTART, EXIT]


def test_two_at_once_climb_each_by_itself() -> None:
    watch = Watch()
    watch.look(stale("panel"))
    both = watch.look(stale("panel"), stale("link"))
    assert [(step.reading.name, step.rung) for step in both.steps] == [("link", REOPEN)]
    both = watch.look(stale("panel"), stale("link"))
    assert [(step.reading.name, step.rung) for step in both.steps] == [("panel", EXIT)]


def test_nobody_is_blamed_for_a_process_that_was_stopped() -> None:
    watch = Watch()
    woken = [evolve(reading, age_s=3600.0) for reading in all_fresh().values()]
    assert watch.look(*woken, after_s=3600.0).alive
    assert watch.look(stale("panel")).alive, "it has its whole limit to move again"
    verdict = watch.look(after_s=LOOK_S)
    assert verdict.alive
    for _ in range(int(VITALS["panel"].limit_s / LOOK_S)):
        verdict = watch.look(stale("panel"))
    assert not verdict.alive, "and not longer"


def test_a_short_delay_of_the_watchdog_itself_excuses_nothing() -> None:
    assert not Watch().look(stale("panel"), after_s=STANDSTILL_S).alive


@given(st.lists(st.tuples(st.sampled_from(sorted(VITALS)), st.booleans(), st.floats(0.1, 60)), max_size=60))
def test_no_rung_is_left_out_and_each_has_its_time(moves: list[tuple[str, bool, float]]) -> None:
    watch = Watch()
    taken: dict[str, tuple[int, float]] = {}
    seen_still: dict[str, float] = {}
    for name, moving, after_s in moves:
        verdict = watch.look(*[] if moving else [stale(name)], after_s=after_s)
        assert {reading.name for reading in verdict.stale} <= (set() if moving else {name})
        for step in verdict.steps:
            place = step.reading.rungs.index(step.rung)
            before, _ = taken.get(name, (-1, 0.0))
            if watch.now - seen_still.get(name, -1e9) > STEADY_S:
                assert place == 0, "long over: the gentlest again"
            else:
                assert place == min(before + 1, len(step.reading.rungs) - 1)
            taken[name] = (place, watch.now)
        for reading in verdict.stale:
            seen_still[reading.name] = watch.now


def test_exit_codes_are_distinct_and_documented() -> None:
    codes = [vital.exit_code for vital in VITALS.values()] + [STOP_OVERDUE]
    assert sorted(codes) == list(exits.STOOD_STILL)


def test_the_limit_of_the_link_is_beyond_its_own_deadlines() -> None:
    endpoint = Endpoint("a", "wss://a/", "m")
    slow = evolve(endpoint, ping_interval_s=300.0, ping_timeout_s=100.0, close_timeout_s=60.0)
    assert link_limit_s([endpoint, slow]) == link_limit_s([slow]) > 460
    assert link_limit_s([endpoint]) > 20 + 10 + 5


def seconds(name: str) -> float:
    line = next(line for line in UNIT.read_text().splitlines() if line.startswith(f"{name}="))
    return float(line.partition("=")[2].removesuffix("s"))


def test_the_ladder_ends_before_the_service_managers_patience() -> None:
    longest_s = max(len(vital.rungs) - 1 for vital in VITALS.values()) * RUNG_S
    assert LOOK_S + longest_s < seconds("WatchdogSec")
    assert (LOOP_LOOKS + 1) * LOOK_S < LAST_RESORT_S < seconds("WatchdogSec")
    assert seconds("TimeoutStopSec") > 60 + STOP_BOUND_S, "the longest stop_grace_s"
