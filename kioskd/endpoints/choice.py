"""Who is asked first: endpoints ranked by what they cost and how quick they are, as measured here. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import define, field, frozen

from kioskd.config.endpoint_schema import Endpoint
from kioskd.config.spend_meaning import length_of, span_of
from kioskd.config.spend_schema import Choice, Order
from kioskd.value import Value

MEASURED_TURNS = 20  # the latest: what is older says little of a network
ENOUGH_TURNS = 3  # fewer are chance
STALE_S = 86400.0  # after a day without a turn nobody knows how an endpoint is now: a bad spell is over, or a good one


@frozen(eq=False, repr=False)
class Measured(Value):
    """What was measured of one endpoint, lately. `minutes` of sound heard and spoken."""

    turns: int = 0
    cost: int = 0
    minutes: float = 0.0
    wait_ms: float | None = None  # the middle one

    def figure(self, order: Order) -> float | None:
        """What counts in this order, the smaller the better; None: not known."""
        if order is Order.CHEAPEST:
            return self.cost / self.minutes if self.turns >= ENOUGH_TURNS and self.minutes > 0 else None
        return self.wait_ms if order is Order.FASTEST and self.turns >= ENOUGH_TURNS else None


@define(eq=False, repr=False)
class Turns:
    """The latest turns of one endpoint. They count together, until the latest of them is a day old.

    So that one that is asked now and then isn't known and unknown by turns.
    """

    _costs: list[tuple[int, float, int | None]] = field(factory=list, init=False)
    _latest_s: float = field(default=0.0, init=False)

    def add(self, cost: int, minutes: float, wait_ms: int | None, at_s: float) -> None:
        """One more turn, `cost` in nanos; `at_s` by any clock that isn't set."""
        if at_s - self._latest_s >= STALE_S:
            self._costs = []
        self._latest_s = at_s
        self._costs = [*self._costs[-MEASURED_TURNS + 1 :], (cost, minutes, wait_ms)]

    def measured(self, now_s: float) -> Measured:
        """All of them, by the same clock; nothing once they are stale."""
        if now_s - self._latest_s >= STALE_S:
            return Measured()
        waits = sorted(wait for _, _, wait in self._costs if wait is not None)
        return Measured(
            len(self._costs),
            sum(cost for cost, _, _ in self._costs),
            sum(minutes for _, minutes, _ in self._costs),
            waits[len(waits) // 2] if waits else None,
        )


def order_at(choice: Choice, minute: int) -> Order | str:
    """By what it is chosen at this minute of the day: an order, or the name of the endpoint that goes first."""
    for text, what in choice.by_hour.items():
        hours = span_of(text)
        if hours is None:
            continue
        begin, end = hours
        if begin <= minute < end or (begin > end and not end <= minute < begin):
            return Order(what) if what in [order.value for order in Order] else what
    return choice.order


def ranked(
    listed: Sequence[str],
    before: Sequence[str],
    by: Order | str,
    measured: Mapping[str, Measured],
    hysteresis: float,
    last: Sequence[str] = (),
    supposed: Mapping[str, float] | None = None,
) -> list[str]:
    """The endpoints in their order of preference. `listed` is the settings' order, `before` the one that counts now.

    One overtakes another only if it is better by the share `hysteresis`; `last` stay at the end. What was not measured
    lately is found out. By `cheapest` it is judged by `supposed`, what a minute costs there by its prices, in nanos;
    without prices it stays behind, in the settings' order. By `fastest` it goes first, in the settings' order, until it
    has had the few turns that it takes to judge it: once, and again when they are stale.
    """
    first = [name for name in listed if name not in last]
    at_end = [name for name in listed if name in last]
    if isinstance(by, str):
        return [name for name in listed if name == by] + [name for name in first + at_end if name != by]
    if by is Order.FIXED:
        return first + at_end
    figures = {name: measured.get(name, Measured()).figure(by) for name in first}
    if by is Order.CHEAPEST and supposed:
        figures = {name: supposed.get(name) if known is None else known for name, known in figures.items()}
    known = [name for name in before if figures.get(name) is not None]
    known += [name for name in first if figures[name] is not None and name not in known]
    for end in range(1, len(known)):  # insertion, so that only a real difference changes the order
        place = end
        while place and _beats(figures[known[place]], figures[known[place - 1]], hysteresis):
            known[place - 1], known[place] = known[place], known[place - 1]
            place -= 1
    unknown = [name for name in first if name not in known]
    return (unknown + known if by is Order.FASTEST else known + unknown) + at_end


def model_for(endpoint: Endpoint, question: str) -> str:
    """The model that is asked: the first rule's that fits the question, else the endpoint's own."""
    if not question:
        return endpoint.model
    for rule, model in endpoint.model_for_question.items():
        length = length_of(rule)
        if length is not None:
            if len(question) < length[1] if length[0] == "shorter" else len(question) > length[1]:
                return model
        elif re.search(rule, question[:2000], re.IGNORECASE):
            return model
    return endpoint.model


def _beats(one: float | None, other: float | None, hysteresis: float) -> bool:
    return one is not None and other is not None and one < other * (1 - hysteresis)
