"""What a question cost, and what it can cost at most. PURE. Money is in nanos of the owner's currency."""

from __future__ import annotations

import math

from attrs import evolve

from kioskd.config.schema import Endpoint, EndpointKind
from kioskd.dialogue.events import Usage
from kioskd.probe.results import Takes
from kioskd.spend.prices import Amounts, cost, is_free

WORDS_MAX, SOUND_MAX = 200, 600  # tokens of an answer: some sentences, half a minute
FRAME_TOKENS = 128  # what a server itself puts around a question
# What a realtime model makes of sound is a token per 100 ms heard, one per 50 ms spoken; a token of text is four
# characters, roughly, but never less than a byte.
_HEARD_MS, _SPOKEN_MS, _CHARACTERS = 100, 50, 4


def bounded(endpoint: Endpoint, takes: Takes) -> Endpoint:
    """The endpoint with answers that can't be longer than a probe needs."""
    most = SOUND_MAX if takes is Takes.VOICE else WORDS_MAX
    return evolve(endpoint, max_tokens=min(endpoint.max_tokens or most, most))


def is_priced(endpoint: Endpoint, takes: Takes) -> bool:
    """Whether what the question takes has a price in the settings."""
    prices = endpoint.prices
    if is_free(endpoint):
        return True
    if prices is None:
        return False
    if takes is Takes.VOICE:
        return prices.audio_input is not None and prices.audio_output is not None
    return (prices.text_input is not None and prices.text_output is not None) or (
        endpoint.model in prices.text_of_models
    )


def price(endpoint: Endpoint, takes: Takes, amounts: Amounts) -> int | None:
    """What this costs there; None where its price isn't known."""
    if not is_priced(endpoint, takes):
        return None
    return cost(amounts, endpoint)


def amounts_of(usage: Usage) -> Amounts:
    """Tokens as they were told."""
    return Amounts(
        input_text=usage.input_text,
        input_audio=usage.input_audio,
        cached_text=usage.cached_text,
        cached_audio=usage.cached_audio,
        output_text=usage.output_text,
        output_audio=usage.output_audio,
    )


def guessed(takes: Takes, asked_characters: int, said_characters: int, heard_ms: float, spoken_ms: float) -> Amounts:
    """Tokens where nobody told them."""
    asked, said = math.ceil(asked_characters / _CHARACTERS), math.ceil(said_characters / _CHARACTERS)
    if takes is Takes.TEXT:
        return Amounts(input_text=asked, output_text=said)
    heard, spoken = math.ceil(heard_ms / _HEARD_MS), math.ceil(spoken_ms / _SPOKEN_MS)
    return Amounts(input_text=asked, input_audio=heard, output_text=said, output_audio=spoken)


def most(endpoint: Endpoint, takes: Takes, told: str, heard_ms: float) -> int | None:
    """What one question can cost at most, where the server minds `max_tokens`; None where its price isn't known.

    `told`: all words of the question, with the instructions.
    """
    if endpoint.kind is EndpointKind.LOCAL:
        return 0
    into = Amounts(input_text=len(told.encode()) + FRAME_TOKENS)
    out = endpoint.max_tokens or SOUND_MAX
    if takes is Takes.TEXT:
        return price(endpoint, takes, into + Amounts(output_text=out))
    into += Amounts(input_audio=2 * math.ceil(heard_ms / _HEARD_MS))
    ends = [price(endpoint, takes, into + end) for end in (Amounts(output_audio=out), Amounts(output_text=out))]
    return max((each for each in ends if each is not None), default=None)
