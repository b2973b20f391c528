"""What is about the daemon, when the settings change: the flight record, and who tells others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from kioskd import tellers as module
from kioskd.audio.latencies import Latencies
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.composition import TurnLog, build_daemon
from kioskd.config.schema import (
    Audio,
    Conversation,
    CutAnswer,
    Endpoint,
    KeySource,
    Metrics,
    Settings,
    Sounds,
    Webhook,
)
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, Show, State, View
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.surroundings import UNMEASURED_TAIL_MS
from kioskd.health.flight.replay import parse, replay
from kioskd.health.flight.tape import Tape
from kioskd.pulse import Adjustable
from kioskd.tellers import Tellers

LOBBY = Endpoint("lobby", "wss://a/", "m")
PLAIN = Settings((LOBBY,))


class Recorded:
    """A kiosk stepped by hand, and its record."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.kiosk = Kiosk(Conversation())
        self.observers: list[Any] = []
        self.tape = Tape(self.lines.append)
        self.tape.watch(self)

    @property
    def memory(self) -> Any:
        return self.kiosk.memory

    def observe(self, observer: Any) -> None:
        self.observers.append(observer)

    def step(self, event: e.Event, now: float) -> list[Effect]:
        for observer in self.observers:
            observer(event, now)
        effects = self.kiosk.step(event, now)
        for observer in self.observers:
            for effect in effects:
                observer(effect, now)
        return effects

    def ask(self, now: float) -> None:
        self.step(e.Pressed(), now)
        self.step(e.Released(), now + 2)
        number = self.kiosk.turn
        assert number is not None
        self.step(e.UtteranceEnded(number, 2000), now + 2.2)
        self.step(e.AnswerAudio(number, bytes(4800), 100.0), now + 3)


def test_a_record_over_a_change_of_settings_is_replayed_by_those_that_counted() -> None:
    """Nobody has to tell the recorder: it sees what the dialogue goes by."""
    recorded = Recorded()
    recorded.step(e.Started(), 1000.0)
    recorded.step(e.LinkChanged(e.Link.UP), 1001.0)
    recorded.ask(1002.0)
    recorded.kiosk.adopt(
        Conversation(cut_answer=CutAnswer.APOLOGISE, forget_after_s=5), Audio(sounds=Sounds(sent="none"))
    )
    recorded.step(e.AnswerEnded(1, e.Ending.CUT), 1006.0)
    recorded.step(e.SpeakingFinished(1, 100), 1006.5)
    recorded.ask(1007.0)
    differences = [line for step in replay(parse(recorded.lines)) for line in step.differences]
    assert differences == []


def test_every_part_of_a_kiosk_that_goes_by_the_settings_can_be_adjusted(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    daemon = build_daemon(PLAIN)
    parts = {each.supervised.name: each.part for each in daemon.parts._parts}
    assert {name for name, part in parts.items() if isinstance(part, Adjustable)} == {
        "microphone", "speaker", "panel", "endpoint", "endpointer", "self-test",
    }  # fmt: skip
    new = evolve(PLAIN, conversation=Conversation(answer_timeout_s=3), audio=Audio(volume=3, speaker="usb"))
    daemon.adjust(new)
    assert daemon.memory[0].settings == new.conversation and daemon.memory[0].around.audio == new.audio


async def test_a_card_that_is_opened_brings_its_tail_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    Latencies(tmp_path).keep(None, "usb", 40.0, 200.0)
    daemon = build_daemon(evolve(PLAIN, audio=Audio(speaker="usb")))
    daemon.post(e.Started())
    assert daemon.memory[0].around.echo_tail_ms == UNMEASURED_TAIL_MS
    assert isinstance(daemon.speaker, AlsaSpeaker)
    assert daemon.speaker._playback._latency_of(None) == 40.0  # as its thread does when it has opened the device
    daemon.post(e.Tick())
    assert daemon.memory[0].around.echo_tail_ms == 230


@define(eq=False)
class FakeTeller:
    name: str
    section: object
    seen: list[Any] = field(factory=list)
    running: int = 0

    def __call__(self, what: Any, now: float) -> None:
        self.seen.append(what)

    async def run(self) -> None:
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.running -= 1


async def test_tellers_come_and_go_and_one_that_stays_knows_what_it_knew(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeTeller] = []

    def make(settings: Settings, status: Any, read: Any, there: Any) -> Any:
        for name in ("metrics", "webhook"):
            if getattr(settings, name) is not None and name not in there:
                made.append(FakeTeller(name, getattr(settings, name)))
                yield name, made[-1]

    monkeypatch.setattr(module, "tellers", make)
    telling = Tellers(dict, lambda source: "")
    both = evolve(PLAIN, metrics=Metrics("/a.prom"), webhook=Webhook(KeySource("hook")))
    shown, link = Show(View(State.READY, e.Link.UP)), e.LinkChanged(e.Link.UP)
    telling.adjust(PLAIN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(telling.run)
        await trio.sleep(1)
        telling(shown, 1.0)
        telling(link, 1.0)
        telling.adjust(both)
        await trio.sleep(1)
        assert [teller.running for teller in made] == [1, 1]
        assert all(teller.seen == [shown, link] for teller in made), "how things are"
        telling.adjust(evolve(both, webhook=Webhook(KeySource("other"))))
        await trio.sleep(1)
        assert [(teller.name, teller.running) for teller in made] == [("metrics", 1), ("webhook", 0), ("webhook", 1)]
        telling(shown, 2.0)
        assert [len(teller.seen) for teller in made] == [3, 2, 3]
        telling.adjust(PLAIN)
        await trio.sleep(1)
        assert not any(teller.running for teller in made)
        nursery.cancel_scope.cancel()


def test_transcripts_are_logged_from_the_change_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    turns = TurnLog(PLAIN.log)
    recorded = Recorded()
    recorded.observe(turns)
    recorded.step(e.Started(), 1000.0)
    recorded.step(e.LinkChanged(e.Link.UP), 1001.0)
    for at, wanted in ((1002.0, False), (1020.0, True)):
        turns.adopt(evolve(PLAIN.log, transcripts=wanted))
        caplog.clear()
        recorded.ask(at)
        number = recorded.kiosk.turn
        assert number is not None
        recorded.step(e.Transcript(number, e.Speaker.VISITOR, "where is the exit"), at + 3)
        recorded.step(e.AnswerEnded(number, e.Ending.COMPLETE), at + 4)
        recorded.step(e.SpeakingFinished(number, 100), at + 5)
        assert ("where is the exit" in caplog.text) is wanted
