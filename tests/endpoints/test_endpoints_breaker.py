"""The circuit breaker: when it opens, for how long, and what closes it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.config import schema
from kioskd.endpoints.breaker import LONGEST_OPEN_S, Breaker, BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
OPEN_S = 60.0


@pytest.fixture
def breaker():
    return Breaker(schema.Breaker())


def fail(breaker, now, times=5):
    for _ in range(times):
        breaker.failed(now)


def opened_for(breaker, now):
    """How long it stays open from now on, to the second."""
    return next(s for s in range(2 * int(LONGEST_OPEN_S)) if breaker.state(now + s) is not OPEN)


def test_five_failures_open_it_for_a_minute(breaker):
    fail(breaker, 100.0, times=4)
    assert breaker.state(100.0) is CLOSED and breaker.allows(100.0)
    breaker.failed(100.0)
    assert breaker.state(100.0) is OPEN and not breaker.allows(100.0)
    assert breaker.state(159.9) is OPEN
    assert breaker.state(160.0) is HALF_OPEN and breaker.allows(160.0)


def test_its_settings_count():
    breaker = Breaker(schema.Breaker(failures=2, open_s=10))
    fail(breaker, 0.0, times=2)
    assert breaker.state(9.9) is OPEN and breaker.state(10.0) is HALF_OPEN


def test_failures_count_only_in_a_row(breaker):
    fail(breaker, 0.0, times=4)
    breaker.proved()
    fail(breaker, 1.0, times=4)
    assert breaker.state(1.0) is CLOSED


def test_one_failed_probe_opens_it_again_and_an_answer_closes_it(breaker):
    fail(breaker, 0.0)
    breaker.failed(OPEN_S)
    assert breaker.state(OPEN_S) is OPEN
    breaker.proved()
    assert breaker.state(OPEN_S) is CLOSED


def test_each_relapse_doubles_the_rest_up_to_its_bound(breaker):
    now, rests = 0.0, []
    fail(breaker, now)
    for _ in range(8):
        rests.append(opened_for(breaker, now))
        now += rests[-1]
        breaker.failed(now)
    assert rests == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    breaker.proved()
    fail(breaker, now)
    assert opened_for(breaker, now) == 60


def test_failures_while_it_is_open_do_not_lengthen_its_rest(breaker):
    fail(breaker, 0.0)
    fail(breaker, 30.0, times=20)
    assert breaker.state(60.0) is HALF_OPEN


def test_it_opens_at_once_and_for_as_long_as_it_was_told(breaker):
    breaker.open(0.0)
    assert opened_for(breaker, 0.0) == 60
    breaker.open(10.0, told_until=600.0)
    assert opened_for(breaker, 10.0) == 590
    breaker.open(20.0, told_until=30.0)
    assert opened_for(breaker, 20.0) == 580


def test_a_new_network_earns_a_probe_at_once(breaker):
    fail(breaker, 0.0)
    breaker.forgive(10.0)
    assert breaker.state(10.0) is HALF_OPEN
    breaker.failed(10.0)
    assert breaker.state(10.0) is OPEN


def test_a_new_network_forgives_what_had_not_opened_it_yet(breaker):
    fail(breaker, 0.0, times=4)
    breaker.forgive(1.0)
    fail(breaker, 1.0, times=4)
    assert breaker.state(1.0) is CLOSED


def test_a_new_network_does_not_shorten_what_it_was_told(breaker):
    breaker.open(0.0, told_until=300.0)
    breaker.forgive(10.0)
    assert breaker.state(299.9) is OPEN and breaker.state(300.0) is HALF_OPEN


def test_of_what_it_was_told_before_an_answer_nothing_counts(breaker):
    breaker.open(0.0, told_until=600.0)
    breaker.proved()
    breaker.open(10.0)
    assert opened_for(breaker, 10.0) == 60


STEPS = st.lists(
    st.tuples(st.sampled_from(["failed", "proved", "open", "told", "forgive"]), st.floats(0, 4000), st.floats(0, 4000)),
    max_size=40,
)


@given(STEPS, st.integers(1, 100), st.floats(1, 3600))
def test_whatever_happens_it_keeps_its_bounds(steps, failures, open_s):
    breaker = Breaker(schema.Breaker(failures=failures, open_s=open_s))
    now, told_until, in_a_row, touched_at = 0.0, -math.inf, 0, 0.0
    for step, after_s, told_s in steps:
        now += after_s
        before = breaker.state(now)
        match step:
            case "failed":
                breaker.failed(now)
                in_a_row, touched_at = in_a_row + 1, now
                reopened = before is not CLOSED or in_a_row >= failures
                assert breaker.state(now) is (OPEN if reopened else CLOSED)
            case "proved" if now >= told_until:
                breaker.proved()
                in_a_row = 0
                assert breaker.state(now) is CLOSED
            case "open":
                breaker.open(now)
                touched_at = now
                assert breaker.state(now) is OPEN
            case "told":
                told_until, touched_at = max(told_until, now + told_s), now
                breaker.open(now, told_until=now + told_s)
                assert breaker.state(now) is OPEN
            case "forgive":
                breaker.forgive(now)
                in_a_row = 0
                state = CLOSED if before is CLOSED else OPEN if now < told_until else HALF_OPEN
                assert breaker.state(now) is state
        assert breaker.allows(now) is (breaker.state(now) is not OPEN)
        if now < told_until:
            assert not breaker.allows(now)
        assert breaker.allows(max(touched_at + max(LONGEST_OPEN_S, open_s), told_until))
