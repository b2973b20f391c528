"""All that can happen to the kiosk. Every event of a turn carries the turn's number."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from kioskd.value import Value


class Link(Enum):
    """What the connection to whoever answers is like."""

    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"
    REFUSED = "refused"  # only the owner can mend it: a bad key, no credit, an unknown model


class Fault(Enum):
    """What the kiosk lacks and goes on without, until it comes back."""

    MICROPHONE = "microphone"
    SPEAKER = "speaker"
    PANEL = "panel"
    BUTTON_STUCK = "button-stuck"
    MICROPHONE_DEAF = "microphone-deaf"  # so says the self-test, which may be wrong: the kiosk goes on answering
    SPEAKER_DEAD = "speaker-dead"  # as above


class Ending(Enum):
    """How an answer ended at whoever gave it (it may still be playing)."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"  # the answerer stopped by a limit or a filter of its own
    CUT = "cut"  # the connection went away in the middle
    FAILED = "failed"


class Speaker(Enum):
    """Who said a piece of text."""

    VISITOR = "visitor"
    KIOSK = "kiosk"


@frozen(eq=False, repr=False)
class Bare(Value):
    """Says all by its class.

    Kinds with the same fields derive from one class that attrs makes: each of these costs the start 0.3 ms.
    """


@frozen(eq=False, repr=False)
class OfTurn(Value):
    """As above, of a turn."""

    turn: int


@frozen(eq=False, repr=False)
class _Heard(OfTurn):
    """As above, of a turn whose answer was heard so far."""

    heard_ms: int


class Started(Bare):
    """Every part has been started once; the kiosk takes visitors."""

    __slots__ = ()


class Pressed(Bare):
    """The push-to-talk button went down (debounced)."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Released(Value):
    """The push-to-talk button went up (debounced), `late_ms` ago: so long it was watched for a finger's slip."""

    late_ms: int = 0


class Tapped(Bare):
    """The button went up so soon that it was a tap: the utterance goes on without a finger."""

    __slots__ = ()


class DoublePressed(Bare):
    """The button went down for the second time in a double press."""

    __slots__ = ()


class FoundHeld(Bare):
    """The button was down when the panel was opened: nobody has pressed it."""

    __slots__ = ()


class OwnerPressed(Bare):
    """The owner's button was pressed briefly."""

    __slots__ = ()


class OwnerHeld(Bare):
    """The owner's button is being held."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class OwnerSays(Value):
    """The owner, from afar, has something said: `words` is its number, the sound stays with whoever brought it."""

    words: int


@frozen(eq=False, repr=False)
class CheckDue(Value):
    """Speaker and microphone are to be tested; `alone`: only where no visitor is about."""

    alone: bool = False


class SoundChecked(OfTurn):
    """A test is over (after `CheckSound`), however it went."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class FellSilent(Value):
    """The visitor has been quiet for long enough (after `AwaitSilence`); `spoke` is False where nothing was said."""

    turn: int
    spoke: bool


@frozen(eq=False, repr=False)
class UtteranceEnded(Value):
    """The last block of a turn's utterance, post-roll included, has been recorded."""

    turn: int
    duration_ms: int


@frozen(eq=False, repr=False)
class LinkChanged(Value):
    """The link is in another state; `cause` is one line for the owner.

    `limited`: whoever answers knows a few questions only, since none of the others can be reached.
    """

    link: Link
    cause: str = ""
    limited: bool = False


@frozen(eq=False, repr=False)
class FaultRaised(Value):
    """A part of the kiosk is missing; `cause` says what, where, and what to do."""

    fault: Fault
    cause: str = ""


@frozen(eq=False, repr=False)
class FaultCleared(Value):
    """A part that was missing is back."""

    fault: Fault


@frozen(eq=False, repr=False)
class AnswerAudio(Value):
    """A piece of an answer: `pcm` is passed on untouched, `duration_ms` is its length."""

    turn: int
    pcm: bytes
    duration_ms: float


@frozen(eq=False, repr=False)
class AnswerEnded(Value):
    """No more of this answer will come. `reason` is one line for the owner's log."""

    turn: int
    ending: Ending
    reason: str = ""


class GoodbyeSaid(OfTurn):
    """The visitor is leaving: with the end of this turn its conversation is over."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Transcript(Value):
    """What was said, as far as whoever answers tells (a whole text, not a piece)."""

    turn: int
    speaker: Speaker
    text: str


@frozen(eq=False, repr=False)
class Usage(Value):
    """What an answer cost, in tokens. `cached` are input tokens of a lower price."""

    turn: int
    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0

    @property
    def total(self) -> int:
        """All tokens, in and out."""
        return self.input_text + self.input_audio + self.output_text + self.output_audio


class SpeakingStarted(OfTurn):
    """The first frame of a turn's answer was handed to the sound card."""

    __slots__ = ()


class SpeakingFinished(_Heard):
    """All of a turn's answer was played to its end (after `FinishSpeaking`)."""

    __slots__ = ()


class SpeakingStopped(_Heard):
    """The speaker fell silent in mid-answer (after `StopSpeaking`), having played `heard_ms`."""

    __slots__ = ()


class SignFinished(Bare):
    """The sound of a sign has been played (or cut off)."""

    __slots__ = ()


class StopRequested(Bare):
    """SIGTERM or SIGINT: the kiosk is to go."""

    __slots__ = ()


class Tick(Bare):
    """`Kiosk.deadline` has passed."""

    __slots__ = ()


Event = (
    Started
    | Pressed
    | Released
    | Tapped
    | DoublePressed
    | FoundHeld
    | OwnerPressed
    | OwnerHeld
    | OwnerSays
    | CheckDue
    | SoundChecked
    | FellSilent
    | UtteranceEnded
    | LinkChanged
    | FaultRaised
    | FaultCleared
    | AnswerAudio
    | AnswerEnded
    | GoodbyeSaid
    | Transcript
    | Usage
    | SpeakingStarted
    | SpeakingFinished
    | SpeakingStopped
    | SignFinished
    | StopRequested
    | Tick
)
