"""The self-test as the daemon has it made: asked for, by the owner's button, when it is due; visitors first."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from attrs import evolve
from test_daemon import PCM, Parts, ready

from kioskd.audio.sound_test import SoundTestError
from kioskd.audio.verdict import Report, Verdict, with_tail
from kioskd.config.schema import Audio, Conversation, Endpoint, Settings
from kioskd.daemon import Daemon
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Sign, State
from kioskd.dialogue.surroundings import UNMEASURED_TAIL_MS
from kioskd.health.flight.replay import parse, replay
from kioskd.health.flight.tape import Tape
from kioskd.owner import verdict_words

FINE = Report(Verdict.FINE, "the microphone hears the speaker", 0.9, 150.0, -20.0, -60.0)
LOBBY = Endpoint("lobby", "wss://a/", "m")
TEST_S = 2.5


class Check:
    """As `SoundCheck`: its tests take a while, and end as the test says."""

    def __init__(self) -> None:
        self.outcome: Report | Exception = FINE
        self.stopped = 0
        self.last = None
        self.tail_ms: float | None = None
        self.due = trio.Event()
        self.told: list[object] = []

    async def test(self, tell: Callable[[e.Event], None]) -> Report:
        await trio.sleep(TEST_S)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        tell(e.FaultRaised(e.Fault.SPEAKER_DEAD, "so it seems"))
        return self.outcome

    def stop(self) -> None:
        self.stopped += 1

    def adjust(self, settings: Audio) -> None:
        """Nothing of it counts here."""

    async def run(self, request: Callable[[], Awaitable[Report]]) -> None:
        await self.due.wait()
        try:
            self.told.append(await request())
        except SoundTestError as error:
            self.told.append(str(error))
        await trio.sleep_forever()


def build() -> tuple[Daemon, Parts, Check]:
    async def spoken(report: Report) -> bytes:
        assert report is FINE
        return PCM

    parts, check = Parts(), Check()
    daemon = Daemon(Conversation(), parts, parts, parts, parts, sound=check, spoken_verdict=spoken)  # type: ignore[arg-type]
    return daemon, parts, check


async def test_who_asks_gets_the_report_and_nobody_hears_a_word(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts, check = build()
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        began = trio.current_time()
        assert await daemon.test_sound() is FINE
        assert trio.current_time() == began + TEST_S
        assert daemon.view.state is State.READY and daemon.view.faults == {e.Fault.SPEAKER_DEAD}
        assert parts.done == [] and check.stopped == 0
        check.outcome = SoundTestError("the speaker is not there")
        with pytest.raises(SoundTestError, match="not there"):
            await daemon.test_sound()
        check.outcome = ValueError("a bug")
        with pytest.raises(SoundTestError, match="a bug"):
            await daemon.test_sound()
        assert daemon.view.state is State.READY
        daemon.post(e.StopRequested())


async def test_the_owner_hears_the_verdict(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts, check = build()
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        daemon.post(e.OwnerHeld())
        await trio.sleep(TEST_S + 0.1)
        assert parts.done == [("play", 1, PCM), ("finish", 1)]
        daemon.post(e.SpeakingFinished(1, 100))
        parts.done.clear()
        check.outcome = SoundTestError("the speaker is not there")
        daemon.post(e.OwnerHeld())
        await trio.sleep(TEST_S + 0.1)
        assert parts.done == [("give_sign", Sign.SORRY)]
        daemon.post(e.StopRequested())


@pytest.mark.parametrize("owner", [False, True])
async def test_a_visitor_ends_a_test_at_once(autojump_clock: trio.testing.MockClock, owner: bool) -> None:
    daemon, parts, check = build()
    failures: list[SoundTestError] = []

    async def ask() -> None:
        with pytest.raises(SoundTestError, match="visitor"):
            await daemon.test_sound()
        failures.append(SoundTestError())

    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        if owner:
            daemon.post(e.OwnerHeld())
        else:
            nursery.start_soon(ask)
        await trio.sleep(1)
        daemon.post(e.Pressed())
        assert check.stopped == 1
        assert parts.done[0] == ("cancel", 1)
        assert parts.done[1] == ("begin", 2, -150), "after the chirp has died away"
        await trio.sleep(TEST_S)
        assert not daemon.view.faults, "an unfinished test tells nothing"
        assert bool(failures) is not owner
        daemon.post(e.Released())
        daemon.post(e.StopRequested())


async def test_nobody_is_tested_in_the_middle_of_a_turn_nor_twice_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    daemon, _, _ = build()
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        nursery.start_soon(daemon.test_sound)
        await trio.sleep(1)
        with pytest.raises(SoundTestError, match="try again later"):
            await daemon.test_sound()
        await trio.sleep(TEST_S)
        daemon.post(e.Pressed())
        with pytest.raises(SoundTestError, match="try again later"):
            await daemon.test_sound()
        daemon.post(e.StopRequested())


@pytest.mark.parametrize("visited", [False, True])
async def test_a_test_that_is_due_waits_until_the_visitor_is_gone(
    autojump_clock: trio.testing.MockClock, visited: bool
) -> None:
    daemon, _, check = build()
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        if visited:
            daemon.post(e.Pressed())
            await trio.sleep(1)
            daemon.post(e.Released())
            daemon.post(e.UtteranceEnded(1, 1000))
            daemon.post(e.AnswerAudio(1, PCM, 100))
            daemon.post(e.AnswerEnded(1, e.Ending.COMPLETE))
            daemon.post(e.SpeakingFinished(1, 100))
        check.due.set()
        await trio.sleep(TEST_S + 1)
        assert check.told == (["somebody is using the kiosk; try again later"] if visited else [FINE])
        daemon.post(e.StopRequested())


def measured(kept: float | None) -> int:
    """What counts where the self-test measured so much."""
    return with_tail(Audio(), kept).echo_tail_ms or UNMEASURED_TAIL_MS


async def test_the_tail_that_was_measured_counts_from_the_next_press_on_and_the_record_is_replayed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    daemon, parts, check = build()
    lines: list[str] = []
    Tape(lines.append).watch(daemon)
    begun: list[int] = []

    async def break_into_a_test() -> None:
        daemon.post(e.OwnerHeld())
        await trio.sleep(1)
        daemon.post(e.Pressed())
        begun.append(next(reach for what, *_, reach in parts.done if what == "begin"))
        daemon.post(e.Released())
        parts.done.clear()
        await trio.sleep(20)

    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        await break_into_a_test()
        check.tail_ms = 212.3  # another card is opened, or a test was made
        await break_into_a_test()
        daemon.adjust(Settings((LOBBY,), audio=Audio(echo_tail_ms=70)))
        await break_into_a_test()
        check.tail_ms = 90.0
        await break_into_a_test()
        daemon.adjust(Settings((LOBBY,)))
        await break_into_a_test()
        daemon.post(e.StopRequested())
    assert begun == [-150, -measured(212.3), -70, -70, -measured(90.0)] == [-150, -243, -70, -70, -120]
    steps = list(replay(parse(lines)))
    assert [line for step in steps for line in step.differences] == []
    tails = [record["checkpoint"]["settings"]["audio"]["echo_tail_ms"] for record in map(json.loads, lines)
             if "checkpoint" in record]  # fmt: skip
    assert list(dict.fromkeys(tails)) == [None, 243, 70, 120]


async def test_a_kiosk_without_a_sound_card_says_so(autojump_clock: trio.testing.MockClock) -> None:
    parts = Parts()
    daemon = Daemon(Conversation(), parts, parts, parts, parts)  # type: ignore[arg-type]
    with pytest.raises(SoundTestError, match="no sound card"):
        await daemon.test_sound()
    assert daemon.last_test is None


def test_every_verdict_has_words() -> None:
    for verdict in Verdict:
        said = verdict_words(Report(verdict, "see (`alsamixer`, F4) there", 0.0, None, -60.0, -60.0))
        assert said.endswith("there.") and "`" not in said
    assert verdict_words(FINE) == "The speaker and the microphone work: 150 milliseconds."
    told = verdict_words(evolve(FINE, tail_ms=183.6))
    assert told.endswith(": 150 milliseconds. The room is quiet 184 milliseconds after the last sound.")
