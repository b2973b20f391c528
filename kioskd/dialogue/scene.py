"""The conversation as it stands, and what can happen to it. PURE."""

from __future__ import annotations

from attrs import define, field

from kioskd.config.schema import Conversation, CutAnswer
from kioskd.dialogue.effects import (
    AskAgain,
    CancelAnswer,
    ContinueAnswer,
    CutSign,
    DiscardUtterance,
    Effect,
    EndUtterance,
    Exit,
    GiveSign,
    Show,
    Sign,
    State,
    StopSpeaking,
    View,
)
from kioskd.dialogue.events import Link
from kioskd.dialogue.surroundings import Surroundings
from kioskd.dialogue.turn import RESUMED_AT_MOST, Question, Turn
from kioskd.value import Changing

HELD_AFTER_S = 0.3  # a tap is shorter (panel.button.tap_ms)


@define(eq=False, repr=False)
class Scene(Changing):
    """The conversation as it stands, and the effects of the event at hand. Bounded: one turn, and no sound."""

    settings: Conversation
    around: Surroundings
    state: State = State.STARTING
    turn: Turn | None = None
    turns: int = 0
    silencing: int | None = None  # the turn whose `SpeakingStopped` is awaited
    visitor_seen_at: float | None = None  # None: there is nothing to forget
    repeatable: bool = False  # this visitor was given an answer
    stop_by: float | None = None
    late_press_at: float | None = None  # a press that means nothing, unless it is held
    effects: list[Effect] = field(factory=list)

    @property
    def view(self) -> View:
        """What can be seen from outside."""
        return View(self.state, self.around.link, self.around.faults, self.around.sign, self.around.limited)

    @property
    def current(self) -> Turn:
        """The turn that listening, thinking and speaking are states of."""
        assert self.turn is not None
        return self.turn

    def give_sign(self, sign: Sign, now: float) -> None:
        """A word to the visitor."""
        self.around.give_sign(sign, now)
        self.effects.append(GiveSign(sign))

    def cut_sign(self, now: float) -> None:
        """A press ends the sign that is being given."""
        if self.around.end_sign(now):
            self.effects.append(CutSign())

    def cut_interim_sign(self, now: float) -> None:
        """No answer waits for a sign that it makes needless."""
        if self.around.end_interim_sign(now):
            self.effects.append(CutSign())

    def tell_outage(self, now: float) -> None:
        """The visitor waits for an answer that the lost link will delay: told once an outage, in no utterance."""
        waits = self.state is State.THINKING and self.current.visitors and self.current.utterance_ended
        if waits and self.around.outage_untold:
            self.around.outage_untold = False
            self.give_sign(Sign.CONNECTION_LOST, now)

    def end_turn(self, now: float) -> None:
        """The kiosk is free for the next press."""
        match self.state:
            case State.LISTENING:
                self.around.said_until = now
            case State.SPEAKING:
                self.around.sounded_until = now
            case State.THINKING if self.current.chirps:
                self.around.sounded_until = now
        last = self.turn is not None and self.turn.last
        self.turn = None
        self.state = State.READY
        if self.visitor_seen_at is not None:
            self.visitor_seen_at = now - self.settings.forget_after_s if last else now

    def give_up_on_answer(self) -> None:
        """Nothing of the turn under way was heard, and nothing of it will be."""
        turn = self.current
        if turn.asked:
            self.effects.append(CancelAnswer(turn.number))
        elif turn.visitors:
            self.effects.append(DiscardUtterance(turn.number))

    def silence(self) -> None:
        """The answer under way is broken off: it ends in an `Interrupt` as soon as it is known what was heard."""
        self.silencing = self.current.number
        self.effects.append(StopSpeaking(self.silencing))

    def abandon(self, sign: Sign, now: float) -> None:
        """The turn ends here, with a sign instead of an answer."""
        self.give_up_on_answer()
        self.end_turn(now)
        self.give_sign(sign, now)

    def apologise(self, now: float) -> None:
        """The turn is over without the answer it deserved."""
        self.end_turn(now)
        self.give_sign(Sign.SORRY, now)

    def mend_answer(self, now: float) -> None:
        """An answer broke off in the middle: its rest, the whole of it again, or an apology."""
        turn, how = self.current, self.settings.cut_answer
        hopeless = turn.resumed >= RESUMED_AT_MOST or not turn.visitors or not self.around.can_converse
        if how is CutAnswer.APOLOGISE or hopeless:
            self.apologise(now)
            return
        self.around.sounded_until = now
        self.turns += 1
        self.turn = turn.resume(self.turns, now)
        self.state = State.THINKING
        again = how is CutAnswer.REPEAT
        self.effects.append(AskAgain(self.turns, turn.number) if again else ContinueAnswer(self.turns))

    def end_utterance(self, post_roll_ms: int, now: float) -> None:
        """The visitor has said it."""
        turn = self.current
        turn.released_at = self.around.said_until = now
        self.state = State.THINKING
        self.effects.append(EndUtterance(turn.number, post_roll_ms))

    def ask_when_silent(self, now: float) -> None:
        """Ask, unless the answer before is still falling silent: its end belongs before the question."""
        turn = self.current
        if turn.utterance_ended and not turn.asked and self.silencing is None:
            turn.asked = True
            self.effects.append(turn.ask())
            if turn.visitors or self.visitor_seen_at is not None:
                self.visitor_seen_at = now
            if turn.visitors and self.around.link is Link.UP and self.around.may_tell_sent(now):
                self.give_sign(Sign.SENT, now)

    def say(self, question: Question, now: float, words: int = 0) -> None:
        """A turn without an utterance: the kiosk has something to say by itself."""
        self.turns += 1
        self.turn = Turn(self.turns, now, question, words, released_at=now, utterance_ended=True)
        self.state = State.THINKING
        self.ask_when_silent(now)

    @property
    def held_on_at(self) -> float | None:
        """When a late press, still down, is no tap any more."""
        down = self.late_press_at is not None and self.around.button_down_since == self.late_press_at
        return self.late_press_at + HELD_AFTER_S if down and self.late_press_at is not None else None

    def leave(self) -> None:
        """There is no way back from here."""
        self.turn = None
        self.around.sign = None
        self.state = State.STOPPED
        self.effects += [Show(self.view), Exit()]
