"""What the buttons do to the conversation: the cells of the table for presses, taps and silence. PURE."""

from __future__ import annotations

from collections.abc import Callable

from kioskd.dialogue.effects import Announce, AwaitSilence, BeginUtterance, RepeatAnswer, Sign, State, TestSound
from kioskd.dialogue.events import Event, Fault, FellSilent, Released
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


def _say_it(scene: Scene, late_ms: int, now: float) -> None:
    """The visitor says that the utterance is over; they let go `late_ms` ago."""
    turn, settings = scene.current, scene.settings
    if (now - turn.pressed_at) * 1000 - late_ms < settings.min_utterance_ms:
        scene.abandon(Sign.TOO_SHORT, now)
    else:
        scene.end_utterance(max(0, settings.post_roll_ms - late_ms), now)


def _leave_unheard(scene: Scene, then: Outcome, event: Event, now: float) -> None:
    """The turn under way ends without an answer, for what the press wants."""
    if not _is_late_tap(scene, now):
        scene.give_up_on_answer()
        scene.end_turn(now)
        then(scene, event, now)


def _break_in(scene: Scene, then: Outcome, event: Event, now: float) -> None:
    """The answer is broken off, for what the press wants; not by a kiosk that is leaving, which takes no new turn."""
    if scene.stop_by is None and not _is_late_tap(scene, now):
        scene.silence()
        scene.end_turn(now)
        then(scene, event, now)


def _is_late_tap(scene: Scene, now: float) -> bool:
    over = scene.current.hands_free and scene.state is not State.LISTENING
    return over and now - scene.current.released_at < LATE_TAP_S


def _speak(scene: Scene, question: Question, now: float) -> None:
    if Fault.SPEAKER in scene.around.faults and question is not TestSound:  # the test may find out why
        scene.give_sign(Sign.OUT_OF_ORDER, now)
    else:
        scene.say(question, now)
