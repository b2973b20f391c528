"""What a visitor goes through: presses, answers, failures, in the dialogue's own words."""

from __future__ import annotations

import pytest
from attrs import evolve

from kioskd.config.schema import Audio, Conversation, CutAnswer, Sounds
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, Sign, State
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.surroundings import SIGN_SOUNDS_AT_MOST_S, UNMEASURED_TAIL_MS

PCM = b"\1\0" * 2400
SETTINGS = Conversation(answer_timeout_s=15, answer_stall_s=10, max_utterance_s=60, forget_after_s=120)

UNCONFIRMED = Audio(sounds=Sounds(sent="none"))
TAIL_MS = UNMEASURED_TAIL_MS


class Scene:
    """A kiosk with a clock that the test moves; ticks come when the kiosk wants them."""

    def __init__(self, settings: Conversation = SETTINGS, link: e.Link = e.Link.UP, audio: Audio = UNCONFIRMED) -> None:
        self.kiosk = Kiosk(settings, audio)
        self.now = 1000.0
        self.seen: list[Effect] = []
        self.do(e.Started(), e.LinkChanged(link))

    def do(self, *events: e.Event) -> list[Effect]:
        """What these events bring about, lamp aside."""
        effects = [effect for event in events for effect in self.kiosk.step(event, self.now)]
        self.seen += effects
        return [effect for effect in effects if not isinstance(effect, f.Show)]

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, tick by tick."""
        until = self.now + seconds
        effects: list[Effect] = []
        while (due := self.kiosk.deadline) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self.do(e.Tick())
        self.now = until
        return effects

    @property
    def state(self) -> State:
        return self.kiosk.view.state

    def ask(self) -> int:
        """One whole question; the number of its turn."""
        self.do(e.Pressed())
        turn = self.kiosk.turn
        assert turn is not None
        self.wait(2)
        self.do(e.Released())
        self.wait(0.2)
        self.do(e.UtteranceEnded(turn, 2200))
        return turn

    def hear(self, turn: int, ms: float = 3000) -> list[Effect]:
        """The beginning of an answer."""
        return self.do(e.AnswerAudio(turn, PCM, ms))


def test_a_whole_turn() -> None:
    s = Scene()
    s.wait(5)
    assert s.do(e.Pressed()) == [f.BeginUtterance(1, SETTINGS.pre_roll_ms)]
    s.wait(2)
    assert s.do(e.Released()) == [f.EndUtterance(1, SETTINGS.post_roll_ms)]
    assert s.state is State.THINKING
    assert s.do(e.UtteranceEnded(1, 2500)) == [f.Ask(1)]
    assert s.hear(1) == [f.Play(1, PCM)]
    assert s.state is State.SPEAKING
    assert s.do(e.AnswerEnded(1, e.Ending.COMPLETE)) == [f.FinishSpeaking(1)]
    assert s.do(e.SpeakingFinished(1, 3000)) == []
    assert s.state is State.READY


def test_a_short_press_is_discarded_with_a_sign() -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(0.2)
    assert s.do(e.Released()) == [f.DiscardUtterance(1), f.GiveSign(Sign.TOO_SHORT)]
    assert s.state is State.READY and s.kiosk.view.sign is Sign.TOO_SHORT
    s.wait(5)
    assert s.kiosk.view.sign is None


def test_an_endless_press_is_asked_at_the_limit_and_is_a_fault_until_let_go() -> None:
    s = Scene()
    s.do(e.Pressed())
    assert s.wait(60) == [f.EndUtterance(1, 0), f.GiveSign(Sign.LIMIT_REACHED)]
    assert s.do(e.UtteranceEnded(1, 60000)) == [f.Ask(1)]
    s.hear(1)
    s.do(e.AnswerEnded(1, e.Ending.COMPLETE), e.SpeakingFinished(1, 3000))
    s.wait(60)
    assert e.Fault.BUTTON_STUCK in s.kiosk.view.faults
    assert s.do(e.Pressed()) == []
    assert not [effect for effect in s.wait(3600) if isinstance(effect, f.BeginUtterance)]
    s.do(e.Released())
    assert s.kiosk.view.faults == frozenset()
    assert s.do(e.Pressed()) == [f.BeginUtterance(2, SETTINGS.pre_roll_ms)]


def test_a_press_while_thinking_cancels_and_begins_anew() -> None:
    s = Scene()
    turn = s.ask()
    assert s.do(e.Pressed()) == [f.CancelAnswer(turn), f.BeginUtterance(turn + 1, 200)]
    assert s.hear(turn) == []


def test_a_press_within_the_post_roll_drops_the_utterance_that_was_never_asked() -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(1)
    s.do(e.Released())
    s.wait(0.05)
    assert s.do(e.Pressed())[0] == f.DiscardUtterance(1)
    assert s.do(e.UtteranceEnded(1, 1000)) == []


def test_barge_in_silences_first_then_tells_what_was_heard_then_asks() -> None:
    s = Scene()
    first = s.ask()
    s.hear(first)
    s.wait(1)
    assert s.do(e.Pressed()) == [f.StopSpeaking(first), f.BeginUtterance(2, -TAIL_MS)]
    s.wait(1)
    assert s.do(e.Released(), e.UtteranceEnded(2, 1200)) == [f.EndUtterance(2, SETTINGS.post_roll_ms)]
    assert s.do(e.SpeakingStopped(first, 987)) == [f.Interrupt(first, 987), f.Ask(2)]
    assert s.hear(first) == []
    assert s.hear(2) == [f.Play(2, PCM)]


def test_nobody_is_invited_to_talk_to_nobody() -> None:
    for trouble in (
        e.LinkChanged(e.Link.REFUSED, "bad key"),
        e.FaultRaised(e.Fault.MICROPHONE),
        e.FaultRaised(e.Fault.SPEAKER),
    ):
        s = Scene()
        s.do(trouble)
        s.wait(SIGN_SOUNDS_AT_MOST_S)
        assert s.do(e.Pressed()) == [f.GiveSign(Sign.OUT_OF_ORDER)]
        assert s.state is State.READY


def test_a_refusal_in_the_middle_of_a_turn_ends_it() -> None:
    s = Scene()
    turn = s.ask()
    assert s.do(e.LinkChanged(e.Link.REFUSED)) == [f.CancelAnswer(turn), f.GiveSign(Sign.OUT_OF_ORDER)]
    s = Scene()
    s.do(e.Pressed())
    assert s.do(e.LinkChanged(e.Link.REFUSED)) == [f.DiscardUtterance(1), f.GiveSign(Sign.OUT_OF_ORDER)]


def test_a_press_while_the_link_is_down_listens_at_once() -> None:
    s = Scene(link=e.Link.DOWN)
    assert s.do(e.Pressed()) == [f.BeginUtterance(1, SETTINGS.pre_roll_ms)]


def test_no_answer_in_time_is_an_apology_and_nothing_stale_after_it() -> None:
    s = Scene()
    turn = s.ask()
    assert s.wait(14.5) == []
    assert s.wait(1) == [f.CancelAnswer(turn), f.GiveSign(Sign.SORRY)]
    assert s.hear(turn) == []


def cut(s: Scene, turn: int, ending: e.Ending = e.Ending.CUT) -> list[Effect]:
    """An answer of 3 s that breaks off, and is played as far as it came."""
    s.hear(turn, 3000)
    assert s.do(e.AnswerEnded(turn, ending)) == [f.FinishSpeaking(turn)]
    return s.do(e.SpeakingFinished(turn, 3000))


def test_an_answer_that_stalls_plays_out_and_its_rest_is_asked_for() -> None:
    s = Scene()
    turn = s.ask()
    s.hear(turn, 3000)
    assert s.wait(10) == [f.FinishSpeaking(turn)]
    assert s.do(e.SpeakingFinished(turn, 3000)) == [f.Interrupt(turn, 3000), f.ContinueAnswer(turn + 1)]
    assert s.state is State.THINKING


@pytest.mark.parametrize("ending", [e.Ending.CUT, e.Ending.FAILED])
@pytest.mark.parametrize(
    ("how", "follows"),
    [
        (CutAnswer.CONTINUE, f.ContinueAnswer(2)),
        (CutAnswer.REPEAT, f.AskAgain(2, 1)),
        (CutAnswer.APOLOGISE, f.GiveSign(Sign.SORRY)),
    ],
)
def test_a_cut_answer_plays_out_and_then_the_owner_decides(how: CutAnswer, follows: Effect, ending: e.Ending) -> None:
    s = Scene(evolve(SETTINGS, cut_answer=how))
    assert cut(s, s.ask(), ending) == [follows]


def test_the_rest_of_a_cut_answer_is_heard_like_any_answer() -> None:
    s = Scene()
    cut(s, s.ask())
    assert s.hear(2) == [f.Play(2, PCM)]
    s.do(e.AnswerEnded(2, e.Ending.COMPLETE))
    assert s.do(e.SpeakingFinished(2, 3000)) == []
    assert s.state is State.READY
    assert s.ask() == 3


def test_an_answer_that_is_cut_three_times_ends_in_an_apology() -> None:
    s = Scene()
    assert cut(s, s.ask()) == [f.ContinueAnswer(2)]
    assert cut(s, 2) == [f.ContinueAnswer(3)]
    assert cut(s, 3) == [f.GiveSign(Sign.SORRY)]
    assert cut(s, s.ask()) == [f.ContinueAnswer(5)], "the next question has its chances again"


def test_the_rest_of_a_cut_answer_has_a_time_limit_and_can_be_pressed_away() -> None:
    s = Scene()
    cut(s, s.ask())
    assert s.wait(14.5) == []
    assert s.wait(1) == [f.CancelAnswer(2), f.GiveSign(Sign.SORRY)]
    s = Scene()
    cut(s, s.ask())
    assert s.do(e.Pressed())[:2] == [f.CancelAnswer(2), f.BeginUtterance(3, -TAIL_MS)]


@pytest.mark.parametrize("trouble", [e.LinkChanged(e.Link.REFUSED), e.FaultRaised(e.Fault.SPEAKER)])
def test_nobody_asks_for_the_rest_where_it_can_not_come(trouble: e.Event) -> None:
    s = Scene()
    turn = s.ask()
    s.hear(turn)
    s.do(trouble, e.AnswerEnded(turn, e.Ending.CUT))
    assert s.do(e.SpeakingFinished(turn, 3000)) == [f.GiveSign(Sign.SORRY)]


def test_an_answer_that_failed_unheard_is_an_apology_at_once() -> None:
    s = Scene()
    assert s.do(e.AnswerEnded(s.ask(), e.Ending.FAILED)) == [f.GiveSign(Sign.SORRY)]


def test_a_speaker_that_never_ends_does_not_hold_the_kiosk() -> None:
    s = Scene()
    turn = s.ask()
    s.hear(turn, 3000)
    s.do(e.AnswerEnded(turn, e.Ending.COMPLETE))
    assert s.wait(15) == []
    assert s.wait(2) == [f.StopSpeaking(turn), f.GiveSign(Sign.SORRY)]
    assert s.state is State.READY


def test_a_speaker_that_never_falls_silent_costs_one_question_only() -> None:
    s = Scene()
    s.hear(s.ask())
    second = s.ask()
    assert second == 2
    assert f.GiveSign(Sign.SORRY) in s.wait(16)
    assert f.Ask(s.ask()) in s.seen


def test_an_earcon_never_lands_in_an_utterance() -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(0.1)
    s.do(e.Released())
    s.wait(0.3)
    assert s.do(e.Pressed()) == [f.CutSign(), f.BeginUtterance(2, -TAIL_MS)]
    s.wait(0.1)
    s.do(e.Released())
    s.wait(0.4)
    s.do(e.SignFinished(), e.SignFinished())
    s.wait(0.2)
    assert s.do(e.Pressed()) == [f.BeginUtterance(3, 200 - TAIL_MS)]


def test_the_visitor_is_forgotten_once_and_only_after_a_conversation() -> None:
    s = Scene()
    assert s.wait(1000) == []
    s.hear(s.ask())
    s.do(e.AnswerEnded(1, e.Ending.COMPLETE), e.SpeakingFinished(1, 3000))
    assert s.wait(119) == []
    assert s.wait(2) == [f.ForgetVisitor()]
    assert s.wait(100000) == []


def test_after_a_goodbye_the_visitor_is_forgotten_with_the_end_of_the_answer() -> None:
    s = Scene()
    turn = s.ask()
    assert s.do(e.GoodbyeSaid(turn + 1), e.GoodbyeSaid(turn)) == []
    s.do(e.AnswerAudio(turn, PCM, 50), e.AnswerEnded(turn, e.Ending.COMPLETE))
    assert f.ForgetVisitor() not in s.seen
    s.do(e.SpeakingFinished(turn, 50))
    assert s.wait(0) == [f.ForgetVisitor()]
    assert s.wait(SETTINGS.forget_after_s + 1) == []


def test_a_visitor_who_says_goodbye_and_then_speaks_on_is_not_forgotten() -> None:
    s = Scene()
    turn = s.ask()
    s.do(e.GoodbyeSaid(turn), e.AnswerAudio(turn, PCM, 50))
    s.do(e.Pressed())
    s.wait(2)
    assert f.ForgetVisitor() not in s.seen


def test_a_lost_microphone_ends_the_turn_with_an_apology() -> None:
    s = Scene()
    s.do(e.Pressed())
    assert s.do(e.FaultRaised(e.Fault.MICROPHONE)) == [f.DiscardUtterance(1), f.GiveSign(Sign.SORRY)]


def test_a_lost_panel_lets_go_of_the_button() -> None:
    s = Scene()
    s.do(e.Pressed())
    s.wait(1)
    assert s.do(e.FaultRaised(e.Fault.PANEL)) == [f.EndUtterance(1, SETTINGS.post_roll_ms)]
    s.do(e.FaultCleared(e.Fault.PANEL))
    assert s.do(e.Pressed())[-1] == f.BeginUtterance(2, 0)


def test_stop_lets_the_answer_finish_within_its_grace() -> None:
    s = Scene()
    turn = s.ask()
    s.hear(turn, 60000)
    assert s.do(e.StopRequested()) == []
    assert s.do(e.Pressed()) == []
    assert s.wait(SETTINGS.stop_grace_s) == [f.StopSpeaking(turn), f.Exit()]
    s = Scene()
    turn = s.ask()
    s.hear(turn, 1000)
    s.do(e.StopRequested(), e.AnswerEnded(turn, e.Ending.COMPLETE))
    assert s.do(e.SpeakingFinished(turn, 1000)) == [f.Exit()]


def test_stop_while_a_speaker_never_ends_leaves_all_the_same() -> None:
    s = Scene(evolve(SETTINGS, stop_grace_s=60))
    turn = s.ask()
    s.hear(turn, 1000)
    s.do(e.AnswerEnded(turn, e.Ending.COMPLETE), e.StopRequested())
    assert s.wait(59) == [f.StopSpeaking(turn), f.Exit()]
    assert s.kiosk.deadline is None


def test_stop_twice_is_stop_now_and_stop_in_thought_is_too() -> None:
    s = Scene()
    turn = s.ask()
    assert s.do(e.StopRequested()) == [f.CancelAnswer(turn), f.Exit()]
    s = Scene()
    s.hear(s.ask())
    s.do(e.StopRequested())
    assert s.do(e.StopRequested()) == [f.StopSpeaking(1), f.Exit()]
    assert s.seen[-2] == f.Show(evolve(s.kiosk.view, state=State.STOPPED))
