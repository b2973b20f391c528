"""Who is asked first: by what was measured, not too eagerly; and which model, by the question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.config.schema import Endpoint, EndpointKind
from kioskd.config.spend_schema import Choice, Order
from kioskd.endpoints.choice import ENOUGH_TURNS, MEASURED_TURNS, STALE_S, Measured, Turns, model_for, order_at, ranked

LISTED = ["a", "b", "c", "local"]


def costing(**nanos: int) -> dict[str, Measured]:
    return {name: Measured(ENOUGH_TURNS, cost, 1.0, float(cost)) for name, cost in nanos.items()}


def test_fixed_is_the_settings_order() -> None:
    measured = costing(a=9, b=1)
    assert ranked(LISTED, ["b", "a", "c", "local"], Order.FIXED, measured, 0.2, ["local"]) == LISTED


@pytest.mark.parametrize("order", [Order.CHEAPEST, Order.FASTEST])
def test_the_better_one_goes_first(order: Order) -> None:
    measured = costing(c=1, a=9, b=5)
    assert ranked(LISTED, LISTED, order, measured, 0.2, ["local"]) == ["c", "b", "a", "local"]


def test_who_is_not_measured_is_tried_where_speed_counts_and_judged_by_its_prices_where_money_does() -> None:
    measured = costing(c=1, a=9)
    assert ranked(LISTED, LISTED, Order.FASTEST, measured, 0.2, ["local"]) == ["b", "c", "a", "local"]
    for supposed, place in ((0.5, 0), (5.0, 1), (20.0, 2), (None, 2)):
        by_prices = {"a": 0.0, "local": 0.0} | ({} if supposed is None else {"b": supposed})
        found = ranked(LISTED, LISTED, Order.CHEAPEST, measured, 0.2, ["local"], by_prices)
        assert found.index("b") == place and found[-1] == "local", "what was measured is not supposed"


@pytest.mark.parametrize("rests_s", [STALE_S - 1, STALE_S])
def test_after_a_day_without_a_turn_nothing_is_known(rests_s: float) -> None:
    turns = Turns()
    for at_s in (-70_000.0, 0.0, 60.0):
        turns.add(1, 1.0, 9000, at_s)
    is_stale = rests_s >= STALE_S
    assert turns.measured(60 + rests_s).turns == (0 if is_stale else 3)
    turns.add(1, 1.0, 300, 60 + rests_s)
    assert turns.measured(60 + rests_s).turns == (1 if is_stale else 4)


def test_one_that_is_put_last_stays_there_however_cheap() -> None:
    assert ranked(LISTED, LISTED, Order.CHEAPEST, costing(local=0, a=5), 0.2, ["local"])[-1] == "local"
    assert ranked(LISTED, LISTED, Order.CHEAPEST, costing(local=0, a=5), 0.2)[0] == "local"


def test_two_that_are_alike_do_not_take_turns() -> None:
    order = ["a", "b"]
    for a, b in ((100, 85), (85, 100), (100, 81)):
        order = ranked(["a", "b"], order, Order.CHEAPEST, costing(a=a, b=b), 0.2)
        assert order == ["a", "b"]
    order = ranked(["a", "b"], order, Order.CHEAPEST, costing(a=100, b=79), 0.2)
    assert order == ["b", "a"]
    assert ranked(["a", "b"], order, Order.CHEAPEST, costing(a=99, b=100), 0.2) == ["b", "a"]


def test_few_turns_are_chance() -> None:
    assert ranked(["a", "b"], ["a", "b"], Order.CHEAPEST, {"b": Measured(ENOUGH_TURNS - 1, 1, 1.0)}, 0) == ["a", "b"]


@given(
    st.permutations(LISTED),
    st.dictionaries(st.sampled_from(LISTED), st.integers(0, 100), max_size=4),
    st.sampled_from([*Order, "b"]),
    st.floats(0, 1),
    st.dictionaries(st.sampled_from(LISTED), st.floats(0, 100), max_size=4),
)
def test_nobody_is_lost_and_the_order_comes_to_rest(
    before: list[str], costs: dict[str, int], by: Order | str, hysteresis: float, supposed: dict[str, float]
) -> None:
    once = ranked(LISTED, before, by, costing(**costs), hysteresis, ["local"], supposed)
    assert sorted(once) == sorted(LISTED)
    assert ranked(LISTED, once, by, costing(**costs), hysteresis, ["local"], supposed) == once


def test_hours_of_the_day_have_orders_of_their_own() -> None:
    choice = Choice(order=Order.FASTEST, by_hour={"22:00-07:00": "cheapest", "12:00-13:00": "b"})
    found = {hour: order_at(choice, hour * 60) for hour in (0, 6, 7, 12, 13, 22)}
    cheap, fast = Order.CHEAPEST, Order.FASTEST
    assert found == {0: cheap, 6: cheap, 7: fast, 12: "b", 13: fast, 22: cheap}
    assert ranked(LISTED, LISTED, "b", {}, 0.2, ["local"]) == ["b", "a", "c", "local"]


def test_only_the_latest_turns_are_measured_and_the_middle_wait() -> None:
    turns = Turns()
    for number in range(MEASURED_TURNS + 5):
        turns.add(number, 0.5, 1000 if number % 2 else None, number)
    measured = turns.measured(MEASURED_TURNS + 5)
    assert (measured.turns, measured.minutes, measured.wait_ms) == (MEASURED_TURNS, MEASURED_TURNS / 2, 1000)
    assert measured.cost == sum(range(5, MEASURED_TURNS + 5))


def test_rules_about_the_question_choose_the_model() -> None:
    rules = {"shorter than 10": "nano", r"why|explain": "large", "longer than 100": "wide"}
    chat = Endpoint("a", "https://a/", "usual", kind=EndpointKind.CHAT, model_for_question=rules)
    asked = {"hello": "nano", "Explain the tides": "large", "what is the time": "usual", "x " * 60: "wide", "": "usual"}
    assert {question: model_for(chat, question) for question in asked} == asked
