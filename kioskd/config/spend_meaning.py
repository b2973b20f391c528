"""What settings of prices, caps and choice mean, each by itself and together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation

from kioskd.config.endpoint_schema import By, Endpoint, EndpointKind
from kioskd.config.schema import Settings
from kioskd.config.spend_schema import Choice, Order, Prices

MAX_PATTERN_CHARACTERS = 200
_CURRENCY = re.compile(r"[A-Z]{3}")
# Texts, compiled where they are used: few settings have such rules.
_SPAN = r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])"
_LENGTH = r"(shorter|longer) than ([1-9][0-9]{0,3})"
_TWICE = r"[*+}]\)[*+{]"  # (a+)+ takes for ever on the wrong text
_MOST_PRICE = 10000
_OF_TEXT = (EndpointKind.CHAT, EndpointKind.RESPONSES)

Finding = tuple[str, str]  # the key, the message
Length = tuple[str, int]
Texts = tuple[Decimal, Decimal, Decimal]


def check(settings: Settings) -> Iterator[Finding]:
    """Every contradiction, with its whole key."""
    if not _CURRENCY.fullmatch(settings.spend.currency):
        yield "spend.currency", "must be a currency's code of three letters, such as EUR"
    names = [endpoint.name for endpoint in settings.endpoints]
    for number, endpoint in enumerate(settings.endpoints):
        for key, message in _endpoint(endpoint, settings):
            yield f"endpoints[{number}].{key}", message
    for span, what in settings.choice.by_hour.items():
        if (hours := span_of(span)) is None or hours[0] == hours[1]:
            yield f"choice.by_hour.{span}", 'must be two different times of day, such as "22:00-07:00"'
        orders = [order.value for order in Order]
        if what not in orders and what not in names:
            allowed = ", ".join([*orders, *names])
            yield f"choice.by_hour.{span}", f"must be an order or an endpoint's name: one of {allowed}; not {what:.40}"


def span_of(text: str) -> tuple[int, int] | None:
    """Beginning and end of some hours of the day, in minutes since midnight; None for what is none."""
    match = re.fullmatch(_SPAN, text)
    if match is None:
        return None
    begin, end = (int(time[:2]) * 60 + int(time[3:]) for time in match.groups())
    return begin, end


def length_of(text: str) -> Length | None:
    """`shorter` or `longer`, and the number of characters, of a rule about a question's length; None for a pattern."""
    match = re.fullmatch(_LENGTH, text)
    return (match[1], int(match[2])) if match else None


def texts_of(text: str) -> Texts | None:
    """The prices of a million tokens read, read again and written, of "2.00 0.50 8.00"; None for what is none."""
    try:
        found = [Decimal(each) for each in text.split()]
    except InvalidOperation:
        return None
    if len(found) != 3 or not all(each.is_finite() and 0 <= each <= _MOST_PRICE for each in found):
        return None
    return found[0], found[1], found[2]


def _endpoint(endpoint: Endpoint, settings: Settings) -> Iterator[Finding]:
    prices, spend = endpoint.prices, settings.spend
    is_capped = spend.caps.any or endpoint.caps.any
    if prices is not None:
        yield from _prices(prices, spend.currency)
        if is_capped and endpoint.kind is not EndpointKind.LOCAL:
            yield from _gaps(endpoint, prices)
    elif endpoint.kind is not EndpointKind.LOCAL and is_capped:
        yield "prices", "is missing: a cap counts nothing without them; of an endpoint that is free they are 0"
    elif endpoint.kind is not EndpointKind.LOCAL and _compares_prices(settings.choice):
        yield "prices", "is missing: cheapest (choice) would take it to be free; of an endpoint that is free they are 0"
    if endpoint.model_for_question and endpoint.kind not in _OF_TEXT:
        yield "model_for_question", "counts for the kinds chat and responses only, where the question is known in words"
    for rule in endpoint.model_for_question:
        if length_of(rule) is None and (fault := _fault_of(rule)):
            yield f"model_for_question.{rule}", fault


def _compares_prices(choice: Choice) -> bool:
    return choice.order is Order.CHEAPEST or Order.CHEAPEST.value in choice.by_hour.values()


def _gaps(endpoint: Endpoint, prices: Prices) -> Iterator[Finding]:
    """What a cap would take to be free because nobody said what it costs."""
    if endpoint.kind not in _OF_TEXT:
        sound = {"audio_input": prices.audio_input, "audio_output": prices.audio_output}
        if missing := " and ".join(key for key, price in sound.items() if price is None):
            yield "prices", f"lack {missing}: a cap doesn't count sound; where it is free they are 0"
        return
    is_plain = prices.text_input is not None or prices.text_output is not None
    if not is_plain and endpoint.model not in prices.text_of_models:
        yield "prices", f"know nothing of the model {endpoint.model:.60}: a cap counts nothing without its prices"
    for rule, model in endpoint.model_for_question.items():
        if model != endpoint.model and model not in prices.text_of_models:
            yield (
                f"model_for_question.{rule}",
                f"asks {model:.60}, which prices.text_of_models lacks: a cap counts its answers wrong or not at all",
            )
    if endpoint.hearing.by is By.ENDPOINT and prices.hearing_minute is None:
        yield "prices", "lack hearing_minute: a cap doesn't count hearing; where it is free it is 0"
    if endpoint.speech.by is By.ENDPOINT and prices.speech_minute is None and prices.speech_characters is None:
        yield "prices", "lack speech_minute or speech_characters: a cap doesn't count speech; where it is free it is 0"


def _prices(prices: Prices, owners: str) -> Iterator[Finding]:
    if not _CURRENCY.fullmatch(prices.currency):
        yield "prices.currency", "must be a currency's code of three letters, such as CNY"
    if prices.currency != owners and prices.rate is None:
        yield "prices.rate", f"is missing: what 1 {prices.currency} is in {owners} (spend.currency)"
    if prices.currency == owners and prices.rate not in (None, 1):
        yield "prices.rate", f"must be 1, or left out, since both prices and spend.currency are in {owners}"
    if prices.date is not None:
        try:
            date.fromisoformat(prices.date)
        except ValueError:
            yield "prices.date", 'must be a day, quoted, such as "2026-11-21"'
    for model, text in prices.text_of_models.items():
        if texts_of(text) is None:
            yield (
                f"prices.text_of_models.{model}",
                'must be three prices from 0 to 10000, of input, cached input and output, such as "2.00 0.50 8.00"',
            )


def _fault_of(pattern: str) -> str:
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"is longer than {MAX_PATTERN_CHARACTERS} characters"
    try:
        re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        return f"is no regular expression ({error}), nor shorter than N or longer than N"
    return (
        "repeats what is repeated, which can take for ever; write it another way" if re.search(_TWICE, pattern) else ""
    )
