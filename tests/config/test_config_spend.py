"""Settings of prices, caps and choice: every contradiction is told at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kioskd.config.load import SettingsError, parse
from kioskd.config.schema import Settings
from kioskd.config.spend_schema import Caps, Order

CHAT = "- {name: a, kind: chat, url: 'https://a.example/v1/chat/completions', model: m, key: {environment: K}"
REALTIME = "- {name: a, url: 'wss://a.example/', model: m, key: {environment: K}"


def settings(endpoint: str, rest: str = "") -> Settings:
    return parse(f"endpoints:\n  {endpoint}}}\n{rest}\n", "f")


@pytest.mark.parametrize(
    ("endpoint", "rest", "line", "key", "says"),
    [
        (REALTIME, "spend: {caps: {day: 1}}", 2, "endpoints[0].prices", "a cap counts nothing without them"),
        (f"{REALTIME}, caps: {{day: 1}}", "", 2, "endpoints[0].prices", "is missing"),
        (f"{REALTIME}, prices: {{currency: CNY}}", "", 2, "endpoints[0].prices.rate", "what 1 CNY is in USD"),
        (f"{REALTIME}, prices: {{rate: 2}}", "", 2, "endpoints[0].prices.rate", "must be 1"),
        (f"{REALTIME}, prices: {{currency: yuan}}", "", 2, "endpoints[0].prices.currency", "three letters"),
        (f"{REALTIME}, prices: {{date: 'May'}}", "", 2, "endpoints[0].prices.date", "must be a day"),
        (
            f"{CHAT}, prices: {{text_of_models: {{x: '1 2'}}}}",
            "",
            2,
            "endpoints[0].prices.text_of_models.x",
            "must be three prices",
        ),
        (f"{REALTIME}, model_for_question: {{why: x}}", "", 2, "endpoints[0].model_for_question", "chat and responses"),
        (f"{CHAT}, model_for_question: {{'(a': x}}", "", 2, "endpoints[0].model_for_question.(a", "no regular"),
        (f"{CHAT}, model_for_question: {{'(a+)+': x}}", "", 2, "endpoints[0].model_for_question.(a+)+", "for ever"),
        (REALTIME, "spend: {currency: euro}", 3, "spend.currency", "three letters"),
        (REALTIME, "choice:\n  by_hour: {'7-8': fixed}", 4, "choice.by_hour.7-8", "times of day"),
        (REALTIME, "choice: {order: cheapest}", 2, "endpoints[0].prices", "take it to be free"),
        (REALTIME, "choice:\n  by_hour: {'07:00-08:00': cheapest}", 2, "endpoints[0].prices", "take it to be free"),
        (REALTIME, "choice:\n  by_hour: {'07:00-08:00': b}", 4, "choice.by_hour.07:00-08:00", "one of fixed, cheapest"),
    ],
)
def test_each_contradiction_is_told(endpoint: str, rest: str, line: int, key: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(endpoint, rest)
    problem = caught.value.problems[0]
    assert problem.line == line and problem.key.startswith(key.split(".(")[0]) and says in problem.message


CAPPED = "spend: {caps: {month: 5}}"
FAQ = Path(__file__).parents[2] / "config/demo-faq.yaml"
AROUND = "hearing_minute: 0, speech_minute: 0.015"


@pytest.mark.parametrize(
    ("endpoint", "key", "says"),
    [
        (f"{REALTIME}, prices: {{text_input: 4, text_output: 16}}", "prices", "lack audio_input and audio_output"),
        (f"{REALTIME}, prices: {{audio_input: 4, text_output: 16}}", "prices", "lack audio_output: a cap"),
        (f"{REALTIME}, prices: {{text_of_models: {{m: '1 1 1'}}}}", "prices", "lack audio_input and audio_output"),
        (f"{CHAT}, prices: {{audio_input: 4, {AROUND}}}", "prices", "know nothing of the model m"),
        (f"{CHAT}, prices: {{text_of_models: {{x: '1 1 1'}}, {AROUND}}}", "prices", "know nothing of the model m"),
        (f"{CHAT}, prices: {{text_input: 2, speech_minute: 1}}", "prices", "lack hearing_minute"),
        (f"{CHAT}, prices: {{text_input: 2, hearing_minute: 1}}", "prices", "lack speech_minute"),
        (
            f"{CHAT}, prices: {{text_input: 2, {AROUND}}}, model_for_question: {{why: large}}",
            "model_for_question.why",
            "asks large, which prices.text_of_models lacks",
        ),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_cap_that_would_count_nothing_is_told(endpoint: str, key: str, says: str, own: bool) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(f"{endpoint}, caps: {{month: 5}}" if own else endpoint, "" if own else CAPPED)
    (problem,) = caught.value.problems
    assert problem.key == f"endpoints[0].{key}" and says in problem.message
    settings(endpoint)  # without a cap nobody needs to know


@pytest.mark.parametrize(
    "endpoint",
    [
        f"{REALTIME}, prices: {{audio_input: 0, audio_output: 0}}",
        f"{CHAT}, prices: {{text_of_models: {{m: '1 1 1'}}, {AROUND}}}, model_for_question: {{why: m}}",
        f"{CHAT}, prices: {{text_output: 1, hearing_minute: 1, speech_characters: 15}}",
        f"{CHAT}, prices: {{text_output: 1}}, hearing: {{by: local, grammar: '{FAQ}'}}, speech: {{by: local}}",
    ],
)
def test_a_cap_that_counts_is_no_contradiction(endpoint: str) -> None:
    assert settings(endpoint, CAPPED).spend.caps.any


def test_what_is_right_is_read() -> None:
    found = settings(
        f"{CHAT}, prices: {{text_input: 2, text_of_models: {{x: '1 0.5 2'}}, {AROUND}}}"
        ", model_for_question: {'longer than 9': x}",
        "spend: {caps: {hour: 0.5}}\nchoice: {order: cheapest, by_hour: {'22:00-07:00': a}}",
    )
    assert found.spend.caps == Caps(hour=0.5) and found.choice.order is Order.CHEAPEST
