"""What the tests of spending share: moments, bookings, endpoints with prices."""

from __future__ import annotations

from typing import Any

from kioskd.config.schema import Endpoint, EndpointKind
from kioskd.config.spend_schema import Prices
from kioskd.spend.lines import Booking, Moment
from kioskd.spend.prices import Amounts

NOON_S = 1_795_000_000.0  # a day in November 2026
BOOT = "aaaa0001"


def at(s: float, boot: str = BOOT, jump_s: float = 0.0) -> Moment:
    """So many seconds after noon; the wall clock was set forward by `jump_s`."""
    return Moment(NOON_S + s + jump_s, 1000.0 + s, boot)


def booking(cost: int, moment: Moment, **more: Any) -> Booking:
    fields: dict[str, Any] = {"number": 0, "turn": 1, "endpoint": "lobby", "model": "m", "amounts": Amounts(1, 2)}
    return Booking(**{**fields, "at": moment, "cost": cost, "currency": "USD", **more})


def endpoint(name: str = "lobby", kind: EndpointKind = EndpointKind.REALTIME, **prices: Any) -> Endpoint:
    return Endpoint(name, "wss://a/", "m", kind=kind, prices=Prices(**prices))
