"""One turn: from the press that opens it to the answer, apology, discard or sign that ends it. PURE."""

from __future__ import annotations

from attrs import define

from kioskd.config.schema import Conversation
from kioskd.dialogue.effects import Announce, Ask, CheckSound, RepeatAnswer, SayWords, TestSound
from kioskd.dialogue.events import Ending
from kioskd.value import Changing

RESUMED_AT_MOST = 2  # an answer that is cut a third time is not going to be whole
OWN_WORDS_S = 15.0  # to find them: a self-test takes six
PLAY_OUT_MARGIN_S = 13.0  # what the longest sign before it (8 s), underruns and the sink may add to an answer's length


Question = type[Ask | RepeatAnswer | Announce | TestSound | CheckSound | SayWords]


@define(eq=False, repr=False)
class Turn(Changing):
    """What the dialogue remembers of the current turn. All times are seconds of the caller's clock."""

    number: int
    pressed_at: float
    question: Question = Ask  # the effect that brings its answer about
    words: int = 0  # of SayWords: which
    released_at: float = 0.0
    hands_free: bool = False  # no finger says when the utterance is over
    asked: bool = False
    utterance_ended: bool = False
    ending: Ending | None = None
    stalled: bool = False
    resumed: int = 0  # so many answers to this press were cut
    last: bool = False  # of its visitor's
    last_audio_at: float = 0.0
    play_out_by: float = 0.0

    @property
    def visitors(self) -> bool:
        """False for words of the kiosk's own, which nobody asked an endpoint for."""
        return self.question is Ask

    @property
    def chirps(self) -> bool:
        """The self-test sounds in it."""
        return self.question in (TestSound, CheckSound)

    def ask(self) -> Ask | RepeatAnswer | Announce | TestSound | CheckSound | SayWords:
        """The effect that brings its answer about."""
        return SayWords(self.number, self.words) if self.question is SayWords else self.question(self.number)

    def resume(self, number: int, now: float) -> Turn:
        """The turn in which the rest of this one's answer is awaited."""
        return Turn(
            number, now, released_at=now, asked=True, utterance_ended=True, resumed=self.resumed + 1, last=self.last
        )

    def heard_more(self, duration_ms: float, now: float) -> None:
        """Another piece of the answer is queued behind what is still playing."""
        self.last_audio_at = now
        self.play_out_by = max(self.play_out_by, now) + duration_ms / 1000

    def end(self, ending: Ending, now: float) -> None:
        """No more of the answer comes; what is queued still plays out."""
        self.ending = ending
        self.play_out_by = max(self.play_out_by, now)

    def utterance_due(self, settings: Conversation) -> float:
        """When the utterance is long enough for anybody."""
        return self.pressed_at + settings.max_utterance_s

    def answer_due(self, settings: Conversation) -> float:
        """When the visitor has waited long enough for an answer to begin."""
        patience_s = settings.answer_timeout_s if self.visitors else max(settings.answer_timeout_s, OWN_WORDS_S)
        return self.released_at + patience_s

    def speaking_due(self, settings: Conversation) -> float:
        """When an answer that began must have gone on (while it comes in) or must have been played."""
        if self.ending is None:
            return self.last_audio_at + settings.answer_stall_s
        return self.play_out_by + PLAY_OUT_MARGIN_S
