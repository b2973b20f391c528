"""Replay: no difference where the rules decide the same, and each difference found where they don't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kioskd.chaos import virtual
from kioskd.chaos.schedule import Coverage
from kioskd.chaos.world import Plan
from kioskd.config.schema import Conversation
from kioskd.dialogue import events as e
from kioskd.dialogue.kiosk import Kiosk
from kioskd.health.flight.replay import Step, parse, replay
from kioskd.health.flight.tape import Tape


class Recorded:
    """A kiosk stepped by hand, its record, and who watches it."""

    def __init__(self, conversation: Conversation = Conversation()) -> None:  # noqa: B008  # frozen
        self.lines: list[str] = []
        self._kiosk = Kiosk(conversation)
        self._observers: list[Any] = []
        Tape(self.lines.append).watch(self)

    @property
    def memory(self) -> Any:
        return self._kiosk.memory

    def observe(self, observer: Any) -> None:
        self._observers.append(observer)

    def step(self, event: e.Event, now: float) -> None:
        for observer in self._observers:
            observer(event, now)
        for effect in self._kiosk.step(event, now):
            for observer in self._observers:
                observer(effect, now)

    def turn(self, number: int, now: float) -> None:
        self.step(e.Pressed(), now)
        self.step(e.Released(), now + 2)
        self.step(e.UtteranceEnded(number, 2000), now + 2.2)
        self.step(e.AnswerAudio(number, bytes(4800), 100.0), now + 3)
        self.step(e.AnswerAudio(number, bytes(4800), 100.0), now + 3.1)
        self.step(e.AnswerEnded(number, e.Ending.COMPLETE), now + 3.2)
        self.step(e.SpeakingFinished(number, 200), now + 4)

    def begin(self) -> Recorded:
        self.step(e.Started(), 1000.0)
        self.step(e.LinkChanged(e.Link.UP), 1001.0)
        return self


@pytest.fixture
def recorded() -> Recorded:
    recorded = Recorded().begin()
    for number in range(1, 4):
        recorded.turn(number, 1000.0 + 70 * number)  # so that each begins with a checkpoint
    return recorded


def steps_of(lines: list[str]) -> list[Step]:
    return list(replay(parse(lines)))


def differences(lines: list[str]) -> list[str]:
    return [line for step in steps_of(lines) for line in step.differences]


def edited(lines: list[str], index: int, **change: Any) -> list[str]:
    record = {**json.loads(lines[index]), **change}
    return [*lines[:index], json.dumps(record), *lines[index + 1 :]]


def at(lines: list[str], **wanted: Any) -> int:
    """The first line that has this."""
    return next(i for i, line in enumerate(lines) if wanted.items() <= json.loads(line).items())


def test_what_was_recorded_replays(recorded: Recorded) -> None:
    steps = steps_of(recorded.lines)
    assert [line for step in steps for line in step.differences] == []
    assert sum(step.view is not None for step in steps) == 2 + 3 * 7
    assert all(step.due == step.effects for step in steps)
    assert sum(step.checkpoint is not None for step in steps) == 4


def test_a_record_without_its_beginning_replays_from_its_first_checkpoint(recorded: Recorded) -> None:
    for begin in range(len(recorded.lines)):
        steps = steps_of(recorded.lines[begin:])
        assert [line for step in steps for line in step.differences] == []
    middle = steps_of(recorded.lines[at(recorded.lines, event="Pressed") :])
    assert [step.view is not None for step in middle] == [False] * 7 + [True] * 14


def test_a_record_that_breaks_off_anywhere_replays(recorded: Recorded) -> None:
    for end in range(1, len(recorded.lines)):
        assert differences(recorded.lines[:end]) == []


def test_a_kiosk_that_ended_within_an_event_is_followed_by_the_next(recorded: Recorded) -> None:
    next_life = Recorded().begin().lines
    for end in range(1, len(recorded.lines)):
        steps = steps_of([*recorded.lines[:end], *next_life])
        assert [line for step in steps for line in step.differences] == []
        assert [step.view is not None for step in steps][-2:] == [True, True]


def test_what_the_rules_would_not_do_is_found(recorded: Recorded) -> None:
    lines = recorded.lines
    asked = at(lines, effect="Ask", turn=1)
    assert differences(edited(lines, asked, turn=7)) == ["effect 1: recorded Ask(turn=7), replayed Ask(turn=1)"]
    missing = differences([*lines[:asked], *lines[asked + 1 :]])
    assert "replayed Ask(turn=1)" in missing[0]
    sign = at(lines, effect="GiveSign")  # the last effect of its event: it was not performed
    assert "replayed GiveSign(sign=sent)" in differences([*lines[:sign], *lines[sign + 1 :]])[0]
    doubled = differences([*lines[: asked + 1], lines[asked], *lines[asked + 1 :]])
    assert doubled and "Ask(turn=1)" in doubled[0]
    late = differences(edited(lines, at(lines, event="Released"), at=1070.1))
    assert any("DiscardUtterance(turn=1)" in line for line in late), "a press of 100 ms is too short"


def test_a_memory_that_is_not_what_the_rules_make_of_it_is_found(recorded: Recorded) -> None:
    index = [i for i, line in enumerate(recorded.lines) if "checkpoint" in json.loads(line)][2]
    record = json.loads(recorded.lines[index])
    record["checkpoint"]["memory"]["scene"]["turns"] = 40
    lines = [*recorded.lines[:index], json.dumps(record), *recorded.lines[index + 1 :]]
    assert "remembered in scene: {'turns': 40}, replayed {'turns': 1}" in differences(lines)[0]


def test_other_settings_make_a_difference(recorded: Recorded) -> None:
    lines = [line.replace('"min_utterance_ms":300', '"min_utterance_ms":5000') for line in recorded.lines]
    assert any("TOO_SHORT" in line or "too-short" in line for line in differences(lines))


@pytest.mark.parametrize(
    "garbage", ["", "nonsense", "7", '{"event":"Dance","at":1.0}', '{"gap":3}', '{"effect":"Ask"}', '{"checkpoint":{}}']
)
def test_garbage_in_a_record_is_told_and_replay_goes_on_at_the_next_checkpoint(
    recorded: Recorded, garbage: str
) -> None:
    middle = at(recorded.lines, event="AnswerEnded") - 1
    steps = steps_of([*recorded.lines[:middle], garbage, *recorded.lines[middle:]])
    assert any(step.remark or step.differences for step in steps)
    assert [step.view is not None for step in steps if step.event][-14:] == [True] * 14


def test_what_follows_missing_records_is_not_replayed_by_guess(recorded: Recorded) -> None:
    lines = recorded.lines
    pressed, released = at(lines, event="Pressed"), at(lines, event="Released")
    steps = steps_of([*lines[:pressed], '{"gap":4}', *lines[released:]])
    assert [line for step in steps for line in step.differences] == []
    assert [step.view is not None for step in steps if step.event] == [True] * 2 + [False] * 6 + [True] * 14


@pytest.mark.parametrize("faults", [False, True])
def test_recorded_chaos_turns_replay_without_a_difference(tmp_path: Path, faults: bool) -> None:
    plan = Plan(25, 7, faults=faults, flight=tmp_path / "flight.jsonl")
    virtual.run_virtually(plan, Coverage())
    steps = steps_of((tmp_path / "flight.jsonl").read_text().splitlines())
    assert [line for step in steps for line in step.differences] == []
    begun = [effect for step in steps for effect in step.due if effect["effect"] == "BeginUtterance"]
    assert len(begun) > 15
    assert all(step.view is not None for step in steps if step.event)


def test_to_be_recorded_changes_nothing(tmp_path: Path) -> None:
    logs = [
        [repr(entry) for entry in virtual.run_virtually(Plan(6, 7, flight=flight), Coverage()).log]
        for flight in (None, tmp_path / "flight.jsonl")
    ]
    assert logs[0] == logs[1]
