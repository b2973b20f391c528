"""What the buttons do to the conversation: the cells of the table for presses, taps and silence. PURE."""

from __future__ import annotations

from collections.abc import Callable

from kioskd.dialogue.effects import (
    Announce,
    AwaitSilence,
    BeginUtterance,
    CheckSound,
    RepeatAnswer,
    SayWords,
    Sign,
    State,
    TestSound,
)
from kioskd.dialogue.events import CheckDue, Event, Fault, FellSilent, OwnerSays, Pressed, Released
from kioskd.dialogue.scene import Scene
from kioskd.dialogue.turn import Question, Turn

Outcome = Callable[[Scene, Event, float], None]

LATE_TAP_S = 0.6  # a tap that comes so shortly after silence ended the utterance was meant to end it


def press(scene: Scene, event: Event, now: float) -> None:
    scene.cut_sign(now)
    if not scene.around.can_converse:
        scene.give_sign(Sign.OUT_OF_ORDER, now)
        return
    scene.turns += 1
    scene.turn = Turn(scene.turns, now)
    scene.state = State.LISTENING
    scene.effects.append(BeginUtterance(scene.turns, scene.around.pre_roll_ms(now)))
    if scene.around.may_tell_listening:
        scene.give_sign(Sign.LISTENING, now)


def press_early(scene: Scene, event: Event, now: float) -> None:
    scene.give_sign(Sign.OUT_OF_ORDER, now)


def press_thinking(scene: Scene, event: Event, now: float) -> None:
    _leave_unheard(scene, press, event, now)


def barge_in(scene: Scene, event: Event, now: float) -> None:
    _break_in(scene, press, event, now)


def release(scene: Scene, event: Released, now: float) -> None:
    if not scene.current.hands_free:
        _say_it(scene, event.late_ms, now)


# -- without a finger on the button


def tap(scene: Scene, event: Event, now: float) -> None:
    scene.current.hands_free = True
    scene.effects.append(AwaitSilence(scene.current.number))


def second_tap(scene: Scene, event: Event, now: float) -> None:
    if scene.current.hands_free:
        _say_it(scene, 0, now)


def fell_silent(scene: Scene, event: FellSilent, now: float) -> None:
    if not scene.current.hands_free:
        return
    if event.spoke:
        scene.end_utterance(0, now)
    else:
        scene.abandon(Sign.TOO_SHORT, now)


# -- the last answer once more


def double_press(scene: Scene, event: Event, now: float) -> None:
    scene.cut_sign(now)
    if scene.repeatable:
        _speak(scene, RepeatAnswer, now)
    else:
        scene.give_sign(Sign.TOO_SHORT, now)


def double_in_turn(scene: Scene, event: Event, now: float) -> None:
    _leave_unheard(scene, double_press, event, now)


def double_barge_in(scene: Scene, event: Event, now: float) -> None:
    _break_in(scene, double_press, event, now)


# -- the owner's button


def owner_press(scene: Scene, event: Event, now: float) -> None:
    scene.cut_sign(now)
    _speak(scene, Announce, now)


def owner_hold(scene: Scene, event: Event, now: float) -> None:
    scene.cut_sign(now)
    _speak(scene, TestSound, now)


def owner_says(scene: Scene, event: OwnerSays, now: float) -> None:
    scene.cut_sign(now)
    _speak(scene, SayWords, now, event.words)


def check_due(scene: Scene, event: CheckDue, now: float) -> None:
    if not event.alone or scene.visitor_seen_at is None:
        scene.cut_sign(now)
        scene.say(CheckSound, now)


# -- a press that was taken for a tap that came late, and turns out to be held


def held_on(scene: Scene, now: float) -> None:
    """The finger is still down: it wants to talk, and has since it came down."""
    pressed_at, scene.late_press_at = scene.late_press_at, None
    match scene.state:
        case State.READY:
            press(scene, Pressed(), now)
        case State.THINKING:
            _clear(scene, press, Pressed(), now)
        case State.SPEAKING if scene.stop_by is None:
            _silence(scene, press, Pressed(), now)
    if scene.state is State.LISTENING and pressed_at is not None:
        scene.current.pressed_at = pressed_at


def _say_it(scene: Scene, late_ms: int, now: float) -> None:
    """The visitor says that the utterance is over; they let go `late_ms` ago."""
    turn, settings = scene.current, scene.settings
    if (now - turn.pressed_at) * 1000 - late_ms < settings.min_utterance_ms:
        scene.abandon(Sign.TOO_SHORT, now)
    else:
        scene.end_utterance(max(0, settings.post_roll_ms - late_ms), now)


def _leave_unheard(scene: Scene, then: Outcome, event: Event, now: float) -> None:
    """The turn under way ends without an answer, for what the press wants."""
    if not _is_late_tap(scene, event, now):
        _clear(scene, then, event, now)


def _clear(scene: Scene, then: Outcome, event: Event, now: float) -> None:
    scene.give_up_on_answer()
    scene.end_turn(now)
    then(scene, event, now)


def _break_in(scene: Scene, then: Outcome, event: Event, now: float) -> None:
    """The answer is broken off, for what the press wants; not by a kiosk that is leaving, which takes no new turn."""
    if scene.stop_by is None and not _is_late_tap(scene, event, now):
        _silence(scene, then, event, now)


def _silence(scene: Scene, then: Outcome, event: Event, now: float) -> None:
    scene.silence()
    scene.end_turn(now)
    then(scene, event, now)


def _is_late_tap(scene: Scene, event: Event, now: float) -> bool:
    """It was meant to end what silence has ended already; unless it is held, as `held_on` finds out."""
    over = scene.current.hands_free and scene.state is not State.LISTENING
    late = over and now - scene.current.released_at < LATE_TAP_S
    if late and isinstance(event, Pressed):
        scene.late_press_at = now
    return late


def _speak(scene: Scene, question: Question, now: float, words: int = 0) -> None:
    if Fault.SPEAKER in scene.around.faults and question is not TestSound:  # the test may find out why
        scene.give_sign(Sign.OUT_OF_ORDER, now)
    else:
        scene.say(question, now, words)
