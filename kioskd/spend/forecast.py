"""Where the month will end, and what the same would have cost elsewhere. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from kioskd.config.endpoint_schema import Endpoint, EndpointKind
from kioskd.spend.prices import MINUTE_MS, Amounts, cost
from kioskd.value import Value

LOOK_BACK_DAYS = 14  # two of each weekday


def forecast(by_day: Sequence[int], days_gone: float, days_in_month: int) -> int | None:
    """What the month will have cost at its end, in nanos, if it goes on as it did; None before anything is known.

    `by_day`: what each of the latest days cost, oldest first, the last one being today, of which only a part is over:
    `days_gone` is how much of the month is, in days. Days before the first booking are not in it.
    """
    recent = by_day[-LOOK_BACK_DAYS:]
    part_of_today = days_gone % 1 or 1.0
    whole_days = len(recent) - 1 + part_of_today
    if not recent or whole_days < 0.25:  # a morning says nothing of a month
        return None
    first_of_month = min(len(by_day), int(days_gone) + 1)
    so_far = sum(by_day[-first_of_month:])
    return so_far + round(sum(recent) / whole_days * max(0.0, days_in_month - days_gone))


@frozen(eq=False, repr=False)
class Elsewhere(Value):
    """What the same amounts would have cost at another endpoint; None where its prices don't cover them."""

    endpoint: str
    model: str
    cost: int | None


def elsewhere(amounts: Iterable[tuple[Endpoint | None, Amounts]], others: Iterable[Endpoint]) -> list[Elsewhere]:
    """Of each endpoint with prices, what all of this would have cost there. Amounts come with who served them.

    Sound and text change places with the kind: what one hears as sound another reads as text, at its own measure, so
    that across kinds it is an estimate.
    """
    taken = list(amounts)
    found = []
    for other in others:
        if other.prices is None:
            continue
        total = sum(cost(translated(each, served, other), other) for served, each in taken)
        found.append(Elsewhere(other.name, other.model, total))
    return found


# Of a conversation before there was one: half of it heard, half of it spoken, with some instructions.
_A_MINUTE = Amounts(
    input_text=300, input_audio=300, output_text=150, output_audio=600, heard_ms=30_000, spoken_ms=30_000,
    characters=450,
)  # fmt: skip


def a_minute_at(amounts: Iterable[tuple[Endpoint | None, Amounts]], other: Endpoint) -> float | None:
    """What a minute of conversation costs there by its prices, in nanos; None without prices.

    `amounts`: turns that were had, with who served them; without any a usual one is supposed.
    """
    if other.prices is None:
        return None
    taken = [(served, each) for served, each in amounts if each.heard_ms + each.spoken_ms > 0] or [(None, _A_MINUTE)]
    total = sum(cost(translated(each, served, other), other) for served, each in taken)
    return total * MINUTE_MS / sum(each.heard_ms + each.spoken_ms for _, each in taken)


# Sound in tokens, and the same words as text: a second of speech is 10 or 20 tokens of sound, and 2.5 words.
_TEXT_OF_HEARD, _TEXT_OF_SPOKEN = 3, 6
_HEARD_MS, _SPOKEN_MS = 100, 50


def translated(amounts: Amounts, served: Endpoint | None, other: Endpoint) -> Amounts:
    """The same conversation as another kind of endpoint would count it."""
    if is_sound(other) == (is_sound(served) if served is not None else bool(amounts.output_audio)):
        return amounts
    if is_sound(other):
        return Amounts(
            input_text=amounts.input_text,
            input_audio=amounts.heard_ms // _HEARD_MS,
            cached_text=amounts.cached_text,
            output_text=amounts.output_text,
            output_audio=amounts.spoken_ms // _SPOKEN_MS,
        )
    return Amounts(
        input_text=amounts.input_text + amounts.input_audio // _TEXT_OF_HEARD,
        cached_text=amounts.cached_text + amounts.cached_audio // _TEXT_OF_HEARD,
        output_text=max(amounts.output_text, amounts.output_audio // _TEXT_OF_SPOKEN),
        heard_ms=amounts.heard_ms,
        spoken_ms=amounts.spoken_ms,
        characters=amounts.characters,
    )


def is_sound(endpoint: Endpoint) -> bool:
    """Whether sound itself goes to the model."""
    return endpoint.kind in (EndpointKind.REALTIME, EndpointKind.AUDIO_SSE)
