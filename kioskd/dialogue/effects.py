"""All that the kiosk can ask for. What takes time ends in the event that its docstring names."""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from kioskd.dialogue.events import Bare, Fault, Link, OfTurn
from kioskd.value import Value


class State(Enum):
    """Where the conversation stands."""

    STARTING = "starting"
    READY = "ready"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    STOPPED = "stopped"


class Sign(Enum):
    """A short word to the visitor, by lamp and by sound."""

    LISTENING = "listening"
    SENT = "sent"
    TOO_SHORT = "too-short"
    LIMIT_REACHED = "limit-reached"
    OUT_OF_ORDER = "out-of-order"
    SORRY = "sorry"
    CONNECTION_LOST = "connection-lost"
    FAULT = "fault"


@frozen(eq=False, repr=False)
class View(Value):
    """What can be seen of the kiosk from outside: all that the lamp depends on, but level and time."""

    state: State
    link: Link
    faults: frozenset[Fault] = field(factory=frozenset)
    sign: Sign | None = None
    limited: bool = False  # few questions can be answered


@frozen(eq=False, repr=False)
class BeginUtterance(Value):
    """Record a turn's utterance, beginning `pre_roll_ms` ago, and send it as it grows.

    Negative: it begins only so long from now, when the kiosk's own sound has died away.
    """

    turn: int
    pre_roll_ms: int


class AwaitSilence(OfTurn):
    """Nobody will say when this turn's utterance is over: listen for its end -> `FellSilent`."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class EndUtterance(Value):
    """Record for `post_roll_ms` more, then end the utterance -> `UtteranceEnded`."""

    turn: int
    post_roll_ms: int


class DiscardUtterance(OfTurn):
    """Stop recording and throw away what was recorded: nobody is to hear or keep it."""

    __slots__ = ()


class Ask(OfTurn):
    """The utterance is whole: ask for its answer -> `AnswerAudio`..., `AnswerEnded`."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class AskAgain(Value):
    """Ask the utterance of a turn whose answer was cut once more, as `turn`."""

    turn: int
    cut_turn: int


class ContinueAnswer(OfTurn):
    """The answer before was cut: ask for the rest of it, as `turn`."""

    __slots__ = ()


class RepeatAnswer(OfTurn):
    """Say the last answer to this visitor once more, as `turn` -> `AnswerAudio`..., `AnswerEnded`."""

    __slots__ = ()


class Announce(OfTurn):
    """Say to the owner what the kiosk is and how it is, as `turn` -> `AnswerAudio`..., `AnswerEnded`."""

    __slots__ = ()


class TestSound(OfTurn):
    """Test speaker and microphone, and say to the owner what came of it -> `AnswerAudio`..., `AnswerEnded`."""

    __slots__ = ()


class CheckSound(OfTurn):
    """Test speaker and microphone, and say nothing of it -> `SoundChecked`."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class SayWords(Value):
    """Say the words of an `OwnerSays`, as `turn` -> `AnswerAudio`..., `AnswerEnded`."""

    turn: int
    words: int = 0


class CancelAnswer(OfTurn):
    """Nobody waits for this turn's answer any more; nothing of it was heard."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Interrupt(Value):
    """The visitor broke into this answer after `heard_ms` of it."""

    turn: int
    heard_ms: int


class ForgetVisitor(Bare):
    """The visitor has gone: the next one begins with nothing of this conversation."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Play(Value):
    """Queue a piece of a turn's answer on the speaker -> `SpeakingStarted` at the first."""

    turn: int
    pcm: bytes


class FinishSpeaking(OfTurn):
    """No more of this answer comes: play what is queued -> `SpeakingFinished`."""

    __slots__ = ()


class StopSpeaking(OfTurn):
    """Be silent at once, drop what is queued -> `SpeakingStopped`."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class GiveSign(Value):
    """Play a sign's sound -> `SignFinished`."""

    sign: Sign


class CutSign(Bare):
    """Cut the sound of the sign that is playing."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class Show(Value):
    """The lamp shows this from now on."""

    view: View


class Exit(Bare):
    """The conversation is over for good: close everything and leave."""

    __slots__ = ()


Effect = (
    BeginUtterance
    | AwaitSilence
    | EndUtterance
    | DiscardUtterance
    | Ask
    | AskAgain
    | ContinueAnswer
    | RepeatAnswer
    | Announce
    | TestSound
    | CheckSound
    | SayWords
    | CancelAnswer
    | Interrupt
    | ForgetVisitor
    | Play
    | FinishSpeaking
    | StopSpeaking
    | GiveSign
    | CutSign
    | Show
    | Exit
)
