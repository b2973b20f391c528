"""Any order of events, from anybody, at any time: what must hold whatever happens."""

from __future__ import annotations

import math
import pickle

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kioskd.config.schema import Audio, Conversation
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.button import LATE_TAP_S
from kioskd.dialogue.effects import Effect, Sign, State
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.surroundings import FOR_THE_EAR, UNMEASURED_TAIL_MS
from kioskd.dialogue.turn import PLAY_OUT_MARGIN_S, RESUMED_AT_MOST

SETTINGS = Conversation(
    answer_timeout_s=15, answer_stall_s=10, max_utterance_s=30, stuck_button_s=40, forget_after_s=60
)
AUDIO = Audio()
ANSWER_MS = st.floats(0, 5000)
OTHER_TURN = st.integers(-2, 2)


class AnyOrder(RuleBasedStateMachine):
    """The world around a kiosk, which keeps no promise but that ticks come when they are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.kiosk = Kiosk(SETTINGS, AUDIO)
        self.now = 0.0
        self.down = False
        self.lamp: f.View | None = None
        self.begun: set[int] = set()
        self.asked: set[int] = set()
        self.over: set[int] = set()
        self.interrupted: set[int] = set()
        self.given_up: set[int] = set()
        self.entered = (State.STARTING, 0.0)
        self.sound_until = 0.0
        self.resumed_in_a_row = 0
        self.own: set[int] = set()
        self.repeatable = False
        self.hands_free: set[int] = set()
        self.utterance_ended_at = -math.inf

    def step(self, event: e.Event) -> list[Effect]:
        """One event, and everything that its effects must satisfy."""
        before = self.kiosk.turn
        effects = self.kiosk.step(event, self.now)
        for effect in effects:
            self.hold(effect)
        if before is not None and before != self.kiosk.turn:
            self.over.add(before)
        if (self.kiosk.view.state, self.kiosk.turn) != (self.entered[0], before):
            self.entered = (self.kiosk.view.state, self.now)
        return effects

    def hold(self, effect: Effect) -> None:
        """What is true of each effect, whenever it comes."""
        match effect:
            case f.Show(view):
                self.lamp = view
            case f.BeginUtterance(turn, pre_roll_ms):
                assert turn not in self.begun and -UNMEASURED_TAIL_MS <= pre_roll_ms <= SETTINGS.pre_roll_ms
                self.begun.add(turn)
                self.resumed_in_a_row = 0
            case f.ContinueAnswer(turn) | f.AskAgain(turn, _):
                assert turn not in self.begun and turn - 1 in self.asked - self.own
                assert not isinstance(effect, f.AskAgain) or effect.cut_turn == turn - 1
                self.begun.add(turn)
                self.asked.add(turn)
                self.resumed_in_a_row += 1
                assert self.resumed_in_a_row <= RESUMED_AT_MOST
            case f.RepeatAnswer(turn) | f.Announce(turn) | f.TestSound(turn) | f.CheckSound(turn) | f.SayWords(turn):
                assert turn not in self.begun
                assert not isinstance(effect, f.RepeatAnswer) or self.repeatable
                self.begun.add(turn)
                self.own.add(turn)
                self.asked.add(turn)
            case f.AwaitSilence(turn):
                assert turn in self.begun and turn not in self.asked | self.over | self.given_up
                self.hands_free.add(turn)
            case f.EndUtterance(_, post_roll_ms):
                assert 0 <= post_roll_ms <= SETTINGS.post_roll_ms
                self.utterance_ended_at = self.now
            case f.ForgetVisitor():
                self.repeatable = False
            case f.GiveSign(sign) if sign in FOR_THE_EAR | {Sign.CONNECTION_LOST}:
                assert self.kiosk.view.state is not State.LISTENING, "an earcon in an utterance"
            case f.Ask(turn):
                assert turn in self.begun and turn not in self.asked | self.over | self.given_up
                self.asked.add(turn)
            case f.Play(turn, _):
                assert turn in self.asked and turn not in self.over | self.given_up
                self.repeatable |= turn not in self.own
            case f.CancelAnswer(turn) | f.StopSpeaking(turn):
                assert turn in self.asked
                self.given_up.add(turn)
            case f.DiscardUtterance(turn):
                assert turn in self.begun and turn not in self.asked
                self.given_up.add(turn)
            case f.Interrupt(turn, _):
                assert turn in self.asked and turn not in self.interrupted
                self.interrupted.add(turn)

    def some_turn(self, offset: int) -> int:
        return (self.kiosk.turn or len(self.begun)) + offset

    @rule()
    def start(self) -> None:
        self.step(e.Started())

    @rule()
    def press(self) -> None:
        taken = not self.down and self.kiosk.view.state is not State.STOPPED
        # A press that ends an utterance begins none; shortly after it, it is taken for the same.
        listening = self.kiosk.view.state is State.LISTENING
        late = self.kiosk.turn in self.hands_free and self.now - self.utterance_ended_at < LATE_TAP_S
        effects = self.step(e.Pressed())
        self.down = True
        answered = [x for x in effects if isinstance(x, f.BeginUtterance | f.GiveSign)]
        leaving = self.kiosk.view.state is State.SPEAKING
        if taken and listening:
            assert [x for x in effects if isinstance(x, f.EndUtterance | f.DiscardUtterance)]
        else:
            assert len(answered) == (1 if taken and not leaving and not late else 0)

    @rule(late_ms=st.sampled_from([0, 50, 350]))
    def release(self, late_ms: int) -> None:
        self.down = False
        self.step(e.Released(late_ms))

    @rule()
    def tap(self) -> None:
        self.down = False
        self.step(e.Tapped())

    @rule()
    def press_twice(self) -> None:
        state, since = self.kiosk.view.state, self.now - self.utterance_ended_at
        effects = self.step(e.DoublePressed())
        self.down = True
        if state is State.READY or (state is State.THINKING and since > LATE_TAP_S):
            assert len([x for x in effects if isinstance(x, f.RepeatAnswer | f.GiveSign)]) <= 1

    @rule()
    def found_held(self) -> None:
        assert not [x for x in self.step(e.FoundHeld()) if not isinstance(x, f.Show)]
        self.down = True

    @rule(event=st.sampled_from([e.OwnerPressed(), e.OwnerHeld(), e.OwnerSays(7), e.CheckDue(), e.CheckDue(True)]))
    def owner(self, event: e.Event) -> None:
        idle = self.kiosk.view.state is State.READY
        effects = self.step(event)
        assert idle or not [x for x in effects if not isinstance(x, f.Show)]

    @rule(offset=OTHER_TURN)
    def sound_checked(self, offset: int) -> None:
        self.step(e.SoundChecked(self.some_turn(offset)))

    @rule(offset=OTHER_TURN, spoke=st.booleans())
    def falls_silent(self, offset: int, spoke: bool) -> None:
        self.step(e.FellSilent(self.some_turn(offset), spoke))

    @rule(offset=OTHER_TURN, duration_ms=st.integers(0, 30000))
    def utterance_ends(self, offset: int, duration_ms: int) -> None:
        self.step(e.UtteranceEnded(self.some_turn(offset), duration_ms))

    @rule(link=st.sampled_from(e.Link))
    def link_changes(self, link: e.Link) -> None:
        self.step(e.LinkChanged(link))

    @rule(fault=st.sampled_from(e.Fault))
    def fault(self, fault: e.Fault) -> None:
        if fault is e.Fault.PANEL:
            self.down = False
        if fault is not e.Fault.BUTTON_STUCK:
            self.step(e.FaultRaised(fault))

    @rule(fault=st.sampled_from(e.Fault))
    def fault_clears(self, fault: e.Fault) -> None:
        self.step(e.FaultCleared(fault))

    @rule(offset=OTHER_TURN, duration_ms=ANSWER_MS)
    def audio(self, offset: int, duration_ms: float) -> None:
        if any(isinstance(x, f.Play) for x in self.step(e.AnswerAudio(self.some_turn(offset), b"\0\0", duration_ms))):
            self.sound_until = max(self.sound_until, self.now) + duration_ms / 1000

    @rule(offset=OTHER_TURN, ending=st.sampled_from(e.Ending))
    def answer_ends(self, offset: int, ending: e.Ending) -> None:
        self.step(e.AnswerEnded(self.some_turn(offset), ending))

    @rule(offset=OTHER_TURN)
    def speaking_finishes(self, offset: int) -> None:
        self.step(e.SpeakingFinished(self.some_turn(offset), 100))

    @rule(offset=OTHER_TURN)
    def speaking_stops(self, offset: int) -> None:
        self.step(e.SpeakingStopped(self.some_turn(offset), 100))

    @rule(event=st.sampled_from([e.SignFinished(), e.Tick(), e.Usage(1), e.Transcript(1, e.Speaker.VISITOR, "")]))
    def anything_else(self, event: e.Event) -> None:
        self.step(event)

    @rule(dice=st.integers(0, 9))
    def stop(self, dice: int) -> None:
        if dice == 0:  # rarely: nothing happens after it
            self.step(e.StopRequested())

    @rule(seconds=st.floats(0, 45))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        ticks = 0
        while (due := self.kiosk.deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self.step(e.Tick())
            ticks += 1
            assert ticks < 50, "a tick must change something, or the daemon spins"
        self.now = until

    @invariant()
    def the_lamp_matches(self) -> None:
        if self.lamp is not None:
            assert self.lamp == self.kiosk.view or self.kiosk.view.state is State.STOPPED
        if self.lamp is not None and self.kiosk.view.state is State.STOPPED:
            assert self.lamp.state is State.STOPPED

    @invariant()
    def every_turn_ends_within_its_limits(self) -> None:
        state, since = self.entered
        waited = self.now - since
        if state is State.LISTENING:
            assert waited <= SETTINGS.max_utterance_s + 1e-6
        elif state is State.THINKING:
            assert waited <= SETTINGS.answer_timeout_s + 1e-6
        elif state is State.SPEAKING:
            silence = self.now - max(self.sound_until, since)
            assert silence <= SETTINGS.answer_stall_s + PLAY_OUT_MARGIN_S + 1e-6
        if state in (State.LISTENING, State.THINKING, State.SPEAKING):
            assert self.kiosk.turn is not None and self.kiosk.deadline is not None

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(pickle.dumps(self.kiosk)) < 4096


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=150, stateful_step_count=60, deadline=None)
