"""What was measured, of one question and of many. PURE."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from attrs import field, frozen

from kioskd.probe.figures import Spread, summary


class Takes(Enum):
    """What a question goes in as, and what the first of its answer is."""

    TEXT = "text in, first word"
    VOICE = "voice in, first sound"

    @property
    def short(self) -> str:
        """In one word."""
        return self.value.partition(" ")[0]


@frozen
class Asked:
    """One question. Times are ms since it was asked. `cost` in nanos of the owner's currency; None: no price is known.

    `estimated`: the tokens were not told, but guessed from what came. `failure` is why there was no answer, or no more
    of it.
    """

    first_ms: float | None = None
    total_ms: float | None = None
    tokens: int | None = None
    estimated: bool = False
    cost: int | None = None
    failure: str = ""

    @property
    def tokens_per_s(self) -> float | None:
        """Of the whole answer, from asking to its end: the same measure for a stream and for one piece."""
        if self.failure or not self.total_ms or self.tokens is None:
            return None
        return self.tokens * 1000 / self.total_ms


@frozen
class Series:
    """The same question several times, `at_once` of them at a time. `wanted`: how many there were to be."""

    wanted: int
    at_once: int
    asked: tuple[Asked, ...] = ()

    @property
    def answered(self) -> int:
        """How many were answered to the end."""
        return sum(not one.failure for one in self.asked)

    @property
    def failed(self) -> int:
        """How many were not."""
        return len(self.asked) - self.answered

    @property
    def first_ms(self) -> Spread | None:
        """Until the first word or sound, of those that were answered."""
        return summary([one.first_ms for one in self.asked if not one.failure])

    @property
    def total_ms(self) -> Spread | None:
        """Until the end."""
        return summary([one.total_ms for one in self.asked if not one.failure])

    @property
    def tokens_per_s(self) -> Spread | None:
        """See `Asked`."""
        return summary([one.tokens_per_s for one in self.asked])

    @property
    def cost(self) -> Spread | None:
        """Of a question, in nanos."""
        return summary([one.cost for one in self.asked if not one.failure])

    @property
    def estimated(self) -> bool:
        """Whether any of the tokens, and so of the costs, was guessed."""
        return any(one.estimated for one in self.asked if not one.failure)

    @property
    def failures(self) -> list[tuple[str, int]]:
        """Why, and how often; the commonest first."""
        return Counter(one.failure for one in self.asked if one.failure).most_common()


@frozen
class Steps:
    """How long each step of a connection took, in ms; None: there was no such step, or it was part of another."""

    name_ms: float | None = None
    tcp_ms: float | None = None
    tls_ms: float | None = None
    upgrade_ms: float | None = None

    @property
    def all_ms(self) -> float:
        """Together."""
        return sum(each or 0.0 for each in (self.name_ms, self.tcp_ms, self.tls_ms, self.upgrade_ms))


STEPS = ("name_ms", "tcp_ms", "tls_ms", "upgrade_ms", "all_ms")


@frozen
class WayResult:
    """One way to an endpoint. `configured`: it is the one in the settings. `absent`: why it was not measured."""

    label: str
    takes: Takes
    configured: bool
    steps: tuple[Steps, ...] = ()
    series: tuple[Series, ...] = ()
    absent: str = ""
    notes: tuple[str, ...] = ()

    def step(self, name: str) -> Spread | None:
        """One of `STEPS`."""
        return summary([getattr(each, name) for each in self.steps])


@frozen
class KeyResult:
    """Whether the key is taken. `asked`: who said so (a path); empty: nobody could be asked. Credits where told."""

    asked: str = ""
    credits_left: float | None = None
    failure: str = ""


@frozen
class EndpointResult:
    """One endpoint of the settings. `unverified`: what of its settings no public source confirms."""

    name: str
    kind: str
    model: str
    host: str
    key: KeyResult = field(factory=KeyResult)
    ways: tuple[WayResult, ...] = ()
    unverified: tuple[str, ...] = ()
