"""Caps: near, reached, for how long; and that no clock set back or forward lets one escape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spend_parts import BOOT, at, booking

from kioskd.config.spend_schema import Caps
from kioskd.spend.caps import Level, standings
from kioskd.spend.prices import NANO
from kioskd.spend.windows import DAY_S, FINE_S, HOUR_S, MONTH_S, Spent, Windows

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
    if wait_s > 0:
        assert spent.spent(at(now_s + wait_s - 0.5)).day >= cap
    assert spent.spent(at(now_s + wait_s)).day < cap


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


def test_a_month_of_turns_stays_small_of_whatever_boot() -> None:
    """A kiosk that is asked twice a minute for more than a month: a look adds up a few hundred sums."""
    lines = [
        booking(1, at(number * 30.0 - 50_000 * 30.0, "before" if number < 50_000 else BOOT))
        for number in range(100_000)
    ]
    spent = Windows(BOOT)
    spent.load(lines)
    now = at(50_000 * 30.0)
    assert sum(len(spent._ages(span_s, now)) for span_s in FINE_S) < 500
    assert spent.spent(now).hour in (119, 120, 121)
    later = at(50_000 * 30.0 + MONTH_S)
    assert spent.spent(later) == Spent() and not any(spent._now.values())


@pytest.mark.parametrize(
    ("span", "span_s", "together_s", "apart_s"),
    [("hour", HOUR_S, 15, 60), ("day", DAY_S, 190, 600), ("month", MONTH_S, 20_000, 21_600)],
)
def test_what_is_one_sum_counts_until_the_latest_of_it_is_over(
    span: str, span_s: float, together_s: int, apart_s: int
) -> None:
    spent = windows((0, 1), (together_s, 2))
    ends = (span_s - 1, span_s + together_s - 1, span_s + together_s)
    assert [getattr(spent.spent(at(s)), span) for s in ends] == [3, 3, 0]
    assert getattr(windows((0, 1), (apart_s, 2)).spent(at(span_s)), span) == 2


@given(st.lists(st.tuples(st.integers(0, 4 * 86_400), st.integers(1, 10**9)), max_size=40), st.booleans())
def test_what_was_spent_counts_as_long_as_its_window_and_little_longer(
    turns: list[tuple[int, int]], is_before: bool
) -> None:
    now_s = 4 * 86_400.0
    spent = Windows(BOOT)
    spent.load(
        [booking(nanos, at(s - now_s * is_before, "before" if is_before else BOOT)) for s, nanos in sorted(turns)]
    )
    now = at(0.0 if is_before else now_s)
    found = spent.spent(now)
    for span_s, slot_s, counted in ((HOUR_S, 60, found.hour), (DAY_S, 600, found.day), (MONTH_S, 21_600, found.month)):
        within = [sum(nanos for s, nanos in turns if now_s - s < span_s + more_s) for more_s in (0, slot_s)]
        assert within[0] <= counted <= within[1]
