"""What an answer costs: exact, whatever the figures, and as the sellers count."""

from __future__ import annotations

from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from spend_parts import endpoint

from kioskd.config.schema import By, Endpoint, EndpointKind, Hearing, Speech
from kioskd.config.spend_schema import Prices
from kioskd.spend.prices import NANO, Amounts, cost, is_free, nanos, shown

PRICE = st.decimals(0, 10000, places=4).map(float)
COUNT = st.integers(0, 10**9)
AMOUNTS = st.builds(Amounts, *[COUNT] * 6)


def exactly(amounts: Amounts, prices: Prices) -> Fraction:
    """In nanos, by another arithmetic."""

    def of(price: float | None, missing: Fraction = Fraction(0)) -> Fraction:
        return missing if price is None else Fraction(str(price))

    text, audio = of(prices.text_input), of(prices.audio_input)
    cached_text, cached_audio = (
        min(amounts.cached_text, amounts.input_text),
        min(amounts.cached_audio, amounts.input_audio),
    )
    total = (
        text * (amounts.input_text - cached_text)
        + of(prices.text_cached, text) * cached_text
        + audio * (amounts.input_audio - cached_audio)
        + of(prices.audio_cached, audio) * cached_audio
        + of(prices.text_output) * amounts.output_text
        + of(prices.audio_output) * amounts.output_audio
    )
    return total * of(prices.rate, Fraction(1)) * 1000


@given(AMOUNTS, st.builds(Prices, rate=st.none() | PRICE, **{
    name: st.none() | PRICE
    for name in ("text_input", "text_cached", "audio_input", "audio_cached", "text_output", "audio_output")
}))  # fmt: skip
def test_each_booking_is_right_to_half_a_nano(amounts: Amounts, prices: Prices) -> None:
    found = cost(amounts, Endpoint("a", "wss://a/", "m", prices=prices))
    assert abs(found - exactly(amounts, prices)) <= Fraction(1, 2)


@given(AMOUNTS, AMOUNTS)
def test_more_never_costs_less_and_two_cost_their_sum_but_for_rounding(one: Amounts, two: Amounts) -> None:
    lobby = endpoint(text_input=0.27, audio_input=32, text_output=0.42, audio_output=64, rate=0.14)
    both = cost(one + two, lobby)
    assert both >= cost(one, lobby)
    assert abs(both - cost(one, lobby) - cost(two, lobby)) <= 1


def test_a_million_of_each_is_the_sellers_figure() -> None:
    million = 10**6
    gpt = endpoint(text_input=2.00, text_cached=0.50, text_output=8.00)
    assert cost(Amounts(input_text=million), gpt) == 2 * NANO
    assert cost(Amounts(input_text=million, cached_text=million), gpt) == NANO // 2
    assert cost(Amounts(output_text=million), gpt) == 8 * NANO
    relay = endpoint(text_input=2.00, currency="CNY", rate=0.14)
    assert cost(Amounts(input_text=million), relay) == 28 * NANO // 100
    assert cost(Amounts(input_text=1), endpoint(text_input=0.1)) == 100


def test_more_cached_than_read_costs_no_less_than_all_of_it_cached() -> None:
    assert cost(Amounts(input_text=10, cached_text=99), endpoint(text_input=2, text_cached=1)) == 10_000


def test_hearing_and_speech_count_around_a_text_model_where_a_seller_does_them() -> None:
    prices = {"hearing_minute": 0.003, "speech_minute": 0.015, "speech_characters": 15}
    amounts = Amounts(heard_ms=120_000, spoken_ms=30_000, characters=1000)
    chat = endpoint(kind=EndpointKind.CHAT, **prices)
    assert cost(amounts, chat) == 6_000_000 + 7_500_000 + 15_000_000
    assert cost(amounts, endpoint(**prices)) == 0
    here = evolve(chat, hearing=Hearing(by=By.LOCAL), speech=Speech(by=By.LOCAL))
    assert cost(amounts, here) == 0


def test_another_model_of_the_endpoint_has_its_own_prices() -> None:
    chat = endpoint(text_input=2, text_output=8, text_of_models={"nano": "0.10 0.025 0.40"})
    amounts = Amounts(input_text=1000, cached_text=1000, output_text=1000)
    assert cost(amounts, chat, "nano") == 25_000 + 400_000
    assert cost(amounts, chat, "m") == cost(amounts, chat) == cost(amounts, chat, "unknown") == 10_000_000


def test_an_endpoint_whose_prices_stand_by_model_pays_that_of_its_own() -> None:
    gateway = endpoint(text_of_models={"m": "2.00 0.50 8.00", "nano": "0.10 0.025 0.40"})
    amounts = Amounts(input_text=1000, output_text=1000)
    assert cost(amounts, gateway) == cost(amounts, gateway, "m") == 10_000_000
    assert cost(amounts, gateway, "nano") == 500_000


def test_only_what_is_known_to_cost_nothing_is_free() -> None:
    assert is_free(Endpoint("a", kind=EndpointKind.LOCAL, faq="/f"))
    assert not is_free(Endpoint("a", "wss://a/", "m")) and not is_free(endpoint())
    assert is_free(endpoint(text_input=0, text_output=0))
    assert not is_free(endpoint(text_input=0, audio_output=0.1))
    assert not is_free(endpoint(text_input=0, text_of_models={"x": "0 0 1"}))


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00 EUR"), (NANO, "1.00 EUR"), (1_234_000, "0.0012 EUR"), (12, "0.000000012 EUR"), (-NANO, "-1.00 EUR")],
)
def test_small_amounts_are_shown_too(amount: int, text: str) -> None:
    assert shown(amount, "EUR") == text


def test_an_amount_of_the_settings_is_a_tenth_where_it_says_so() -> None:
    assert nanos(0.1) == NANO // 10 and nanos(0.3) == 3 * NANO // 10
