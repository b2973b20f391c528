"""The transition table: what every event means in every state. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kioskd.dialogue import button as b
from kioskd.dialogue import outcomes as o
from kioskd.dialogue.effects import State
from kioskd.dialogue.events import (
    AnswerAudio,
    AnswerEnded,
    CheckDue,
    DoublePressed,
    Event,
    FaultCleared,
    FaultRaised,
    FellSilent,
    FoundHeld,
    GoodbyeSaid,
    LinkChanged,
    OwnerHeld,
    OwnerPressed,
    OwnerSays,
    Pressed,
    Released,
    SignFinished,
    SoundChecked,
    SpeakingFinished,
    SpeakingStarted,
    SpeakingStopped,
    Started,
    StopRequested,
    Tapped,
    Tick,
    Transcript,
    Usage,
    UtteranceEnded,
)
from kioskd.dialogue.scene import Scene

Outcome = Callable[[Scene, Any, float], None]

_ = o.ignored

# fmt: off
ROWS: dict[type[Event], tuple[Outcome, Outcome, Outcome, Outcome, Outcome]] = {
    #                  starting       ready           listening          thinking           speaking
    Started:          (o.opened,      _,              _,                 _,                 _),
    Pressed:          (b.press_early, b.press,        b.second_tap,      b.press_thinking,  b.barge_in),
    Released:         (_,             _,              b.release,         _,                 _),
    Tapped:           (_,             _,              b.tap,             _,                 _),
    DoublePressed:    (_,             b.double_press, b.double_in_turn,  b.double_in_turn,  b.double_barge_in),
    FoundHeld:        (_,             _,              _,                 _,                 _),
    OwnerPressed:     (_,             b.owner_press,  _,                 _,                 _),
    OwnerHeld:        (_,             b.owner_hold,   _,                 _,                 _),
    OwnerSays:        (_,             b.owner_says,   _,                 _,                 _),
    CheckDue:         (_,             b.check_due,    _,                 _,                 _),
    SoundChecked:     (_,             _,              _,                 o.sound_checked,   _),
    FellSilent:       (_,             _,              b.fell_silent,     _,                 _),
    UtteranceEnded:   (_,             _,              _,                 o.utterance_ended, _),
    LinkChanged:      (_,             _,              o.link_in_turn,    o.link_in_turn,    _),
    FaultRaised:      (_,             _,              o.fault_listening, o.fault_thinking,  _),
    FaultCleared:     (_,             _,              _,                 _,                 _),
    AnswerAudio:      (_,             _,              _,                 o.first_audio,     o.more_audio),
    AnswerEnded:      (_,             _,              _,                 o.ended_unheard,   o.answer_ended),
    GoodbyeSaid:      (_,             _,              _,                 o.goodbye,         o.goodbye),
    Transcript:       (_,             _,              _,                 _,                 _),
    Usage:            (_,             _,              _,                 _,                 _),
    SpeakingStarted:  (_,             _,              _,                 _,                 _),
    SpeakingFinished: (_,             _,              _,                 _,                 o.speaking_ended),
    SpeakingStopped:  (_,             o.silenced,     o.silenced,        o.silenced,        o.speaking_ended),
    SignFinished:     (_,             _,              _,                 _,                 _),
    StopRequested:    (o.stop,        o.stop,         o.stop,            o.stop,            o.stop_speaking),
    Tick:             (_,             o.tick_ready,   o.tick_listening,  o.tick_thinking,   o.tick_speaking),
}
# fmt: on

COLUMNS = (State.STARTING, State.READY, State.LISTENING, State.THINKING, State.SPEAKING)

TABLE: dict[tuple[State, type[Event]], Outcome] = {
    (state, event): outcome for event, row in ROWS.items() for state, outcome in zip(COLUMNS, row, strict=True)
} | {(State.STOPPED, event): o.ignored for event in ROWS}
