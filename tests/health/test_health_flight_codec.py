"""The recorder's forms: every event, effect and memory survives, as far as the rules depend on it; no word does."""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kioskd.config.schema import Audio, Conversation, Echo, Sounds
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.scene import Scene
from kioskd.dialogue.surroundings import Surroundings
from kioskd.health.flight.codec import TOLD_AT_MOST, CodecError, dump, effect_line, event_line, load
from kioskd.health.flight.memory import dump_memory, dump_settings, load_kiosk, load_settings

EVENTS = get_args(e.Event)
EFFECTS = get_args(f.Effect)


def any_of(kind: type) -> st.SearchStrategy[Any]:
    """Any value of an attrs class, by its annotations: a new field or type is in at once."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: _any(hints[field.name]) for field in attrs.fields(kind)})


def _any(hint: Any) -> st.SearchStrategy[Any]:
    if hint is f.View:
        return any_of(f.View)
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    return st.from_type(hint)


events = st.one_of([any_of(kind) for kind in EVENTS])
effects = st.one_of([any_of(kind) for kind in EFFECTS])
numbers = st.builds(
    Conversation,
    min_utterance_ms=st.integers(100, 5000),
    pre_roll_ms=st.integers(0, 2000),
    max_utterance_s=st.floats(2, 600),
    answer_timeout_s=st.floats(1, 20),
    answer_stall_s=st.floats(1, 20),
    stuck_button_s=st.floats(5, 100),
    forget_after_s=st.floats(5, 100),
    cut_answer=st.sampled_from(get_type_hints(Conversation)["cut_answer"]),
)
sounding = st.sampled_from(["none", "tone", "/etc/kioskd/a.wav"])
audios = st.builds(
    Audio,
    echo=st.sampled_from(Echo),
    echo_tail_ms=st.none() | st.integers(0, 1000),
    signs=st.booleans(),
    sounds=st.builds(Sounds, **{field.name: sounding for field in attrs.fields(Sounds) if field.name != "sorry_in"}),
)


def is_kept(field: str, was: Any, now: Any) -> bool:
    """All but what was said: of that only the length."""
    if isinstance(was, bytes):
        return isinstance(now, bytes) and len(now) == len(was)
    if isinstance(was, str):
        kept = field in ("cause", "reason") and "sk-" not in was
        return now == was[:TOLD_AT_MOST] if kept else len(now) == len(was)
    return bool(now == was and type(now) is type(was))


@pytest.mark.parametrize("kind", [*EVENTS, *EFFECTS], ids=lambda kind: kind.__name__)
def test_every_type_comes_back(kind: type) -> None:
    @given(any_of(kind), st.floats(0, 1e9))
    @hypothesis_settings(deadline=None)
    def comes_back(what: Any, now: float) -> None:
        line = event_line(what, now) if kind in EVENTS else effect_line(what)
        record = json.loads(line)
        assert line.isascii() and "\n" not in line and record.get("at", now) == now
        back = load(record)
        assert type(back) is kind
        for field in attrs.fields(kind):  # type: ignore[arg-type]  # all of them are attrs classes
            assert is_kept(field.name, getattr(what, field.name), getattr(back, field.name)), field.name
        assert {key: value for key, value in record.items() if key != "at"} == dump(what)
        assert not {"at", "event", "effect"} & {field.name for field in attrs.fields(kind)}  # type: ignore[arg-type]

    comes_back()


def test_nothing_that_was_said_is_written() -> None:
    said = "where is the exit"
    for what in (e.Transcript(1, e.Speaker.VISITOR, said), e.AnswerAudio(1, said.encode(), 3.5)):
        assert said not in event_line(what, 1.0)
    assert said not in effect_line(f.Play(1, said.encode()))
    assert json.loads(event_line(e.Transcript(1, e.Speaker.VISITOR, said), 1.0))["text"] == len(said)


def test_a_cause_is_written_bounded_and_without_keys() -> None:
    key = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
    line = event_line(e.LinkChanged(e.Link.DOWN, f"the key {key} is refused " + "x" * 5000), 1.0)
    assert "is refused" in line and key not in line and len(line) < TOLD_AT_MOST + 200


@pytest.mark.parametrize(
    "record",
    [
        {"event": "Dance"},
        {"effect": "Pressed"},
        {"event": 7},
        {"event": "Released"},
        {"event": "Released", "late_ms": "soon"},
        {"event": "Released", "late_ms": True},
        {"event": "Released", "late_ms": 0, "more": 1},
        {"event": "LinkChanged", "link": "sideways", "cause": ""},
        {"event": "LinkChanged", "link": ["up"], "cause": ""},
        {"event": "AnswerAudio", "turn": 1, "pcm": 1 << 40, "duration_ms": 1.0},
        {"effect": "Show", "view": None},
    ],
)
def test_what_can_not_be_read_is_told(record: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        load(record)


@given(numbers, audios)
@hypothesis_settings(deadline=None)
def test_settings_hold_no_words(conversation: Conversation, audio: Audio) -> None:
    conversation = attrs.evolve(conversation, instructions="our secret recipe", language="xx-secret")
    record = json.loads(json.dumps(dump_settings(conversation, audio)))
    assert "secret" not in json.dumps(record) and "/etc" not in json.dumps(record)
    assert dump_settings(*load_settings(record)) == record


@pytest.mark.parametrize("sent", ["none", "tone", "/etc/kioskd/a.wav"])
def test_settings_that_count_come_back(sent: str) -> None:
    audio = Audio(sounds=Sounds(sent=sent))
    asked = [e.Started(), e.LinkChanged(e.Link.UP), e.Pressed(), e.Released(), e.UtteranceEnded(1, 2000)]
    kiosks = Kiosk(Conversation(), audio), Kiosk(*load_settings(dump_settings(Conversation(), audio)))
    did = [[kiosk.step(event, 2.0 * at) for at, event in enumerate(asked)] for kiosk in kiosks]
    assert did[0] == did[1]
    assert (f.GiveSign(f.Sign.SENT) in did[0][-1]) is (sent != "none")


happenings = st.lists(st.tuples(events, st.floats(0, 40), st.integers(-1, 1)), max_size=40)


@given(numbers, audios, happenings, st.integers(0, 40))
@hypothesis_settings(deadline=None)
def test_a_kiosk_goes_on_from_its_memory_as_if_nothing_had_been(
    conversation: Conversation, audio: Audio, course: list[tuple[Any, float, int]], moment: int
) -> None:
    """One lives on; one is fed only what was written; one is taken up from its written memory in the middle."""
    lives, fed = Kiosk(conversation, audio), Kiosk(*load_settings(dump_settings(conversation, audio)))
    now = 0.0
    for index, (event, pause, offset) in enumerate([(e.Started(), 0.0, 0), *course]):
        now += pause
        if hasattr(event, "turn"):
            event = attrs.evolve(event, turn=(lives.turn or 0) + offset)
        memory = json.loads(json.dumps(dump_memory(*lives.memory)))
        assert memory == dump_memory(*fed.memory)
        if index == moment:
            fed = load_kiosk(dump_settings(conversation, audio), memory)
        record = json.loads(event_line(event, now))
        did = [effect_line(effect) for effect in lives.step(event, now)]
        assert did == [effect_line(effect) for effect in fed.step(load(record), record["at"])]
        assert lives.deadline == fed.deadline and lives.view == fed.view


def test_nothing_that_a_kiosk_remembers_is_left_out() -> None:
    written = dump_memory(*Kiosk(Conversation()).memory)
    assert {field.name for field in attrs.fields(Scene)} - written["scene"].keys() == {"settings", "around", "effects"}
    assert {field.name for field in attrs.fields(Surroundings)} - written["around"].keys() == {"settings", "audio"}
    assert vars(Kiosk(Conversation())).keys() == {"_scene", "_shown"}


@pytest.mark.parametrize("memory", [None, {}, {"scene": {}, "around": {}, "shown": None}, []])
def test_a_memory_that_can_not_be_read_is_told(memory: Any) -> None:
    with pytest.raises(CodecError):
        load_kiosk(dump_settings(Conversation(), Audio()), memory)
