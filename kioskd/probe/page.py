"""What was found: as a table of 80 columns, and as JSON. PURE."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import asdict

from kioskd.config.schema import EndpointKind
from kioskd.probe.advice import Advice
from kioskd.probe.figures import Spread
from kioskd.probe.results import STEPS, EndpointResult, KeyResult, Series, Takes, WayResult
from kioskd.spend.prices import NANO, shown

WIDTH = 80
_LABEL = 25
_HEADS = ("in", "link", "first", "p95", "spread", "total", "tok/s", "price")
_WIDTHS = (6, 6, 7, 7, 7, 7, 6, 9)


def table(results: Sequence[EndpointResult], advice: Advice | None, currency: str) -> str:
    """Times in ms; the median of each. `advice` None: only connections were made."""
    lines = list(_measured(results, currency) if advice is not None else _shaken(results))
    if advice is not None:
        lines += ["", *textwrap.wrap(advice.text, WIDTH)]
    return "\n".join(line.rstrip() for line in lines)


def _measured(results: Iterable[EndpointResult], currency: str) -> Iterator[str]:
    yield _row("ms, medians", _HEADS)
    guessed = False
    for result in results:
        yield from _head(result)
        for way in result.ways:
            yield from _way(way, currency)
            guessed = guessed or any(series.estimated for series in way.series)
    yield ""
    legend = (
        "in: text (then first is the first word; hearing and speech come on top) or voice (then it is the first"
        " sound). link: name, TCP, TLS, upgrade. p95 and spread (of the middle half): of first. tok/s: of the whole"
        f" answer. price: of a question, in 1/1000 {currency}. + not in the settings: unverified, but for what was"
        " measured."
    )
    yield from textwrap.wrap(legend + (" ~ estimated: no tokens were told." if guessed else ""), WIDTH)


def _shaken(results: Iterable[EndpointResult]) -> Iterator[str]:
    yield _cells("ms, medians", ("name", "TCP", "TLS", "upgrade", "all", "p95", "spread"), (7, 7, 7, 8, 8, 8, 8))
    for result in results:
        yield from _head(result)
        for way in result.ways:
            steps = {name: way.step(name) for name in STEPS}
            whole = steps["all_ms"]
            if whole is not None:
                cells = [_ms(steps[name]) for name in STEPS] + [_number(whole.p95), _number(whole.spread)]
                yield _cells(_mark(way) + way.label, cells, (7, 7, 7, 8, 8, 8, 8))
            if way.absent:
                yield from _told(way)
    yield ""
    yield "+ not in the settings: unverified, but for what was measured."


def _head(result: EndpointResult) -> Iterator[str]:
    about = ", ".join(part for part in (result.kind, result.model, result.host) if part)
    key = "needs no key" if result.kind == EndpointKind.LOCAL.value else _key(result.key)
    yield from textwrap.wrap(f"{result.name}: {about}; {key}", WIDTH, subsequent_indent="  ")
    if result.unverified:
        text = f"unverified: {'; '.join(result.unverified)}"
        yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _key(key: KeyResult) -> str:
    if key.failure:
        return f"key: {key.failure}"
    if not key.asked:
        return "key not checked (there is nobody to ask)"
    left = f", credits {key.credits_left:g}" if key.credits_left is not None else ""
    return f"key taken ({key.asked}{left})"


def _mark(way: WayResult) -> str:
    return "  " if way.configured else "+ "


def _way(way: WayResult, currency: str) -> Iterator[str]:
    link = way.step("all_ms")
    for series in way.series:
        label = way.label if series.at_once == 1 else f"  {series.at_once} at once"
        first, total, rate, cost = series.first_ms, series.total_ms, series.tokens_per_s, series.cost
        if first is not None:
            price = "" if cost is None else f"{'~' if series.estimated else ''}{_thousandths(cost.median)}"
            speed = "" if rate is None else f"{'~' if series.estimated else ''}{rate.median:.0f}"
            cells = [way.takes.short, _ms(link) if series.at_once == 1 else "", _ms(first), _number(first.p95)]
            yield _row(_mark(way) + label, [*cells, _number(first.spread), _ms(total), speed, price])
        for why, times in series.failures:
            text = f"{label.strip()}: {times} of {series.wanted} had no answer: {why}"
            yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="      ")
    for note in way.notes:
        yield from textwrap.wrap(f"{way.label}: {note}", WIDTH, initial_indent="    ", subsequent_indent="      ")
    if way.absent:
        yield from _told(way)


def _told(way: WayResult) -> list[str]:
    return textwrap.wrap(f"{_mark(way)}{way.label}: {way.absent}", WIDTH, subsequent_indent="    ")


def _row(label: str, cells: Sequence[str]) -> str:
    return _cells(label, cells, _WIDTHS)


def _cells(label: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _ms(spread: Spread | None) -> str:
    return "" if spread is None else _number(spread.median)


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _thousandths(cost: float) -> str:
    """Of the currency: a question costs so little."""
    value = cost / NANO * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def as_json(
    results: Sequence[EndpointResult], advice: Advice | None, currency: str, question: str, at_most: dict[str, Any]
) -> str:
    """All of it. Money is in `currency`."""
    found: dict[str, Any] = {
        "question": question,
        "currency": currency,
        "at_most": at_most,
        "endpoints": [_endpoint(result) for result in results],
    }
    if advice is not None:
        found["recommendation"] = advice.text
        found["ranking"] = {takes.short: [one.name for one in advice.ranking[takes]] for takes in Takes}
    return json.dumps(found, indent=2, ensure_ascii=False)


def bill_text(questions: int, cost: int, unpriced: Sequence[str], currency: str) -> str:
    """What it comes to at most, for people."""
    text = f"At most {questions} questions"
    if unpriced:
        others = f"; the price of {', '.join(unpriced)} isn't known"
        return text + (f", {shown(cost, currency)}{others}." if cost else f"{others}.")
    return f"{text}, {shown(cost, currency)}."


def _endpoint(result: EndpointResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "kind": result.kind,
        "model": result.model,
        "host": result.host,
        "unverified": list(result.unverified),
        "key": {
            "ok": None if not (result.key.asked or result.key.failure) else not result.key.failure,
            "asked": result.key.asked or None,
            "credits": result.key.credits_left,
            "failure": result.key.failure or None,
        },
        "ways": [_way_as_dict(way) for way in result.ways],
    }


def _way_as_dict(way: WayResult) -> dict[str, Any]:
    return {
        "way": way.label,
        "measured": way.takes.value,
        "configured": way.configured,
        "unverified": not way.configured,
        "absent": way.absent or None,
        "notes": list(way.notes),
        "connection": {name: _spread(way.step(name)) for name in STEPS},
        "series": [_series(series) for series in way.series],
    }


def _series(series: Series) -> dict[str, Any]:
    cost = series.cost
    return {
        "at_once": series.at_once,
        "wanted": series.wanted,
        "answered": series.answered,
        "first_ms": _spread(series.first_ms),
        "total_ms": _spread(series.total_ms),
        "tokens_per_s": _spread(series.tokens_per_s),
        "cost": None if cost is None else cost.median / NANO,
        "estimated": series.estimated,
        "failures": [{"why": why, "times": times} for why, times in series.failures],
    }


def _spread(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else {name: round(value, 3) for name, value in asdict(spread).items()}
