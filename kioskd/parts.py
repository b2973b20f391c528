"""The daemon's parts under supervision: how each of them moves, and the rungs of the ladder that are taken in here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio
from attrs import frozen

from kioskd.config.schema import Settings
from kioskd.health.vitals import VITALS, Reading, link_limit_s
from kioskd.pulse import Adjustable, Pulsing, Reopening
from kioskd.supervision import Supervised

LIMITS_S: Mapping[str, float] = {name: vital.limit_s for name, vital in VITALS.items()}


@frozen(eq=False, repr=False)
class _Part:
    """One of them. `vital` is its vital's name, `lose` tells the dialogue that it is out of order."""

    vital: str
    part: object
    supervised: Supervised
    lose: Callable[[str], None]


class Parts:
    """All of them. `limits_s` by vital."""

    def __init__(self, limits_s: Mapping[str, float]) -> None:
        self._limits_s = dict(limits_s)
        self._parts: list[_Part] = []
        self._beat_at: float | None = None

    def add(
        self, name: str, vital: str, part: object, run: Callable[[], Awaitable[None]], lose: Callable[[str], None]
    ) -> None:
        """One more, called `name` in the log; a `vital` of "" is none."""
        self._parts.append(_Part(vital, part, Supervised(name, run, lose), lose))

    def start(self, nursery: trio.Nursery) -> None:
        """Run them all until cancelled."""
        for each in self._parts:
            nursery.start_soon(each.supervised.run)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each was restarted, by name."""
        return {each.supervised.name: each.supervised.restarts for each in self._parts}

    def adjust(self, settings: Settings) -> None:
        """Each part that can lives by these settings from now on. What one raises comes out."""
        self._limits_s["link"] = link_limit_s(settings.endpoints)
        for each in self._parts:
            if isinstance(each.part, Adjustable):
                each.part.adjust(settings)

    def beat(self, now: float) -> None:
        """The loop turns: whoever watches says so at each look."""
        self._beat_at = now

    def readings(self, now: float) -> tuple[Reading, ...]:
        """How each vital moves. A part without a pulse has none, nor has a loop that nobody watches."""
        found = [_reading(each, self._limits_s[each.vital], now) for each in self._parts if each.vital]
        if self._beat_at is not None:
            found.insert(0, Reading("loop", now - self._beat_at, self._limits_s["loop"]))
        return tuple(reading for reading in found if reading is not None)

    def reopen(self, vital: str, cause: str) -> None:
        """The part gives its device or connection back, and takes it anew."""
        for each in self._parts:
            if each.vital == vital:
                each.lose(cause)
                if isinstance(each.part, Reopening):
                    each.part.reopen()

    def restart(self, vital: str, cause: str) -> None:
        """The part begins anew."""
        for each in self._parts:
            if each.vital == vital:
                each.lose(cause)
                each.supervised.restart(cause)


def _reading(each: _Part, limit_s: float, now: float) -> Reading | None:
    failing_s = each.supervised.failing_s(now)
    if failing_s is not None:  # what it says of itself is of the life before
        return Reading(each.vital, failing_s, limit_s, each.supervised.excuse(now))
    if not isinstance(each.part, Pulsing):
        return None
    pulse, living_s = each.part.pulse, each.supervised.living_s(now)
    hung = pulse.thread_age_s is not None and min(pulse.thread_age_s, living_s) > limit_s
    return Reading(each.vital, min(pulse.age_s, living_s), limit_s, pulse.excuse, hung)
