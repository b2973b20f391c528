"""Every (state, event) pair has a defined outcome, reached through the kiosk's own door."""

from __future__ import annotations

import typing

import pytest

from kioskd.config.schema import Conversation
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, State
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.table import TABLE

KINDS = [*typing.get_args(e.Event), *typing.get_args(Effect)]
PCM = b"\1\0" * 480

WAY_TO: dict[State, list[e.Event]] = {State.STARTING: []}
WAY_TO[State.READY] = [e.Started(), e.LinkChanged(e.Link.UP)]
WAY_TO[State.LISTENING] = [*WAY_TO[State.READY], e.Pressed()]
WAY_TO[State.THINKING] = [*WAY_TO[State.LISTENING], e.Released(), e.UtteranceEnded(1, 1000)]
WAY_TO[State.SPEAKING] = [*WAY_TO[State.THINKING], e.AnswerAudio(1, PCM, 20)]
WAY_TO[State.STOPPED] = [*WAY_TO[State.READY], e.StopRequested()]

SAMPLES: dict[type[e.Event], list[e.Event]] = {
    e.Started: [e.Started()],
    e.Pressed: [e.Pressed()],
    e.Released: [e.Released(), e.Released(late_ms=50)],
    e.Tapped: [e.Tapped()],
    e.DoublePressed: [e.DoublePressed()],
    e.FoundHeld: [e.FoundHeld()],
    e.OwnerPressed: [e.OwnerPressed()],
    e.OwnerHeld: [e.OwnerHeld()],
    e.OwnerSays: [e.OwnerSays(7)],
    e.CheckDue: [e.CheckDue(), e.CheckDue(alone=True)],
    e.SoundChecked: [e.SoundChecked(turn) for turn in (0, 1, 2)],
    e.FellSilent: [e.FellSilent(turn, spoke) for turn in (0, 1, 2) for spoke in (True, False)],
    e.UtteranceEnded: [e.UtteranceEnded(turn, 1000) for turn in (0, 1, 2)],
    e.LinkChanged: [e.LinkChanged(link, "why") for link in e.Link],
    e.FaultRaised: [e.FaultRaised(fault, "why") for fault in e.Fault],
    e.FaultCleared: [e.FaultCleared(fault) for fault in e.Fault],
    e.AnswerAudio: [e.AnswerAudio(turn, PCM, 20) for turn in (0, 1, 2)],
    e.AnswerEnded: [e.AnswerEnded(turn, ending, "why") for turn in (0, 1, 2) for ending in e.Ending],
    e.GoodbyeSaid: [e.GoodbyeSaid(turn) for turn in (0, 1, 2)],
    e.Transcript: [e.Transcript(1, speaker, "words") for speaker in e.Speaker],
    e.Usage: [e.Usage(1, input_text=3)],
    e.SpeakingStarted: [e.SpeakingStarted(1)],
    e.SpeakingFinished: [e.SpeakingFinished(turn, 20) for turn in (0, 1, 2)],
    e.SpeakingStopped: [e.SpeakingStopped(turn, 20) for turn in (0, 1, 2)],
    e.SignFinished: [e.SignFinished()],
    e.StopRequested: [e.StopRequested()],
    e.Tick: [e.Tick()],
}


def walk(way: list[e.Event]) -> tuple[Kiosk, float]:
    """A kiosk that has lived through `way`, half a second an event, and its time."""
    kiosk = Kiosk(Conversation())
    now = 100.0
    for event in way:
        now += 0.5
        kiosk.step(event, now)
    return kiosk, now


def test_every_event_has_samples_and_a_row_for_every_state() -> None:
    every = set(typing.get_args(e.Event))
    assert set(SAMPLES) == every
    assert set(TABLE) == {(state, event) for state in State for event in every}


@pytest.mark.parametrize("state", list(State))
def test_the_way_leads_to_the_state(state: State) -> None:
    kiosk, _ = walk(WAY_TO[state])
    assert kiosk.view.state is state


EXPECTED_MOVES: dict[tuple[State, type[e.Event]], set[State]] = {
    (State.STARTING, e.Started): {State.READY},
    (State.READY, e.Pressed): {State.LISTENING},
    (State.READY, e.OwnerPressed): {State.THINKING},
    (State.READY, e.OwnerHeld): {State.THINKING},
    (State.READY, e.OwnerSays): {State.THINKING},
    (State.READY, e.CheckDue): {State.THINKING},
    (State.LISTENING, e.Released): {State.THINKING},
    (State.LISTENING, e.DoublePressed): {State.READY},
    (State.THINKING, e.DoublePressed): {State.READY},
    (State.SPEAKING, e.DoublePressed): {State.THINKING},
    (State.LISTENING, e.LinkChanged): {State.LISTENING, State.READY},
    (State.LISTENING, e.FaultRaised): {State.LISTENING, State.THINKING, State.READY},
    (State.THINKING, e.Pressed): {State.LISTENING},
    (State.THINKING, e.LinkChanged): {State.THINKING, State.READY},
    (State.THINKING, e.FaultRaised): {State.THINKING, State.READY},
    (State.THINKING, e.AnswerAudio): {State.THINKING, State.SPEAKING},
    (State.THINKING, e.AnswerEnded): {State.THINKING, State.READY},
    (State.SPEAKING, e.Pressed): {State.LISTENING},
    (State.SPEAKING, e.SpeakingFinished): {State.SPEAKING, State.READY},
    (State.SPEAKING, e.SpeakingStopped): {State.SPEAKING, State.READY},
    (State.STARTING, e.StopRequested): {State.STOPPED},
    (State.READY, e.StopRequested): {State.STOPPED},
    (State.LISTENING, e.StopRequested): {State.STOPPED},
    (State.THINKING, e.StopRequested): {State.STOPPED},
}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event_type", list(SAMPLES))
def test_the_pair_leads_where_it_should_and_nowhere_else(state: State, event_type: type[e.Event]) -> None:
    reached = set()
    for event in SAMPLES[event_type]:
        kiosk, now = walk(WAY_TO[state])
        effects = kiosk.step(event, now + 0.5)
        assert all(isinstance(effect, typing.get_args(Effect)) for effect in effects)
        reached.add(kiosk.view.state)
    assert reached == EXPECTED_MOVES.get((state, event_type), {state})


@pytest.mark.parametrize("event_type", list(SAMPLES))
def test_nothing_follows_a_stop(event_type: type[e.Event]) -> None:
    for event in SAMPLES[event_type]:
        kiosk, now = walk(WAY_TO[State.STOPPED])
        assert kiosk.step(event, now + 1) == []
        assert kiosk.deadline is None


def test_no_kind_of_event_or_effect_passes_for_another() -> None:
    assert [(one, other) for one in KINDS for other in KINDS if one is not other and issubclass(one, other)] == []
    assert e.Pressed() != e.Tapped() and e.SpeakingFinished(1, 20) != e.SpeakingStopped(1, 20)
