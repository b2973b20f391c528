"""Any order of events, from anybody, at any time: what must hold whatever happens."""

from __future__ import annotations

import pickle

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kioskd.config.schema import Conversation
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, State
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.turn import PLAY_OUT_MARGIN_S, RESUMED_AT_MOST

SETTINGS = Conversation(
    answer_timeout_s=15, answer_stall_s=10, max_utterance_s=30, stuck_button_s=40, forget_after_s=60
)
ANSWER_MS = st.floats(0, 5000)
OTHER_TURN = st.integers(-2, 2)


class AnyOrder(RuleBasedStateMachine):
    """The world around a kiosk, which keeps no promise but that ticks come when they are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.kiosk = Kiosk(SETTINGS)
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
                assert turn not in self.begun and 0 <= pre_roll_ms <= SETTINGS.pre_roll_ms
                self.begun.add(turn)
                self.resumed_in_a_row = 0
            case f.ContinueAnswer(turn) | f.AskAgain(turn, _):
                assert turn not in self.begun and turn - 1 in self.asked
                assert not isinstance(effect, f.AskAgain) or effect.cut_turn == turn - 1
                self.begun.add(turn)
                self.asked.add(turn)
                self.resumed_in_a_row += 1
                assert self.resumed_in_a_row <= RESUMED_AT_MOST
            case f.Ask(turn):
                assert turn in self.begun and turn not in self.asked | self.over | self.given_up
                self.asked.add(turn)
            case f.Play(turn, _):
                assert turn in self.asked and turn not in self.over | self.given_up
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
        effects = self.step(e.Pressed())
        self.down = True
        answered = [x for x in effects if isinstance(x, f.BeginUtterance | f.GiveSign)]
        leaving = self.kiosk.view.state is State.SPEAKING
        assert len(answered) == (1 if taken and not leaving else 0)

    @rule()
    def release(self) -> None:
        self.down = False
        self.step(e.Released())

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
