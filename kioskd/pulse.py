"""How a part shows that it moves, and what else the daemon may ask of one that can do it. PURE."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from attrs import frozen

from kioskd.config.schema import Settings
from kioskd.value import Value


@frozen(eq=False, repr=False)
class Pulse(Value):
    """A part's own word about itself.

    Attributes:
        age_s: Seconds since it last moved.
        excuse: What is absent, and until when: then it needn't move.
        thread_age_s: Since its thread last turned; None: it has no thread of its own.
    """

    age_s: float
    excuse: str = ""
    thread_age_s: float | None = None


@runtime_checkable
class Pulsing(Protocol):
    """A part with a pulse. One without (a WAV file) can't stand still."""

    @property
    def pulse(self) -> Pulse:
        """How it is now. In the trio thread; returns at once."""


@runtime_checkable
class Reopening(Protocol):
    """A part whose device or connection can be given back and taken anew."""

    def reopen(self) -> None:
        """Do so as soon as possible. In the trio thread; returns at once."""


@runtime_checkable
class Adjustable(Protocol):
    """A part that can live by other settings than those that it was made of."""

    def adjust(self, settings: Settings) -> None:
        """They count from now on. In the trio thread; returns at once.

        What `config.effect` wants to be opened anew is different only at a moment when nobody talks.
        """
