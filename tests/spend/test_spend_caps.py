"""Caps: near, reached, for how long; and that no clock set back or forward lets one escape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spend_parts import BOOT, at, booking

from kioskd.config.spend_schema import Caps
from kioskd.spend.caps import Level, standings
from kioskd.spend.prices import NANO
from kioskd.spend.windows import DAY_S, HOUR_S, MONTH_S, Spent, Windows

JUMPS = st.integers(-10 * 365, 50 * 365).map(lambda days: days * DAY_S)


def windows(*costs: tuple[float, int], jump_s: float = 0.0) -> Windows:
    found = Windows(BOOT)
    for s, nanos in costs:
        found.take(booking(nanos, at(s, jump_s=jump_s)))
    return found


def test_what_was_spent_leaves_each_window_in_its_time() -> None:
    spent = windows((0, 7))
    for s, expected in ((0, (7, 7, 7)), (HOUR_S - 1, (7, 7, 7)), (HOUR_S, (0, 7, 7)), (DAY_S, (0, 0, 7))):
        assert spent.spent(at(s)) == Spent(*expected)
    assert spent.spent(at(MONTH_S)) == Spent()


@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 10**9), JUMPS), max_size=30), JUMPS)
def test_a_clock_that_jumps_changes_nothing_within_a_boot(turns: list[tuple[int, int, float]], jump_s: float) -> None:
    steady, jumping = Windows(BOOT), Windows(BOOT)
    for s, nanos, jumped_s in sorted(turns):
        steady.take(booking(nanos, at(s)))
        jumping.take(booking(nanos, at(s, jump_s=jumped_s)))
    assert jumping.spent(at(7200, jump_s=jump_s)) == steady.spent(at(7200))


@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 10**9), JUMPS), max_size=30), JUMPS)
def test_nor_where_kioskd_itself_was_started_anew(turns: list[tuple[int, int, float]], jump_s: float) -> None:
    lines = [booking(nanos, at(s, jump_s=jumped_s)) for s, nanos, jumped_s in sorted(turns)]
    again = Windows(BOOT)
    again.load(lines)
    steady = Windows(BOOT)
    for line in lines:
        steady.take(line)
    assert again.spent(at(7200, jump_s=jump_s)) == steady.spent(at(7200))


def test_a_boot_before_counts_by_the_clock_as_it_was_corrected_later() -> None:
    """A Pi without a clock of its own begins in 1970, and is told the time after its first turns."""
    wrong_s = -50 * 365 * DAY_S
    lines = [booking(5, at(0, "before", wrong_s)), booking(1, at(60, "before"))]
    spent = Windows(BOOT)
    spent.load(lines)
    later = at(HOUR_S / 2)
    assert spent.spent(later) == Spent(6, 6, 6)


@pytest.mark.parametrize("back_s", [60.0, DAY_S, 3650 * DAY_S])
def test_a_clock_set_back_across_a_boot_makes_nothing_younger_than_this_boot(back_s: float) -> None:
    spent = Windows(BOOT)
    spent.load([booking(5, at(0, "before"))])
    assert spent.spent(at(100, jump_s=-back_s)).hour == 5
    assert spent.spent(at(DAY_S, jump_s=-back_s)).day == 0, "this boot alone is a day old"


def test_a_boot_before_is_as_old_as_the_clock_says() -> None:
    spent = Windows(BOOT)
    spent.load([booking(5, at(-DAY_S, "before"))])
    assert spent.spent(at(0)) == Spent(0, 0, 5)


@given(
    st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 10**9)), min_size=1, max_size=40), st.integers(1, 10**10)
)
def test_a_cap_is_free_when_it_was_said_and_not_a_minute_sooner(turns: list[tuple[int, int]], cap: int) -> None:
    turns.sort()
    spent = windows(*turns)
    now_s = float(turns[-1][0])
    wait_s = spent.falls_below_in_s(DAY_S, cap, at(now_s))
    assert spent.spent(at(now_s + wait_s)).day < cap
    if wait_s > 0:
        assert spent.spent(at(now_s + wait_s - 0.5)).day >= cap


def test_far_near_and_reached() -> None:
    caps = Caps(hour=1.0, month=2.0)
    levels = []
    for cents in (0, 79, 80, 99, 100, 250):
        found = {each.span: each for each in standings(caps, 0.8, windows((0, cents * NANO // 100)), at(60))}
        levels.append((found["hour"].level, found["month"].level))
        assert "day" not in found
    far, near, reached = Level.FAR, Level.NEAR, Level.REACHED
    assert levels == [(far, far), (far, far), (near, far), (near, far), (reached, far), (reached, reached)]


def test_a_cap_says_what_was_spent_and_until_when() -> None:
    (day,) = standings(Caps(day=0.01), 0.8, windows((0, NANO)), at(3600))
    assert day.words("USD") == (
        "spend cap reached: 1.00 USD of 0.01 USD spent in the last 24 hours; on again in 23 h, or raise the cap"
    )


def test_a_cap_of_nothing_is_reached_from_the_beginning() -> None:
    (hour,) = standings(Caps(hour=0.0), 0.8, windows(), at(0))
    assert hour.level is Level.REACHED and hour.share == 1.0


def test_a_month_of_turns_stays_small() -> None:
    spent = windows(*((minute * 30.0, 1) for minute in range(100_000)))
    assert len(spent._now) <= 50_001
    spent.spent(at(100_000 * 30.0 + MONTH_S))
    assert len(spent._now) == 0
