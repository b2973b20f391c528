"""What an event does to the conversation: the cells of the table. PURE."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from kioskd.config.schema import Conversation, CutAnswer
from kioskd.dialogue.effects import (
    Ask,
    AskAgain,
    BeginUtterance,
    CancelAnswer,
    ContinueAnswer,
    CutSign,
    DiscardUtterance,
    Effect,
    EndUtterance,
    Exit,
    FinishSpeaking,
    ForgetVisitor,
    GiveSign,
    Interrupt,
    Play,
    Show,
    Sign,
    State,
    StopSpeaking,
    View,
)
from kioskd.dialogue.events import (
    AnswerAudio,
    AnswerEnded,
    Ending,
    Event,
    Fault,
    FaultRaised,
    Link,
    LinkChanged,
    SpeakingFinished,
    SpeakingStopped,
)
from kioskd.dialogue.surroundings import Surroundings
from kioskd.dialogue.turn import RESUMED_AT_MOST, Turn


@define
class Scene:
    """The conversation as it stands, and the effects of the event at hand. Bounded: one turn, and no sound."""

    settings: Conversation
    around: Surroundings
    state: State = State.STARTING
    turn: Turn | None = None
    turns: int = 0
    silencing: int | None = None  # the turn whose `SpeakingStopped` is awaited
    visitor_seen_at: float | None = None  # None: there is nothing to forget
    stop_by: float | None = None
    effects: list[Effect] = field(factory=list)

    @property
    def view(self) -> View:
        """What can be seen from outside."""
        return View(self.state, self.around.link, self.around.faults, self.around.sign)

    @property
    def current(self) -> Turn:
        """The turn that listening, thinking and speaking are states of."""
        assert self.turn is not None
        return self.turn

    def give_sign(self, sign: Sign, now: float) -> None:
        """A word to the visitor."""
        self.around.give_sign(sign, now)
        self.effects.append(GiveSign(sign))

    def end_turn(self, now: float) -> None:
        """The kiosk is free for the next press."""
        if self.state is not State.THINKING:  # nothing was said or played while it thought
            self.around.quiet_since = now
        self.turn = None
        self.state = State.READY
        if self.visitor_seen_at is not None:
            self.visitor_seen_at = now

    def give_up_on_answer(self) -> None:
        """Nothing of the turn under way was heard, and nothing of it will be."""
        turn = self.current
        self.effects.append(CancelAnswer(turn.number) if turn.asked else DiscardUtterance(turn.number))

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
        if how is CutAnswer.APOLOGISE or turn.resumed >= RESUMED_AT_MOST or not self.around.can_converse:
            self.apologise(now)
            return
        self.around.quiet_since = now  # what was played until now is nothing a visitor said
        self.turns += 1
        self.turn = turn.resume(self.turns, now)
        self.state = State.THINKING
        again = how is CutAnswer.REPEAT
        self.effects.append(AskAgain(self.turns, turn.number) if again else ContinueAnswer(self.turns))

    def end_utterance(self, post_roll_ms: int, now: float) -> None:
        """The visitor has said it."""
        turn = self.current
        turn.released_at = self.around.quiet_since = now
        self.state = State.THINKING
        self.effects.append(EndUtterance(turn.number, post_roll_ms))

    def ask_when_silent(self, now: float) -> None:
        """Ask, unless the answer before is still falling silent: its end belongs before the question."""
        turn = self.current
        if turn.utterance_ended and not turn.asked and self.silencing is None:
            turn.asked = True
            self.visitor_seen_at = now
            self.effects.append(Ask(turn.number))

    def leave(self) -> None:
        """There is no way back from here."""
        self.turn = None
        self.around.sign = None
        self.state = State.STOPPED
        self.effects += [Show(self.view), Exit()]


def ignored(scene: Scene, event: Any, now: float) -> None:
    """The event can't matter in this state."""


def opened(scene: Scene, event: Event, now: float) -> None:
    scene.state = State.READY


# -- the button


def press(scene: Scene, event: Event, now: float) -> None:
    if scene.around.end_sign(now):
        scene.effects.append(CutSign())
    if not scene.around.can_converse:
        scene.give_sign(Sign.OUT_OF_ORDER, now)
        return
    scene.turns += 1
    scene.turn = Turn(scene.turns, pressed_at=now)
    scene.state = State.LISTENING
    scene.effects.append(BeginUtterance(scene.turns, scene.around.pre_roll_ms(now)))


def press_too_early(scene: Scene, event: Event, now: float) -> None:
    scene.give_sign(Sign.OUT_OF_ORDER, now)


def press_in_thought(scene: Scene, event: Event, now: float) -> None:
    scene.give_up_on_answer()
    scene.end_turn(now)
    press(scene, event, now)


def barge_in(scene: Scene, event: Event, now: float) -> None:
    if scene.stop_by is not None:
        return  # the kiosk is leaving, and takes no new turn
    scene.silence()
    scene.end_turn(now)
    press(scene, event, now)


def release(scene: Scene, event: Event, now: float) -> None:
    turn = scene.current
    if (now - turn.pressed_at) * 1000 < scene.settings.min_utterance_ms:
        scene.abandon(Sign.TOO_SHORT, now)
    else:
        scene.end_utterance(scene.settings.post_roll_ms, now)


def utterance_ended(scene: Scene, event: Event, now: float) -> None:
    scene.current.utterance_ended = True
    scene.ask_when_silent(now)


# -- the answer


def first_audio(scene: Scene, event: AnswerAudio, now: float) -> None:
    if scene.current.asked:
        scene.state = State.SPEAKING
        more_audio(scene, event, now)


def more_audio(scene: Scene, event: AnswerAudio, now: float) -> None:
    if scene.current.ending is None:
        scene.current.heard_more(event.duration_ms, now)
        scene.effects.append(Play(event.turn, event.pcm))


def ended_unheard(scene: Scene, event: AnswerEnded, now: float) -> None:
    if not scene.current.asked:
        scene.give_up_on_answer()
    scene.apologise(now)


def answer_ended(scene: Scene, event: AnswerEnded, now: float) -> None:
    if scene.current.ending is None:
        scene.current.end(event.ending, now)
        scene.effects.append(FinishSpeaking(event.turn))


def speaking_ended(scene: Scene, event: SpeakingFinished | SpeakingStopped, now: float) -> None:
    turn = scene.current
    if turn.ending is None or turn.stalled or isinstance(event, SpeakingStopped):
        scene.effects.append(Interrupt(turn.number, event.heard_ms))
    if scene.stop_by is not None:
        scene.leave()
    elif turn.ending in (Ending.CUT, Ending.FAILED):
        scene.mend_answer(now)
    else:
        scene.end_turn(now)


def silenced(scene: Scene, event: SpeakingStopped, now: float) -> None:
    if event.turn != scene.silencing:
        return
    scene.silencing = None
    scene.effects.append(Interrupt(event.turn, event.heard_ms))
    if scene.state is State.THINKING:
        scene.ask_when_silent(now)


# -- what goes wrong


def link_in_turn(scene: Scene, event: LinkChanged, now: float) -> None:
    if event.link is Link.REFUSED:
        scene.abandon(Sign.OUT_OF_ORDER, now)


def fault_while_listening(scene: Scene, event: FaultRaised, now: float) -> None:
    match event.fault:
        case Fault.PANEL:
            release(scene, event, now)
        case Fault.MICROPHONE:
            scene.abandon(Sign.SORRY, now)
        case Fault.SPEAKER:
            scene.abandon(Sign.OUT_OF_ORDER, now)


def fault_in_thought(scene: Scene, event: FaultRaised, now: float) -> None:
    if event.fault is Fault.SPEAKER:
        scene.abandon(Sign.OUT_OF_ORDER, now)


# -- time


def tick_ready(scene: Scene, event: Event, now: float) -> None:
    if scene.visitor_seen_at is not None and now >= scene.visitor_seen_at + scene.settings.forget_after_s:
        scene.visitor_seen_at = None
        scene.effects.append(ForgetVisitor())


def tick_listening(scene: Scene, event: Event, now: float) -> None:
    if now >= scene.current.utterance_due(scene.settings):
        scene.end_utterance(0, now)
        scene.give_sign(Sign.LIMIT_REACHED, now)


def tick_thinking(scene: Scene, event: Event, now: float) -> None:
    if now >= scene.current.answer_due(scene.settings):
        scene.silencing = None  # a speaker that never fell silent must not hold back the next question
        scene.abandon(Sign.SORRY, now)


def tick_speaking(scene: Scene, event: Event, now: float) -> None:
    turn = scene.current
    if scene.stop_by is not None and now >= scene.stop_by:
        stop_mid_answer(scene)
    elif now < turn.speaking_due(scene.settings):
        return
    elif turn.ending is None:
        turn.stalled = True
        turn.end(Ending.CUT, now)
        scene.effects.append(FinishSpeaking(turn.number))
    else:
        scene.silence()
        scene.apologise(now)


# -- leaving


def stop(scene: Scene, event: Event, now: float) -> None:
    if scene.turn:
        scene.give_up_on_answer()
    scene.leave()


def stop_speaking(scene: Scene, event: Event, now: float) -> None:
    if scene.stop_by is None:
        scene.stop_by = now + scene.settings.stop_grace_s
    else:  # asked twice: somebody is in a hurry
        stop_mid_answer(scene)


def stop_mid_answer(scene: Scene) -> None:
    scene.silence()
    scene.leave()
