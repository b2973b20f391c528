"""Which way to take, from what was measured. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from kioskd.config.schema import EndpointKind
from kioskd.probe.figures import Spread
from kioskd.probe.results import EndpointResult, Takes
from kioskd.spend.prices import shown

CHEAPER = 0.8  # of the best one's price: what differs less may be an estimate's error


@frozen
class Entrant:
    """A way that answered at least once. `failed` of its questions had no answer."""

    name: str
    takes: Takes
    first_ms: Spread
    failed: int = 0
    cost: float | None = None
    configured: bool = True
    limited: bool = False  # to the site's own few questions: for when nobody else can be reached


@frozen
class Advice:
    """`text` is one sentence; `ranking` the ways that it is drawn from, by what goes in, best first."""

    text: str
    ranking: dict[Takes, tuple[Entrant, ...]]


def entrants(results: Iterable[EndpointResult]) -> list[Entrant]:
    """All that can be compared: by how they answer one question at a time."""
    found = []
    for result in results:
        for way in result.ways:
            alone = way.series[0] if way.series else None
            if alone is None or alone.first_ms is None:
                continue
            failed = sum(series.failed for series in way.series)
            cost = alone.cost.median if alone.cost is not None else None
            name = f"{result.name} ({way.label})"
            limited = result.kind == EndpointKind.LOCAL.value
            found.append(Entrant(name, way.takes, alone.first_ms, failed, cost, way.configured, limited))
    return found


def ranked(those: Iterable[Entrant]) -> list[Entrant]:
    """Who answers every question before who doesn't, and among those the quickest first; the site's own last."""
    return sorted(those, key=lambda one: (one.limited, one.failed > 0, one.first_ms.median, one.first_ms.p95, one.name))


def advise(results: Sequence[EndpointResult], currency: str) -> Advice:
    """In one sentence. What takes a voice and what takes text is not measured against each other."""
    everybody = entrants(results)
    ranking = {takes: tuple(ranked(one for one in everybody if one.takes is takes)) for takes in Takes}
    parts = [_of(ranking[takes], takes, currency) for takes in (Takes.VOICE, Takes.TEXT) if ranking[takes]]
    if not parts:
        return Advice("Nothing can be recommended: none of them answered.", ranking)
    text = "; ".join(parts)
    return Advice(f"{text[0].upper()}{text[1:]}.", ranking)


def _of(ranking: Sequence[Entrant], takes: Takes, currency: str) -> str:
    best, others = ranking[0], ranking[1:]
    voice = takes is Takes.VOICE
    what = "for a voice take" if voice else "of the text models take"
    name = best.name if best.configured else f"{best.name.removesuffix(')')}, not in the settings)"
    text = f"{what} {name}: its first {'sound' if voice else 'word'} comes after {best.first_ms.median:.0f} ms"
    if not voice:
        text += " (hearing and speech come on top)"
    if best.failed:
        text += f", though {best.failed} of its questions had no answer"
    rivals = [one for one in others if not one.limited and (not one.failed or best.failed)]
    if rivals and rivals[0].first_ms.median - best.first_ms.median <= _doubt(best, rivals[0]):
        text += f", and {rivals[0].name} is no slower by more than the measurements vary"
    elif rivals:
        text += f", that of {rivals[0].name} after {rivals[0].first_ms.median:.0f} ms"
    worth_it = (best.cost or 0.0) * CHEAPER
    cheaper = [one for one in rivals if one.cost is not None and best.cost is not None and one.cost < worth_it]
    if cheaper:
        cheapest = min(cheaper, key=lambda one: one.cost or 0.0)
        text += f", and {cheapest.name} costs least, {shown(round(cheapest.cost or 0), currency)} a question"
    return text


def _doubt(one: Entrant, other: Entrant) -> float:
    """Closer medians than this may be chance, in ms."""
    return max(one.first_ms.spread, other.first_ms.spread)
