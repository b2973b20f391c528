"""What the lamp shows: a pure function of what the kiosk does, the loudness, and the time. PURE.

Every situation has a rhythm of its own, told apart on a lamp that can only be on or off; brightness and colour
repeat it for lamps that can do more, and for eyes that can see them. No pattern flashes more than three times in
any second (WCAG 2.2, success criterion 2.3.1), and `FlashLimit` keeps that true while the patterns change.
"""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache

from attrs import frozen

from kioskd.dialogue.effects import Sign, State, View
from kioskd.dialogue.events import Fault, Link
from kioskd.value import Value

UPDATES_PER_SECOND = 20  # smooth to the eye, and 3 % of a core at most on software PWM
FLASHES_PER_SECOND = 3  # WCAG 2.2, 2.3.1
LIT_FROM = 0.5  # the brightness from which a lamp that knows only on and off is on
_CLOCK_SLACK_MS = 0.05  # a wake-up that is early by a rounding error counts as on time


@frozen(eq=False, repr=False)
class Light(Value):
    """The light of the lamp: red, green and blue, each 0.0 (dark) to 1.0 (full), as duty cycles."""

    red: float
    green: float
    blue: float

    @property
    def brightness(self) -> float:
        """The same for a lamp of one colour, 0.0 to 1.0."""
        return max(self.red, self.green, self.blue)

    @property
    def lit(self) -> bool:
        """The same for a lamp that can only be on or off."""
        return self.brightness >= LIT_FROM


DARK = Light(0.0, 0.0, 0.0)


@frozen(eq=False, repr=False)
class Step(Value):
    """One piece of a pattern: so long, so bright (0.0 to 1.0), or as bright as the sound is loud."""

    ms: int
    brightness: float
    follows_level: bool = False


@frozen(eq=False, repr=False)
class Pattern(Value):
    """Steps that repeat. Each colour's strongest part is 1.0, so that the brightness is the steps' own."""

    name: str
    color: tuple[float, float, float]
    steps: tuple[Step, ...]

    @property
    def period_ms(self) -> int:
        """The length of one round."""
        return sum(step.ms for step in self.steps)

    def step_at(self, elapsed: float) -> tuple[Step, int]:
        """The step that is shown `elapsed` seconds after the start, and when it ends, in ms after the start."""
        at_ms = math.floor(max(elapsed, 0.0) * 1000 + _CLOCK_SLACK_MS)
        end_ms = at_ms - at_ms % self.period_ms
        for step in self.steps:
            end_ms += step.ms
            if at_ms < end_ms:
                break
        return step, end_ms


_GREEN = (0.0, 1.0, 0.0)
_BLUE = (0.0, 0.2, 1.0)
_VIOLET = (0.6, 0.0, 1.0)
_CYAN = (0.0, 1.0, 0.8)
_AMBER = (1.0, 0.5, 0.0)
_RED = (1.0, 0.0, 0.0)
_WHITE = (1.0, 1.0, 1.0)


def _blink(*on_off_ms: int) -> tuple[Step, ...]:
    """On, off, on, off... for so many milliseconds each."""
    return tuple(Step(ms, 0.0 if index % 2 else 1.0) for index, ms in enumerate(on_off_ms))


def _count(flashes: int) -> tuple[Step, ...]:
    """A number to be counted: so many flashes, then a pause."""
    return (*_blink(*(200, 200) * (flashes - 1)), *_blink(200, 1600))


def _breathe(period_ms: int) -> tuple[Step, ...]:
    """Swell from full to nearly dark and back: half of the time lit, as fine as the updates allow."""
    step_ms = 1000 // UPDATES_PER_SECOND
    steps = period_ms // step_ms
    # Half a step of offset lights exactly one half of the steps.
    swell = (0.525 + 0.475 * math.sin(2 * math.pi * (index + 0.5) / steps) for index in range(steps))
    return tuple(Step(step_ms, round(brightness, 3)) for brightness in swell)


_VOICE = Step(200, 1.0, follows_level=True)
"""Light that follows a voice changes only five times a second: at the pace of syllables it would flicker."""


_NO_MICROPHONE = Pattern("no microphone", _RED, _count(2))
_NO_SPEAKER = Pattern("no speaker", _RED, _count(3))


@frozen(eq=False, repr=False)
class Rule(Value):
    """Show the pattern where everything that is given here is so."""

    pattern: Pattern
    state: State | None = None
    link: Link | None = None
    fault: Fault | None = None
    sign: Sign | None = None
    limited: bool | None = None

    def applies(self, view: View) -> bool:
        """True where no condition speaks against it."""
        return (
            self.state in (None, view.state)
            and self.link in (None, view.link)
            and self.sign in (None, view.sign)
            and self.limited in (None, view.limited)
            and (self.fault is None or self.fault in view.faults)
        )


RULES = (
    Rule(Pattern("too short", _AMBER, _blink(100, 250)), sign=Sign.TOO_SHORT),
    Rule(Pattern("limit reached", _AMBER, _blink(600, 150, 150, 150)), sign=Sign.LIMIT_REACHED),
    Rule(Pattern("out of order", _RED, (Step(300, 0.0), *_blink(300, 300, 900))), sign=Sign.OUT_OF_ORDER),
    Rule(Pattern("sorry", _AMBER, _blink(150, 200, 150, 200, 800, 200)), sign=Sign.SORRY),
    Rule(Pattern("connection lost", _AMBER, _blink(500, 400, 300, 400)), sign=Sign.CONNECTION_LOST),
    Rule(Pattern("off", _WHITE, (Step(1000, 0.0),)), state=State.STOPPED),
    Rule(Pattern("starting", _WHITE, _blink(500, 500)), state=State.STARTING),
    Rule(Pattern("listening", _BLUE, (Step(300, 1.0, follows_level=True), Step(200, 0.0))), state=State.LISTENING),
    Rule(Pattern("thinking", _VIOLET, _breathe(2000)), state=State.THINKING),
    Rule(Pattern("speaking", _CYAN, (_VOICE, _VOICE, _VOICE, _VOICE, Step(200, 0.0))), state=State.SPEAKING),
    Rule(Pattern("refused", _RED, _blink(2000, 1000)), link=Link.REFUSED),
    Rule(Pattern("button stuck", _RED, _count(4)), fault=Fault.BUTTON_STUCK),
    Rule(_NO_MICROPHONE, fault=Fault.MICROPHONE),
    Rule(_NO_SPEAKER, fault=Fault.SPEAKER),
    Rule(Pattern("panel trouble", _RED, _count(5)), fault=Fault.PANEL),
    Rule(Pattern("no connection", _AMBER, _blink(400, 2600)), link=Link.DOWN),
    Rule(Pattern("connecting", _AMBER, _blink(200, 800)), link=Link.CONNECTING),
    Rule(_NO_MICROPHONE, fault=Fault.MICROPHONE_DEAF),  # so says the self-test
    Rule(_NO_SPEAKER, fault=Fault.SPEAKER_DEAD),
    Rule(Pattern("few questions", _GREEN, _blink(3000, 250, 250, 250)), link=Link.UP, limited=True),
    Rule(Pattern("ready", _GREEN, (Step(1000, 1.0),))),
)
"""What the lamp shows, the most important first: the first rule that applies counts.

The signs LISTENING, SENT and FAULT are for the ear: the lamp goes on showing what the kiosk does, or which fault it is.
"""


@lru_cache(maxsize=64)  # it is asked several times for each change of the light
def pattern_of(view: View) -> Pattern:
    """The pattern of the first rule that applies; the last one always does."""
    return next(rule.pattern for rule in RULES if rule.applies(view))


def _switched(pattern: Pattern) -> Pattern:
    """The same in fewer steps: on or off."""
    steps: list[Step] = []
    for step in pattern.steps:
        on = 1.0 if step.follows_level or step.brightness >= LIT_FROM else 0.0
        before = steps.pop().ms if steps and steps[-1].brightness == on else 0
        steps.append(Step(before + step.ms, on))
    return Pattern(pattern.name, pattern.color, tuple(steps))


@lru_cache(maxsize=64)  # as `pattern_of`
def _shown(view: View, dims: bool) -> Pattern:
    pattern = pattern_of(view)
    return pattern if dims else _switched(pattern)


def lamp(view: View, level: float, elapsed: float, dims: bool = True) -> Light:
    """The light of a view: `level` is the loudness (RMS, 0.0 to 1.0), `elapsed` the seconds since its pattern began.

    A lamp that only knows on and off (`dims` is False) changes less often, and follows no level. The pattern's
    beginning is what makes a press answered at once. Between two times that `next_change` tells, nothing changes but
    the level, which must not be followed there.
    """
    pattern = _shown(view, dims)
    step, _ = pattern.step_at(elapsed)
    brightness = _loud(level) if step.follows_level else step.brightness
    red, green, blue = pattern.color
    return Light(red * brightness, green * brightness, blue * brightness)


def next_change(view: View, elapsed: float, dims: bool = True) -> float | None:
    """When the light of this view changes next, in seconds since its pattern began; None if never."""
    pattern = _shown(view, dims)
    if len(pattern.steps) == 1:
        return None
    return pattern.step_at(elapsed)[1] / 1000


def _loud(level: float) -> float:
    """Half lit in silence, full at full scale; the root lifts speech, whose RMS is about 0.1, into view."""
    clean = min(max(level, 0.0), 1.0) if math.isfinite(level) else 0.0
    return LIT_FROM + (1.0 - LIT_FROM) * math.sqrt(clean)


class FlashLimit:
    """Keeps the flashes under the limit however fast the patterns change, by lighting up a little later."""

    def __init__(self) -> None:
        self._lit = False
        self._flashes: deque[float] = deque(maxlen=FLASHES_PER_SECOND)

    def limit(self, light: Light, now: float) -> tuple[Light, float | None]:
        """The light that may be shown now, and when to ask again if it isn't the one that was wanted."""
        if light.lit and not self._lit:
            if len(self._flashes) == FLASHES_PER_SECOND and now < (free := self._flashes[0] + 1.0):
                return DARK, free
            self._flashes.append(now)
        self._lit = light.lit
        return light, None
