"""The shape of what is paid and chosen: an endpoint's prices, caps on spending, and who is asked first. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen

from kioskd.value import Value


def _within(low: float, high: float) -> float | None:
    found: float | None = field(default=None, metadata={"within": (low, high)})
    return found


def _price() -> float | None:
    return _within(0, 10000)


@frozen(eq=False, repr=False)
class Prices(Value):
    """What a seller takes, in units of `currency`. `rate`: what one of them is in the owner's currency.

    Tokens and characters by the million, hearing and speech (around a text model) by the minute. `text_of_models`: of
    other models of the same endpoint, as "input cached output".
    """

    currency: str = "USD"
    date: str | None = None
    rate: float | None = _within(0.0001, 100000)
    text_input: float | None = _price()
    text_cached: float | None = _price()
    audio_input: float | None = _price()
    audio_cached: float | None = _price()
    text_output: float | None = _price()
    audio_output: float | None = _price()
    hearing_minute: float | None = _price()
    speech_minute: float | None = _price()
    speech_characters: float | None = _price()
    text_of_models: Mapping[str, str] = field(factory=dict, metadata={"items": (0, 64)})


@frozen(eq=False, repr=False)
class Caps(Value):
    """The most that is spent in any 60 minutes, 24 hours and 31 days, in the owner's currency."""

    hour: float | None = _within(0, 100000)
    day: float | None = _within(0, 100000)
    month: float | None = _within(0, 100000)

    @property
    def any(self) -> bool:
        """Whether one of them is set."""
        return (self.hour, self.day, self.month) != (None, None, None)


@frozen(eq=False, repr=False)
class Spend(Value):
    """What is written down of what answers cost, and where it ends."""

    ledger: bool = True
    currency: str = "USD"
    caps: Caps = field(factory=Caps)
    warn_at: float = field(default=0.8, metadata={"within": (0.1, 1)})
    credits_warn_below: float | None = _within(0, 100000)


class Order(Enum):
    """By what the endpoints are preferred."""

    FIXED = "fixed"  # as the settings list them
    CHEAPEST = "cheapest"
    FASTEST = "fastest"


@frozen(eq=False, repr=False)
class Choice(Value):
    """Who is asked first. `by_hour`: "22:00-07:00" to an order, or to an endpoint's name."""

    order: Order = Order.FIXED
    hysteresis: float = field(default=0.2, metadata={"within": (0, 1)})
    by_hour: Mapping[str, str] = field(factory=dict, metadata={"items": (0, 24)})
