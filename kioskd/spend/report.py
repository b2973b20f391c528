"""What the ledger says, for `kioskd spend`: sums by day, endpoint and model, the latest turns, forecast, elsewhere."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from kioskd.config.schema import Endpoint, Settings
from kioskd.spend.forecast import elsewhere, forecast
from kioskd.spend.ledger import day_of
from kioskd.spend.lines import Booking, DaySum, Line, Note, settled
from kioskd.spend.prices import NANO, shown

TURNS_SHOWN = 10
NOTES_SHOWN = 5

Booked = Booking | DaySum


def figures(lines: Sequence[Line], settings: Settings, now: datetime, turns: int = TURNS_SHOWN) -> dict[str, Any]:
    """All of it as JSON has it, amounts in the owner's currency. `now` is local."""
    currency = settings.spend.currency
    counted = settled(lines)
    booked = [line for line in counted if isinstance(line, (Booking, DaySum)) and line.currency == currency]
    today, month = now.date().isoformat(), now.strftime("%Y-%m")
    of_today = [line for line in booked if _day(line) == today]
    of_month = [line for line in booked if _day(line).startswith(month)]
    ahead = forecast(_by_day(booked, now.date()), _days_gone(now), calendar.monthrange(now.year, now.month)[1])
    return {
        "currency": currency,
        "today": _sum(of_today),
        "month": _sum(of_month),
        "forecast": None if ahead is None else ahead / NANO,
        "by_model": _by_model(of_month),
        "elsewhere": _elsewhere(of_month, settings.endpoints),
        "turns": [_turn(line) for line in booked if isinstance(line, Booking)][-turns:] if turns else [],
        "notes": [{"at": _when(line), "text": line.text} for line in lines if isinstance(line, Note)][-NOTES_SHOWN:],
        "unpriced": [each.name for each in settings.endpoints if each.prices is None and each.url],
        "prices_of": {each.name: each.prices.date for each in settings.endpoints if each.prices is not None},
    }


def text(report: dict[str, Any]) -> list[str]:
    """The same for people."""
    money = report["currency"]
    lines = []
    for name in ("today", "month"):
        one = report[name]
        guessed = f", {one['estimated']} of them estimated (~)" if one["estimated"] else ""
        average = f", {_money(one['cost'] / one['turns'], money)} a turn" if one["turns"] else ""
        lines.append(f"{name:<9} {_money(one['cost'], money):>14}  {one['turns']} turns{average}{guessed}")
    ahead = report["forecast"]
    lines.append(f"{'forecast':<9} {_money(ahead, money) if ahead is not None else 'not yet':>14}  for this month")
    if report["by_model"]:
        lines += ["", "this month, by endpoint and model:"]
    for one in report["by_model"]:
        name = f"{one['endpoint']} {one['model']}".strip()
        lines.append(f"  {name:<44} {_money(one['cost'], money):>14}  {one['turns']} turns, {one['tokens']} tokens")
    if report["elsewhere"]:
        lines += ["", "what this month would have cost elsewhere (across kinds: estimated):"]
    for one in report["elsewhere"]:
        lines.append(f"  {(one['endpoint'] + ' ' + one['model']).strip():<44} {_money(one['cost'], money):>14}")
    if report["turns"]:
        lines += ["", "the latest turns:"]
    for one in report["turns"]:
        mark = "~" if one["estimated"] else " "
        lines.append(
            f"  {one['at']}  {one['endpoint']:<20} {mark}{_money(one['cost'], money):>14}  {one['tokens']} tokens"
        )
    if report["notes"]:
        lines += ["", "what happened:", *(f"  {one['at']}  {one['text']}" for one in report["notes"])]
    if report["unpriced"]:
        lines += ["", f"no prices are known of {', '.join(report['unpriced'])}: set endpoints.prices, or what they"]
        lines.append("answer is counted, but costs nothing here")
    return lines


def _money(amount: float, currency: str) -> str:
    return shown(round(amount * NANO), currency)


def _day(line: Booked) -> str:
    return line.day if isinstance(line, DaySum) else day_of(line.at)


def _when(line: Line) -> str:
    try:
        return datetime.fromtimestamp(line.at.wall_s).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "(no time)       "


def _count(line: Booked) -> int:
    return line.turns if isinstance(line, DaySum) else int(not line.corrects)


def _estimated(line: Booked) -> int:
    return int(line.estimated)


def _sum(lines: Sequence[Booked]) -> dict[str, Any]:
    return {
        "cost": sum(line.net for line in lines) / NANO,
        "turns": sum(map(_count, lines)),
        "estimated": sum(map(_estimated, lines)),
    }


def _by_model(lines: Sequence[Booked]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[Booked]] = {}
    for line in lines:
        found.setdefault((line.endpoint, line.model), []).append(line)
    rows = [
        {"endpoint": name, "model": model, **_sum(each), "tokens": sum(line.amounts.tokens for line in each)}
        for (name, model), each in found.items()
    ]
    return sorted(rows, key=lambda row: -row["cost"])


def _elsewhere(lines: Sequence[Booked], endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    known = {each.name: each for each in endpoints}
    taken = [(known.get(line.endpoint), line.amounts) for line in lines]
    served = {line.endpoint for line in lines}
    others = [each for each in endpoints if served != {each.name}]
    found = elsewhere(taken, others) if taken else []
    return [{"endpoint": o.endpoint, "model": o.model, "cost": o.cost / NANO} for o in found if o.cost is not None]


def _turn(line: Booking) -> dict[str, Any]:
    return {
        "at": _when(line),
        "turn": line.turn,
        "endpoint": line.endpoint,
        "model": line.model,
        "cost": line.net / NANO,
        "tokens": line.amounts.tokens,
        "estimated": line.estimated,
        "wait_ms": line.wait_ms,
    }


def _by_day(lines: Sequence[Booked], today: date) -> list[int]:
    """What each day cost, from the first booking's to today; of a clock that was wrong nothing counts."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[_day(line)] = sums.get(_day(line), 0) + line.net
    earliest = (today - timedelta(days=62)).isoformat()
    days = sorted(day for day in sums if earliest <= day <= today.isoformat())
    if not days:
        return []
    span = (today - date.fromisoformat(days[0])).days
    return [sums.get((today - timedelta(days=ago)).isoformat(), 0) for ago in range(span, -1, -1)]


def _days_gone(now: datetime) -> float:
    return now.day - 1 + (now.hour * 60 + now.minute) / 1440
