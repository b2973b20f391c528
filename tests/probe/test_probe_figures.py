"""Medians, percentiles and spreads, held against what they mean."""

from __future__ import annotations

import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.probe.figures import quantile, summary

VALUE = st.floats(min_value=0, max_value=1e9, allow_nan=False)
VALUES = st.lists(VALUE, min_size=1, max_size=60)
SHARE = st.floats(min_value=0, max_value=1)


@given(VALUES)
def test_a_summary_is_what_the_standard_library_makes_of_it(values: list[float]) -> None:
    found = summary(values)
    assert found is not None
    assert found.count == len(values)
    assert (found.low, found.high) == (min(values), max(values))
    assert found.median == pytest.approx(statistics.median(values), rel=1e-12)
    if len(values) > 1:
        cuts = statistics.quantiles(values, n=20, method="inclusive")
        assert found.p95 == pytest.approx(cuts[18], rel=1e-9, abs=1e-9)
        assert found.spread == pytest.approx(cuts[14] - cuts[4], rel=1e-6, abs=1e-6 * max(values))


@given(VALUES, SHARE, SHARE)
def test_a_quantile_grows_with_its_share_and_stays_among_the_values(
    values: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    slack = 1e-9 * max(values)
    assert min(values) <= quantile(values, low) <= quantile(values, high) + slack <= max(values) + slack


@given(VALUES, st.randoms())
def test_the_order_in_which_they_came_counts_nothing(values: list[float], random: object) -> None:
    mixed = list(values)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert summary(mixed) == summary(values)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(0, 100))
def test_a_quantile_is_exact_for_whole_numbers(values: list[int], percent: int) -> None:
    place = Fraction(percent, 100) * (len(values) - 1)
    ordered = sorted(values)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    exact = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    assert quantile(values, percent / 100) == pytest.approx(float(exact), rel=1e-9, abs=1e-6)


@given(VALUES, st.integers(1, 20))
def test_what_was_not_measured_counts_nothing(values: list[float], missing: int) -> None:
    holes: list[float | None] = [None, float("inf"), float("nan")]
    assert summary([*values, *(holes * missing)]) == summary(values)
    assert summary([None] * missing) is None and summary([]) is None


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1)])
def test_there_is_no_quantile_of_nothing(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        quantile(values, share)
