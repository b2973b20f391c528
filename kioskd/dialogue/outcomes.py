"""What an event does to the conversation: the cells of the table, but for those of the buttons. PURE."""

from __future__ import annotations

from typing import Any

from kioskd.dialogue.button import release
from kioskd.dialogue.effects import CheckSound, FinishSpeaking, ForgetVisitor, Interrupt, Play, Sign, State
from kioskd.dialogue.events import (
    AnswerAudio,
    AnswerEnded,
    Ending,
    Event,
    Fault,
    FaultRaised,
    Link,
    LinkChanged,
    Released,
    SpeakingFinished,
    SpeakingStopped,
    UtteranceEnded,
)
from kioskd.dialogue.scene import Scene

LEAST_QUESTION_MS = 100  # no word is shorter, and no endpoint takes less


def ignored(scene: Scene, event: Any, now: float) -> None:
    """The event can't matter in this state."""


def goodbye(scene: Scene, event: Event, now: float) -> None:
    scene.current.last = True


def opened(scene: Scene, event: Event, now: float) -> None:
    scene.state = State.READY


def utterance_ended(scene: Scene, event: UtteranceEnded, now: float) -> None:
    if event.duration_ms < LEAST_QUESTION_MS:  # the kiosk's own sound, dying away, may have taken the rest
        deaf = Fault.MICROPHONE in scene.around.faults
        scene.abandon(Sign.SORRY if deaf else Sign.TOO_SHORT, now)
        return
    scene.current.utterance_ended = True
    scene.ask_when_silent(now)
    scene.tell_outage(now)


# -- the answer


def first_audio(scene: Scene, event: AnswerAudio, now: float) -> None:
    if scene.current.asked:
        scene.cut_interim_sign(now)
        scene.state = State.SPEAKING
        more_audio(scene, event, now)


def more_audio(scene: Scene, event: AnswerAudio, now: float) -> None:
    if scene.current.ending is None:
        scene.repeatable |= scene.current.visitors
        scene.current.heard_more(event.duration_ms, now)
        scene.effects.append(Play(event.turn, event.pcm))


def ended_unheard(scene: Scene, event: AnswerEnded, now: float) -> None:
    if not scene.current.asked:
        scene.give_up_on_answer()
    scene.apologise(now)


def sound_checked(scene: Scene, event: Event, now: float) -> None:
    if scene.current.question is CheckSound:
        scene.end_turn(now)


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
    if event.link is Link.REFUSED and scene.current.visitors:
        scene.abandon(Sign.OUT_OF_ORDER, now)
    else:
        scene.tell_outage(now)


def fault_listening(scene: Scene, event: FaultRaised, now: float) -> None:
    match event.fault:
        case Fault.PANEL:
            if not scene.current.hands_free:
                release(scene, Released(), now)
        case Fault.MICROPHONE:
            scene.abandon(Sign.SORRY, now)
        case Fault.SPEAKER:
            scene.abandon(Sign.OUT_OF_ORDER, now)


def fault_thinking(scene: Scene, event: FaultRaised, now: float) -> None:
    if event.fault is Fault.SPEAKER:
        _fail(scene, Sign.OUT_OF_ORDER, now)


def _fail(scene: Scene, sign: Sign, now: float) -> None:
    """The turn under way gets no answer; nobody waits for that of a test."""
    if scene.current.question is CheckSound:
        scene.give_up_on_answer()
        scene.end_turn(now)
    else:
        scene.abandon(sign, now)


# -- time


def tick_ready(scene: Scene, event: Event, now: float) -> None:
    if scene.visitor_seen_at is not None and now >= scene.visitor_seen_at + scene.settings.forget_after_s:
        scene.visitor_seen_at = None
        scene.repeatable = False
        scene.effects.append(ForgetVisitor())


def tick_listening(scene: Scene, event: Event, now: float) -> None:
    if now >= scene.current.utterance_due(scene.settings):
        scene.end_utterance(0, now)
        scene.give_sign(Sign.LIMIT_REACHED, now)


def tick_thinking(scene: Scene, event: Event, now: float) -> None:
    if now >= scene.current.answer_due(scene.settings):
        scene.silencing = None  # a speaker that never fell silent must not hold back the next question
        _fail(scene, Sign.SORRY, now)


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
    elif scene.stop_by is not None:  # there is no time for an apology
        stop_mid_answer(scene)
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
