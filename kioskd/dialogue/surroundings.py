"""What surrounds the conversation in every state: the button, the link, the faults, the sign being given. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from kioskd.config.schema import Audio, Conversation, Echo
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import (
    DoublePressed,
    Event,
    Fault,
    FaultCleared,
    FaultRaised,
    FoundHeld,
    Link,
    LinkChanged,
    Pressed,
    Released,
    SignFinished,
    Tapped,
    Tick,
)
from kioskd.value import Changing

SIGN_SHOWN_S = 1.5  # long enough to be seen by somebody who looks up from the button
SIGN_SOUNDS_AT_MOST_S = 8.0  # a sound whose end is never reported counts as over; a spoken apology is shorter
FOR_THE_EAR = frozenset({Sign.LISTENING, Sign.SENT, Sign.FAULT})  # the lamp shows the state, or the fault itself
NO_SOUND = "none"  # in audio.sounds
INTERIM = frozenset(
    {Sign.LISTENING, Sign.SENT, Sign.CONNECTION_LOST}
)  # an answer may still come, and makes them needless
CONVERSATION_NEEDS = frozenset({Fault.MICROPHONE, Fault.SPEAKER})
UNMEASURED_TAIL_MS = 150  # a furnished room, a loudspeaker on a wire
CANCELLED = frozenset({Echo.HARDWARE, Echo.SOFTWARE})  # the kiosk's own sound is taken out of what is recorded


@define(eq=False, repr=False)
class Surroundings(Changing):
    """All times are seconds of the caller's clock."""

    settings: Conversation
    audio: Audio
    link: Link = Link.DOWN
    limited: bool = False
    faults: frozenset[Fault] = frozenset()
    button_down_since: float | None = None
    sign: Sign | None = None
    sign_given_at: float = 0.0
    sounding: Sign | None = None  # the one whose sound was begun last
    sound_given_at: float = 0.0
    signs_sounding: int = 0
    said_until: float | None = None  # when the utterance before ended
    sounded_until: float | None = None  # when the kiosk's last sound left the card; what follows is the echo's tail
    outage_untold: bool = False  # the link is lost, and no visitor knows

    def notice(self, event: Event, now: float) -> bool:
        """Keep up with `event`. False for an edge of the button that is none, and so means nothing."""
        match event:
            case Pressed() | FoundHeld():
                if self.button_down_since is not None:
                    return False
                self.button_down_since = now
            case DoublePressed():  # the release before it is not told apart
                self.button_down_since = now
            case Released() | Tapped():
                held = self.button_down_since is not None
                self._let_go()
                return held
            case FaultRaised(fault):
                self.faults |= {fault}
                if fault is Fault.PANEL:  # a button that can't be seen is not held
                    self._let_go()
            case FaultCleared(fault):
                self.faults -= {fault}
            case LinkChanged(link, limited=limited):
                self.outage_untold = link is not Link.UP and (self.outage_untold or self.link is Link.UP)
                self.link, self.limited = link, limited
            case SignFinished():
                self.signs_sounding = max(0, self.signs_sounding - 1)
                self.sounded_until = now
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
        if sign not in FOR_THE_EAR:
            self.sign = sign
            self.sign_given_at = now
        self.sounding = sign
        self.sound_given_at = now
        self.signs_sounding += 1

    def end_sign(self, now: float) -> bool:
        """A press ends a sign. True if its sound has to be cut."""
        self.sign = None
        sounds = self.sign_sounds(now)
        if sounds:
            self.sounded_until = now
        return sounds

    def end_interim_sign(self, now: float) -> bool:
        """An answer ends what bridged the wait for it. True if its sound has to be cut."""
        return self.sounding in INTERIM and self.end_sign(now)

    def may_tell_sent(self, now: float) -> bool:
        """The owner wants to hear that a question is on its way, and nothing else is being told."""
        return self.audio.signs and self.audio.sounds.sent != NO_SOUND and not self.sign_sounds(now)

    @property
    def may_tell_listening(self) -> bool:
        """The owner wants to hear that the kiosk listens, and it won't hear that itself."""
        wanted = self.audio.signs and self.audio.sounds.listening != NO_SOUND
        return wanted and self.audio.echo in CANCELLED

    def sign_sounds(self, now: float) -> bool:
        """True while the sound of a sign may be heard."""
        return self.signs_sounding > 0 and now < self.sound_given_at + SIGN_SOUNDS_AT_MOST_S

    @property
    def can_converse(self) -> bool:
        """Nobody is invited to talk to nobody."""
        return self.link is not Link.REFUSED and not self.faults & CONVERSATION_NEEDS

    def pre_roll_ms(self, now: float) -> int:
        """How far a new utterance reaches back without taking in what was said or, with the gate, played before.

        Negative where the kiosk's own sound has not died away yet.
        """
        reach = [self.settings.pre_roll_ms]
        if self.said_until is not None:
            reach.append(int((now - self.said_until) * 1000))
        if self.sounded_until is not None and self.audio.echo is Echo.GATE:
            reach.append(int((now - self.sounded_until) * 1000) - self.echo_tail_ms)
        return min(reach)

    @property
    def echo_tail_ms(self) -> int:
        """How long the kiosk's own sound goes on after it left the sound card."""
        return UNMEASURED_TAIL_MS if self.audio.echo_tail_ms is None else self.audio.echo_tail_ms

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
