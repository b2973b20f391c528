"""Which way is recommended, what a question can cost at most, and how it all looks."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from kioskd.config.schema import Endpoint, EndpointKind, Transport
from kioskd.config.spend_schema import Prices
from kioskd.dialogue.events import Usage
from kioskd.probe import ceiling, page
from kioskd.probe.advice import Entrant, advise, entrants, ranked
from kioskd.probe.figures import Spread
from kioskd.probe.results import Asked, EndpointResult, KeyResult, Series, Steps, Takes, WayResult
from kioskd.probe.ways import ways_of

MS = st.floats(min_value=1, max_value=20_000)
COUNT = st.integers(0, 5)


def spread(median: float, width: float = 0.0, p95: float | None = None) -> Spread:
    return Spread(5, median, median + width if p95 is None else p95, width, median - width, median + width)


def entrant(name: str, first: float, **more: Any) -> Entrant:
    return Entrant(name, Takes.VOICE, spread(first), **more)


ENTRANTS = st.lists(
    st.builds(
        Entrant,
        st.text("abc", min_size=1, max_size=4),
        st.just(Takes.VOICE),
        st.builds(spread, MS, MS),
        COUNT,
        st.none(),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(ENTRANTS)
def test_nobody_is_ranked_before_one_who_is_quicker_and_as_reliable(those: list[Entrant]) -> None:
    order = ranked(those)
    assert sorted(order, key=id) == sorted(those, key=id)
    for before, after in pairwise(order):
        assert (before.limited, before.failed > 0) <= (after.limited, after.failed > 0)
        if (before.limited, before.failed > 0) == (after.limited, after.failed > 0):
            assert before.first_ms.median <= after.first_ms.median


@given(ENTRANTS, st.randoms())
def test_a_ranking_does_not_depend_on_who_was_measured_first(those: list[Entrant], random: Any) -> None:
    mixed = list(those)
    random.shuffle(mixed)
    assert [one.first_ms for one in ranked(mixed)] == [one.first_ms for one in ranked(those)]


def asked(first: float, cost: int | None = None, failure: str = "") -> Asked:
    return Asked(first, first * 2, 40, cost=cost, failure=failure)


def result(name: str, *turns: Asked, takes: Takes = Takes.VOICE, kind: str = "realtime") -> EndpointResult:
    way = WayResult("way", takes, True, (Steps(1, 2, 3, 4),), (Series(len(turns), 1, turns),))
    return EndpointResult(name, kind, "m", "h", KeyResult("/v1/models"), (way,))


def sentence(*results: EndpointResult) -> str:
    return advise(results, "USD").text


def test_the_quickest_is_recommended_in_one_sentence() -> None:
    text = sentence(result("slow", asked(900)), result("quick", asked(300)))
    assert text.startswith("For a voice take quick (way)") and "after 300 ms" in text
    assert "slow (way) after 900 ms" in text
    assert text.endswith(".") and text.count(". ") == 0 and "\n" not in text


def test_who_does_not_always_answer_is_not_recommended() -> None:
    text = sentence(result("slow", asked(900)), result("quick", asked(300), asked(0, failure="lost")))
    assert text.startswith("For a voice take slow")


def test_where_nobody_is_reliable_that_is_told() -> None:
    text = sentence(result("only", asked(300), asked(0, failure="lost"), asked(0, failure="lost")))
    assert "though 2 of its questions had no answer" in text
    assert sentence(result("dead", asked(1, failure="lost"))) == "Nothing can be recommended: none of them answered."
    assert entrants([result("dead", asked(1, failure="lost"))]) == []


def test_a_difference_that_may_be_chance_is_called_so() -> None:
    steady, shaky = result("a", asked(300)), result("b", asked(250), asked(310), asked(400), asked(900))
    assert "no slower by more than the measurements vary" in sentence(steady, shaky)
    assert "no slower" not in sentence(steady, result("b", asked(310)))


def test_voice_and_text_are_not_held_against_each_other() -> None:
    text = sentence(result("v", asked(900)), result("t", asked(90), takes=Takes.TEXT, kind="chat"))
    assert "For a voice take v" in text and "of the text models take t" in text
    assert "hearing and speech come on top" in text


def test_a_way_that_the_owner_has_not_set_yet_is_called_so() -> None:
    found = result("a", asked(300))
    found = evolve(found, ways=(evolve(found.ways[0], configured=False),))
    assert sentence(found).startswith("For a voice take a (way, not in the settings): its first sound")


def test_a_cheaper_one_is_named_and_the_sites_own_is_no_rival() -> None:
    text = sentence(result("dear", asked(300, 5_000_000)), result("cheap", asked(900, 1_000_000)))
    assert "cheap (way) costs least, 0.0010 USD a question" in text
    assert "least" not in sentence(result("dear", asked(300, 5_000_000)), result("b", asked(900, 4_900_000)))
    text = sentence(result("dear", asked(300, 5)), result("here", asked(100, 0), kind="local"))
    assert text == "For a voice take dear (way): its first sound comes after 300 ms."
    assert sentence(result("here", asked(100, 0), kind="local")).startswith("For a voice take here")


# What it costs

AMOUNT = st.integers(0, 200)
PRICED = Endpoint(
    "e",
    "https://h/v1/chat/completions",
    "m",
    EndpointKind.CHAT,
    prices=Prices(text_input=2, text_cached=0.5, text_output=8, audio_input=32, audio_output=64),
)


TOLD = st.builds(lambda letter, count: letter * count, st.sampled_from("aü語"), st.integers(0, 2000))


@given(TOLD, AMOUNT)
def test_no_answer_within_max_tokens_costs_more_than_was_said(told: str, cached: int) -> None:
    endpoint = ceiling.bounded(PRICED, Takes.TEXT)
    most = ceiling.most(endpoint, Takes.TEXT, told, 0)
    read = len(told.encode())  # a token of text is a byte at least
    usage = Usage(1, input_text=read, cached_text=min(cached, read), output_text=ceiling.WORDS_MAX)
    cost = ceiling.price(endpoint, Takes.TEXT, ceiling.amounts_of(usage))
    assert most is not None and cost is not None and cost <= most


@given(TOLD, st.integers(0, 30_000), st.integers(0, ceiling.SOUND_MAX), st.integers(0, 600))
def test_no_spoken_answer_does_either(told: str, heard_ms: int, spoken: int, words: int) -> None:
    endpoint = ceiling.bounded(evolve(PRICED, kind=EndpointKind.REALTIME), Takes.VOICE)
    most = ceiling.most(endpoint, Takes.VOICE, told, heard_ms)
    usage = Usage(
        1,
        input_text=len(told.encode()),
        input_audio=heard_ms // 100,
        output_audio=spoken,
        output_text=min(words, ceiling.SOUND_MAX - spoken),
    )
    cost = ceiling.price(endpoint, Takes.VOICE, ceiling.amounts_of(usage))
    assert most is not None and cost is not None and cost <= most


def test_a_price_that_is_not_known_is_not_zero() -> None:
    bare = evolve(PRICED, prices=None)
    assert ceiling.most(bare, Takes.TEXT, "x", 0) is None
    words = evolve(PRICED, prices=Prices(text_input=2, text_output=8))
    assert ceiling.most(words, Takes.VOICE, "x", 0) is None and ceiling.most(words, Takes.TEXT, "x", 0)
    assert ceiling.most(evolve(bare, kind=EndpointKind.LOCAL), Takes.VOICE, "x", 9) == 0


def test_the_price_of_a_sellers_own_model_may_stand_in_its_list() -> None:
    listed = evolve(PRICED, prices=Prices(text_of_models={"m": "1 1 4"}))
    assert (
        ceiling.price(listed, Takes.TEXT, ceiling.amounts_of(Usage(1, input_text=1000, output_text=1000))) == 5 * 10**6
    )


# The ways

CHAT = Endpoint("e", "https://h/v1/chat/completions", "m", EndpointKind.CHAT)


def test_a_text_model_is_tried_over_every_wire_its_host_may_have() -> None:
    ways = ways_of(CHAT)
    assert [(way.label, way.endpoint.url) for way in ways] == [
        ("chat sse", "https://h/v1/chat/completions"),
        ("chat plain", "https://h/v1/chat/completions"),
        ("chat socket /ws/stream", "wss://h/v1/ws/stream"),
        ("chat socket /ws", "wss://h/v1/ws"),
        ("responses top-level", "wss://h/v1/responses"),
    ]
    assert [way.configured for way in ways] == [True, False, False, False, False]
    assert all(way.endpoint.max_tokens == ceiling.WORDS_MAX for way in ways)


@pytest.mark.parametrize("kind", [EndpointKind.REALTIME, EndpointKind.AUDIO_SSE, EndpointKind.LOCAL])
def test_what_hears_has_the_one_way_of_its_settings(kind: EndpointKind) -> None:
    (way,) = ways_of(evolve(CHAT, kind=kind))
    assert way.configured and way.takes is Takes.VOICE


def test_no_key_goes_into_an_address_that_the_owner_did_not_put_it_into() -> None:
    from kioskd.config.schema import Auth

    by_address = evolve(CHAT, url="wss://h/v1/stream", transport=Transport.WEBSOCKET, auth=Auth.QUERY)
    ways = ways_of(by_address)
    assert [way.endpoint.auth is Auth.QUERY for way in ways] == [way.configured for way in ways]


# The page


def full(name: str) -> EndpointResult:
    turns = tuple(Asked(12_345.6, 23_456.7, 1234, True, 123_456_789) for _ in range(3))
    broken = (*turns, Asked(failure="no whole answer within 30 s (http.answer_timeout_s), and more words " * 2))
    ways = (
        WayResult("responses top-level", Takes.TEXT, True, (Steps(1, 22, 333, 4444),), (Series(3, 1, turns),)),
        WayResult(
            "chat socket /ws/stream", Takes.TEXT, False, (Steps(1, 2),), (Series(4, 1, broken),), notes=("n " * 60,)
        ),
        WayResult("chat sse", Takes.TEXT, False, absent="not there (404)"),
    )
    return EndpointResult(
        name, "responses", "a-model" * 9, "a.host", KeyResult("/v1/models", 99.5), ways, ("that " * 30,)
    )


def test_the_table_is_80_columns_wide_and_says_what_is_unverified() -> None:
    results = [full("lobby"), full("a-name-of-thirty-two-characters-")]
    text = page.table(results, advise(results, "USD"), "USD")
    assert max(map(len, text.splitlines())) <= 80
    assert "unverified: that" in text and "not in the settings: unverified" in text and "not there (404)" in text
    assert "~" in text and "1 of 4 had no answer" in text
    shaken = page.table(results, None, "USD")
    assert max(map(len, shaken.splitlines())) <= 80 and "4444" in shaken


def test_the_same_as_json() -> None:
    results = [full("lobby")]
    found = json.loads(page.as_json(results, advise(results, "USD"), "USD", "q", {"questions": 3}))
    (endpoint,) = found["endpoints"]
    assert endpoint["key"] == {"ok": True, "asked": "/v1/models", "credits": 99.5, "failure": None}
    assert [way["unverified"] for way in endpoint["ways"]] == [False, True, True]
    series = endpoint["ways"][0]["series"][0]
    assert series["first_ms"]["median"] == 12_345.6 and series["cost"] == pytest.approx(0.123456789)
    assert endpoint["ways"][0]["connection"]["upgrade_ms"]["count"] == 1
    assert found["recommendation"].endswith(".") and found["ranking"]["voice"] == []


def test_what_it_costs_at_most_is_told_before() -> None:
    assert page.bill_text(10, 20_000_000, (), "EUR") == "At most 10 questions, 0.02 EUR."
    assert page.bill_text(10, 0, ("a", "b"), "EUR") == "At most 10 questions; the price of a, b isn't known."
