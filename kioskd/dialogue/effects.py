"""All that the kiosk can ask for. What takes time ends in the event that its docstring names."""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from kioskd.dialogue.events import Fault, Link


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


@frozen
class View:
    """What can be seen of the kiosk from outside: all that the lamp depends on, but level and time."""

    state: State
    link: Link
    faults: frozenset[Fault] = field(factory=frozenset)
    sign: Sign | None = None
    limited: bool = False  # few questions can be answered


@frozen
class BeginUtterance:
    """Record a turn's utterance, beginning `pre_roll_ms` ago, and send it as it grows.

    Negative: it begins only so long from now, when the kiosk's own sound has died away.
    """

    turn: int
    pre_roll_ms: int


@frozen
class AwaitSilence:
    """Nobody will say when this turn's utterance is over: listen for its end -> `FellSilent`."""

    turn: int


@frozen
class EndUtterance:
    """Record for `post_roll_ms` more, then end the utterance -> `UtteranceEnded`."""

    turn: int
    post_roll_ms: int


@frozen
class DiscardUtterance:
    """Stop recording and throw away what was recorded: nobody is to hear or keep it."""

    turn: int


@frozen
class Ask:
    """The utterance is whole: ask for its answer -> `AnswerAudio`..., `AnswerEnded`."""

    turn: int


@frozen
class AskAgain:
    """Ask the utterance of a turn whose answer was cut once more, as `turn`."""

    turn: int
    cut_turn: int


@frozen
class ContinueAnswer:
    """The answer before was cut: ask for the rest of it, as `turn`."""

    turn: int


@frozen
class RepeatAnswer:
    """Say the last answer to this visitor once more, as `turn` -> `AnswerAudio`..., `AnswerEnded`."""

    turn: int


@frozen
class Announce:
    """Say to the owner what the kiosk is and how it is, as `turn` -> `AnswerAudio`..., `AnswerEnded`."""

    turn: int


@frozen
class TestSound:
    """Test speaker and microphone, and say to the owner what came of it -> `AnswerAudio`..., `AnswerEnded`."""

    turn: int


@frozen
class CheckSound:
    """Test speaker and microphone, and say nothing of it -> `SoundChecked`."""

    turn: int


@frozen
class SayWords:
    """Say the words of an `OwnerSays`, as `turn` -> `AnswerAudio`..., `AnswerEnded`."""

    turn: int
    words: int = 0


@frozen
class CancelAnswer:
    """Nobody waits for this turn's answer any more; nothing of it was heard."""

    turn: int


@frozen
class Interrupt:
    """The visitor broke into this answer after `heard_ms` of it."""

    turn: int
    heard_ms: int


@frozen
class ForgetVisitor:
    """The visitor has gone: the next one begins with nothing of this conversation."""


@frozen
class Play:
    """Queue a piece of a turn's answer on the speaker -> `SpeakingStarted` at the first."""

    turn: int
    pcm: bytes


@frozen
class FinishSpeaking:
    """No more of this answer comes: play what is queued -> `SpeakingFinished`."""

    turn: int


@frozen
class StopSpeaking:
    """Be silent at once, drop what is queued -> `SpeakingStopped`."""

    turn: int


@frozen
class GiveSign:
    """Play a sign's sound -> `SignFinished`."""

    sign: Sign


@frozen
class CutSign:
    """Cut the sound of the sign that is playing."""


@frozen
class Show:
    """The lamp shows this from now on."""

    view: View


@frozen
class Exit:
    """The conversation is over for good: close everything and leave."""


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
