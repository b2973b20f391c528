"""Taps, double presses, the owner's button, echo, and the signs that end no turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from test_dialogue_conversation import SETTINGS, TAIL_MS, Scene

from kioskd.config.schema import Audio, Echo, Sounds
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.button import LATE_TAP_S
from kioskd.dialogue.effects import Sign, State
from kioskd.dialogue.scene import HELD_AFTER_S


def tapped() -> Scene:
    """A visitor who has tapped, and may speak."""
    s = Scene()
    s.do(e.Pressed())
    s.wait(0.2)
    assert s.do(e.Tapped()) == [f.AwaitSilence(1)]
    assert s.state is State.LISTENING
    return s


def answered(audio: Audio | None = None) -> Scene:
    """A visitor who has been given an answer."""
    s = Scene(audio=audio) if audio else Scene()
    turn = s.ask()
    s.hear(turn)
    s.do(e.AnswerEnded(turn, e.Ending.COMPLETE))
    s.wait(3)
    s.do(e.SpeakingFinished(turn, 3000))
    return s


# -- held


def test_a_release_that_is_told_late_costs_no_time_and_no_speech() -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(2)
    assert s.do(e.Released(late_ms=50)) == [f.EndUtterance(1, SETTINGS.post_roll_ms - 50)]
    s = Scene()
    s.do(e.Pressed())
    s.wait(2)
    assert s.do(e.Released(late_ms=350)) == [f.EndUtterance(1, 0)]


def test_a_short_press_is_not_made_longer_by_telling_it_late() -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(0.5)
    assert s.do(e.Released(late_ms=350)) == [f.DiscardUtterance(1), f.GiveSign(Sign.TOO_SHORT)]


def test_a_button_that_was_held_from_the_start_asks_nothing_and_is_a_fault_in_time() -> None:
    s = Scene()
    assert s.do(e.FoundHeld()) == []
    assert s.wait(SETTINGS.stuck_button_s - 1) == []
    assert s.wait(2) == [f.GiveSign(Sign.FAULT)]
    assert s.kiosk.view.faults == {e.Fault.BUTTON_STUCK}
    s.do(e.SignFinished())
    s.wait(1)
    assert s.do(e.Released()) == [] and s.kiosk.view.faults == frozenset()
    assert s.do(e.Pressed())[-1] == f.BeginUtterance(1, SETTINGS.pre_roll_ms)


# -- tapped


def test_a_tap_is_no_short_press_and_silence_asks() -> None:
    s = tapped()
    s.wait(3)
    assert s.do(e.FellSilent(1, spoke=True)) == [f.EndUtterance(1, 0)]
    assert s.do(e.UtteranceEnded(1, 3000)) == [f.Ask(1)]


def test_a_tap_after_which_nothing_is_said_is_discarded_with_a_sign() -> None:
    s = tapped()
    assert s.do(e.FellSilent(1, spoke=False)) == [f.DiscardUtterance(1), f.GiveSign(Sign.TOO_SHORT)]
    assert s.state is State.READY


def test_a_second_tap_asks() -> None:
    s = tapped()
    s.wait(2)
    assert s.do(e.Pressed()) == [f.EndUtterance(1, SETTINGS.post_roll_ms)]
    s.wait(0.1)
    assert s.do(e.Tapped()) == []
    assert s.do(e.UtteranceEnded(1, 2300)) == [f.Ask(1)]


def test_a_second_tap_that_comes_too_soon_is_too_short_a_question() -> None:
    s = tapped()
    s.wait(0.05)
    assert s.do(e.Pressed()) == [f.DiscardUtterance(1), f.GiveSign(Sign.TOO_SHORT)]


@pytest.mark.parametrize("gesture", [e.Pressed(), e.DoublePressed()])
@pytest.mark.parametrize("heard", [False, True])
def test_a_tap_just_after_silence_has_asked_does_not_cost_the_question(gesture: e.Event, heard: bool) -> None:
    s = tapped()
    s.do(e.FellSilent(1, spoke=True), e.UtteranceEnded(1, 3000))
    if heard:
        s.hear(1)
    s.wait(LATE_TAP_S - 0.1)
    assert s.do(gesture, e.Tapped()) == []
    s.wait(0.2)
    assert s.do(e.Pressed())[-1] == f.BeginUtterance(2, -TAIL_MS if heard else SETTINGS.pre_roll_ms)


@pytest.mark.parametrize("heard", [False, True])
def test_a_press_just_after_silence_has_asked_that_is_held_talks(heard: bool) -> None:
    s = tapped()
    s.do(e.FellSilent(1, spoke=True), e.UtteranceEnded(1, 3000))
    if heard:
        s.hear(1)
    s.wait(LATE_TAP_S / 2)
    assert s.do(e.Pressed()) == []
    assert s.wait(HELD_AFTER_S - 0.01) == []
    begun = s.wait(0.02)
    assert begun[:-1] == ([f.StopSpeaking(1)] if heard else [f.CancelAnswer(1)])
    assert isinstance(begun[-1], f.BeginUtterance) and begun[-1].turn == 2
    assert s.state is State.LISTENING
    assert s.do(e.Released()) == [f.EndUtterance(2, SETTINGS.post_roll_ms)], "it was held long enough from the start"


def test_a_late_tap_whose_turn_ends_under_it_is_still_a_tap_and_a_late_hold_still_talks() -> None:
    for held in (False, True):
        s = tapped()
        s.do(e.FellSilent(1, spoke=True), e.UtteranceEnded(1, 3000), e.Pressed())
        s.do(e.AnswerEnded(1, e.Ending.FAILED))
        assert s.state is State.READY
        if not held:
            assert s.do(e.Tapped()) == []
        begun = [x for x in s.wait(1) if isinstance(x, f.BeginUtterance)]
        assert bool(begun) is held


def test_silence_that_is_told_too_late_or_of_a_held_button_means_nothing() -> None:
    s = tapped()
    s.do(e.FellSilent(1, spoke=True))
    assert s.do(e.FellSilent(1, spoke=True), e.FellSilent(1, spoke=False)) == []
    s = Scene()
    s.do(e.Pressed())
    assert s.do(e.FellSilent(1, spoke=True)) == []


def test_a_lost_panel_does_not_end_what_no_finger_holds() -> None:
    s = tapped()
    assert s.do(e.FaultRaised(e.Fault.PANEL)) == []
    assert s.state is State.LISTENING
    assert s.wait(SETTINGS.max_utterance_s)[0] == f.EndUtterance(1, 0)


# -- twice


def test_a_double_press_repeats_the_last_answer_as_often_as_it_is_wanted() -> None:
    s = answered()
    s.wait(5)
    for turn in (2, 4):
        assert s.do(e.Pressed()) == [f.BeginUtterance(turn, SETTINGS.pre_roll_ms)]
        assert s.do(e.DoublePressed()) == [f.DiscardUtterance(turn), f.RepeatAnswer(turn + 1)]
        s.do(e.Released())
        assert s.hear(turn + 1) == [f.Play(turn + 1, b"\1\0" * 2400)]
        s.do(e.AnswerEnded(turn + 1, e.Ending.COMPLETE), e.SpeakingFinished(turn + 1, 3000))
        assert s.state is State.READY
        s.wait(5)


def test_a_double_press_into_an_answer_begins_it_again_when_it_is_silent() -> None:
    s = Scene()
    s.hear(s.ask())
    s.wait(1)
    assert s.do(e.Pressed()) == [f.StopSpeaking(1), f.BeginUtterance(2, -TAIL_MS)]
    assert s.do(e.DoublePressed()) == [f.DiscardUtterance(2)]
    assert s.do(e.SpeakingStopped(1, 900)) == [f.Interrupt(1, 900), f.RepeatAnswer(3)]


def test_nothing_of_a_forgotten_visitor_is_repeated() -> None:
    s = answered()
    assert f.ForgetVisitor() in s.wait(SETTINGS.forget_after_s + 1)
    assert s.do(e.DoublePressed()) == [f.GiveSign(Sign.TOO_SHORT)]


def test_a_repeated_answer_needs_no_connection_and_is_never_asked_for_again() -> None:
    s = answered()
    s.do(e.LinkChanged(e.Link.REFUSED, "no credit"))
    s.wait(5)
    assert s.do(e.DoublePressed()) == [f.RepeatAnswer(2)]
    assert s.do(e.LinkChanged(e.Link.DOWN), e.LinkChanged(e.Link.REFUSED)) == []
    s.hear(2)
    s.do(e.LinkChanged(e.Link.UP), e.AnswerEnded(2, e.Ending.CUT))
    assert s.do(e.SpeakingFinished(2, 10)) == [f.GiveSign(Sign.SORRY)]


# -- the owner


SAID = partial(f.SayWords, words=7)


@pytest.mark.parametrize(
    ("event", "effect"), [(e.OwnerPressed(), f.Announce), (e.OwnerHeld(), f.TestSound), (e.OwnerSays(7), SAID)]
)
def test_the_owner_is_answered_while_nobody_talks(event: e.Event, effect: Callable[[int], f.Effect]) -> None:
    s = Scene()
    assert s.do(event) == [effect(1)]
    assert s.do(event) == []
    assert s.hear(1) == [f.Play(1, b"\1\0" * 2400)]
    assert s.do(e.Pressed()) == [f.StopSpeaking(1), f.BeginUtterance(2, -TAIL_MS)], "a visitor goes first"
    assert s.do(event) == []
    assert s.do(e.DoublePressed()) == [f.DiscardUtterance(2), f.GiveSign(Sign.TOO_SHORT)], "not for visitors' ears"


# -- the self-test


def test_a_test_is_silent_and_over_when_it_is_over() -> None:
    s = Scene()
    assert s.do(e.CheckDue(alone=True)) == [f.CheckSound(1)]
    assert s.state is State.THINKING
    assert s.do(e.CheckDue(), e.OwnerPressed()) == [], "one at a time"
    assert s.do(e.SoundChecked(1)) == [] and s.state is State.READY


def test_a_visitor_goes_before_a_test_and_nothing_of_its_chirp_is_recorded() -> None:
    for due, effect in ((e.CheckDue(), f.CheckSound(1)), (e.OwnerHeld(), f.TestSound(1))):
        s = Scene()
        assert s.do(due) == [effect]
        s.wait(0.5)
        assert s.do(e.Pressed()) == [f.CancelAnswer(1), f.BeginUtterance(2, -TAIL_MS)]
        assert s.do(e.SoundChecked(1)) == [] and s.state is State.LISTENING


def test_while_a_visitor_is_about_only_a_test_that_somebody_asked_for_is_made() -> None:
    s = answered()
    assert s.do(e.CheckDue(alone=True)) == []
    assert s.do(e.CheckDue()) == [f.CheckSound(2)]
    s.do(e.SoundChecked(2))
    s.wait(SETTINGS.forget_after_s + 1)
    assert s.do(e.CheckDue(alone=True)) == [f.CheckSound(3)]


def test_a_test_that_never_ends_is_given_up_without_a_word() -> None:
    s = Scene()
    s.do(e.CheckDue())
    assert s.wait(60) == [f.CancelAnswer(1)] and s.state is State.READY
    s.do(e.CheckDue())
    assert s.do(e.FaultRaised(e.Fault.SPEAKER)) == [f.CancelAnswer(2)] and s.kiosk.view.sign is None


@pytest.mark.parametrize("fault", [e.Fault.MICROPHONE_DEAF, e.Fault.SPEAKER_DEAD])
def test_a_verdict_may_be_wrong_and_keeps_nobody_from_talking(fault: e.Fault) -> None:
    s = Scene()
    s.do(e.FaultRaised(fault))
    assert s.kiosk.view.faults == {fault}
    s.do(e.SignFinished())
    assert isinstance(s.do(e.Pressed())[-1], f.BeginUtterance)
    s.do(e.FaultCleared(fault))
    assert not s.kiosk.view.faults


# -- echo


@pytest.mark.parametrize("echo", Echo)
def test_listening_is_told_by_ear_only_where_the_kiosk_does_not_hear_itself(echo: Echo) -> None:
    s = Scene(audio=Audio(echo=echo, sounds=Sounds(listening="tone", sent="none")))
    told = [f.GiveSign(Sign.LISTENING)] if echo in (Echo.HARDWARE, Echo.SOFTWARE) else []
    assert s.do(e.Pressed()) == [f.BeginUtterance(1, SETTINGS.pre_roll_ms), *told]
    assert s.kiosk.view.sign is None, "the lamp tells that it listens"
    for quiet in (Audio(echo=echo), Audio(echo=echo, signs=False, sounds=Sounds(listening="tone"))):
        assert len(Scene(audio=quiet).do(e.Pressed())) == 1


@pytest.mark.parametrize(("fault", "sign"), [(None, Sign.TOO_SHORT), (e.Fault.MICROPHONE, Sign.SORRY)])
def test_an_utterance_of_which_nothing_is_left_is_no_question(fault: e.Fault | None, sign: Sign) -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(0.4)
    s.do(e.Released())
    if fault:
        s.do(e.FaultRaised(fault))
    assert s.do(e.UtteranceEnded(1, 99)) == [f.DiscardUtterance(1), f.GiveSign(sign)]


@pytest.mark.parametrize("echo", [Echo.HARDWARE, Echo.SERVER, Echo.SOFTWARE])
def test_where_echo_is_cancelled_a_barge_in_reaches_back(echo: Echo) -> None:
    s = Scene(audio=Audio(echo=echo, sounds=Sounds(sent="none")))
    s.hear(s.ask())
    s.wait(1)
    assert s.do(e.Pressed()) == [f.StopSpeaking(1), f.BeginUtterance(2, SETTINGS.pre_roll_ms)]


@pytest.mark.parametrize(("after_s", "pre_roll_ms"), [(0, -TAIL_MS), (0.05, -100), (0.25, 100), (1, 300)])
def test_the_gate_opens_when_the_room_is_quiet(after_s: float, pre_roll_ms: int) -> None:
    s = answered()
    s.wait(after_s)
    [begin] = s.do(e.Pressed())
    assert isinstance(begin, f.BeginUtterance)
    assert begin.pre_roll_ms == pytest.approx(pre_roll_ms, abs=1)


# -- signs that end no turn


def confirmed() -> Scene:
    s = Scene(audio=Audio())
    s.ask()
    assert s.seen[-1] == f.GiveSign(Sign.SENT) and s.kiosk.view.sign is None
    return s


def test_what_is_sent_is_told_by_ear_and_no_answer_waits_for_it() -> None:
    s = confirmed()
    assert s.hear(1)[:2] == [f.CutSign(), f.Play(1, b"\1\0" * 2400)]
    s = confirmed()
    s.do(e.SignFinished())
    assert s.hear(1) == [f.Play(1, b"\1\0" * 2400)]
    s = confirmed()
    assert s.do(e.Pressed()) == [f.CancelAnswer(1), f.CutSign(), f.BeginUtterance(2, -TAIL_MS)]


@pytest.mark.parametrize("audio", [Audio(signs=False), Audio(sounds=Sounds(sent="none"))])
def test_what_is_sent_is_not_told_where_the_owner_does_not_want_it(audio: Audio) -> None:
    s = Scene(audio=audio)
    s.ask()
    assert f.GiveSign(Sign.SENT) not in s.seen


def test_a_lost_connection_is_told_once_an_outage_and_never_into_an_utterance() -> None:
    s = Scene(audio=Audio())
    s.do(e.Pressed())
    s.wait(1)
    assert s.do(e.LinkChanged(e.Link.DOWN)) == []
    assert s.do(e.Released()) == [f.EndUtterance(1, SETTINGS.post_roll_ms)]
    assert s.do(e.LinkChanged(e.Link.CONNECTING)) == []
    assert s.do(e.UtteranceEnded(1, 1000)) == [f.Ask(1), f.GiveSign(Sign.CONNECTION_LOST)]
    assert s.kiosk.view.sign is Sign.CONNECTION_LOST
    assert s.do(e.LinkChanged(e.Link.DOWN)) == []
    assert s.do(e.LinkChanged(e.Link.UP)) == []
    assert s.do(e.LinkChanged(e.Link.DOWN)) == [f.GiveSign(Sign.CONNECTION_LOST)]
    s.do(e.LinkChanged(e.Link.UP))
    assert s.hear(1)[:2] == [f.CutSign(), f.Play(1, b"\1\0" * 2400)]
    assert s.do(e.LinkChanged(e.Link.DOWN)) == [], "the answer is there"


def test_a_connection_that_was_never_there_is_not_lost() -> None:
    s = Scene(link=e.Link.CONNECTING)
    s.ask()
    s.do(e.LinkChanged(e.Link.DOWN), e.LinkChanged(e.Link.CONNECTING))
    assert f.GiveSign(Sign.CONNECTION_LOST) not in s.seen


def test_a_fault_is_told_once_where_it_can_be_heard_and_disturbs_nobody() -> None:
    s = Scene()
    assert s.do(e.FaultRaised(e.Fault.MICROPHONE)) == [f.GiveSign(Sign.FAULT)]
    assert s.do(e.FaultRaised(e.Fault.MICROPHONE)) == []
    s.do(e.FaultCleared(e.Fault.MICROPHONE))
    assert s.do(e.FaultRaised(e.Fault.SPEAKER), e.FaultRaised(e.Fault.PANEL)) == []
    s = Scene()
    s.hear(s.ask())
    assert s.do(e.FaultRaised(e.Fault.MICROPHONE)) == []
