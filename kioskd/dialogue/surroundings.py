"""What surrounds the conversation in every state: the button, the link, the faults, the sign being given. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from kioskd.config.schema import Conversation
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import (
    Event,
    Fault,
    FaultCleared,
    FaultRaised,
    Link,
    LinkChanged,
    Pressed,
    Released,
    SignFinished,
    Tick,
)

SIGN_SHOWN_S = 1.5  # long enough to be seen by somebody who looks up from the button
SIGN_SOUNDS_AT_MOST_S = 3.0  # an earcon whose end is never reported counts as over
CONVERSATION_NEEDS = frozenset({Fault.MICROPHONE, Fault.SPEAKER})


@define
class Surroundings:
    """All times are seconds of the caller's clock."""

    settings: Conversation
    link: Link = Link.DOWN
    faults: frozenset[Fault] = frozenset()
    button_down_since: float | None = None
    sign: Sign | None = None
    sign_given_at: float = 0.0
    signs_sounding: int = 0
    quiet_since: float | None = None  # since when the room holds no sound but a new visitor's

    def notice(self, event: Event, now: float) -> bool:
        """Keep up with `event`. False for an edge of the button that is none, and so means nothing."""
        match event:
            case Pressed():
                if self.button_down_since is not None:
                    return False
                self.button_down_since = now
            case Released():
                held = self.button_down_since is not None
                self._let_go()
                return held
            case FaultRaised(fault):
                self.faults |= {fault}
                if fault is Fault.PANEL:  # a button that can't be seen is not held
                    self._let_go()
            case FaultCleared(fault):
                self.faults -= {fault}
            case LinkChanged(link):
                self.link = link
            case SignFinished():
                self.signs_sounding = max(0, self.signs_sounding - 1)
                self.quiet_since = now
            case Tick():
                self._expire(now)
        return True

    def timers(self) -> Iterator[float]:
        """When something here changes by itself."""
        if self.sign:
            yield self._sign_ends_at
        if self.button_down_since is not None and Fault.BUTTON_STUCK not in self.faults:
            yield self.button_down_since + self.settings.stuck_button_s

    def give_sign(self, sign: Sign, now: float) -> None:
        """A sign begins, to eye and ear."""
        self.sign = sign
        self.sign_given_at = now
        self.signs_sounding += 1

    def end_sign(self, now: float) -> bool:
        """A press ends a sign. True if its sound has to be cut."""
        self.sign = None
        sounding = self.signs_sounding > 0 and now < self.sign_given_at + SIGN_SOUNDS_AT_MOST_S
        if sounding:
            self.quiet_since = now
        return sounding

    @property
    def can_converse(self) -> bool:
        """Nobody is invited to talk to nobody."""
        return self.link is not Link.REFUSED and not self.faults & CONVERSATION_NEEDS

    def pre_roll_ms(self, now: float) -> int:
        """How far a new utterance reaches back without taking in what was said or played before."""
        if self.quiet_since is None:
            return self.settings.pre_roll_ms
        return max(0, min(self.settings.pre_roll_ms, int((now - self.quiet_since) * 1000)))

    @property
    def _sign_ends_at(self) -> float:
        return self.sign_given_at + SIGN_SHOWN_S

    def _let_go(self) -> None:
        self.button_down_since = None
        self.faults -= {Fault.BUTTON_STUCK}

    def _expire(self, now: float) -> None:
        if self.sign and now >= self._sign_ends_at:
            self.sign = None
        down = self.button_down_since
        if down is not None and now >= down + self.settings.stuck_button_s:
            self.faults |= {Fault.BUTTON_STUCK}
