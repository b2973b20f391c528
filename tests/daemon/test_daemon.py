"""The daemon: parts introduced to the dialogue, effects performed, crashes survived."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

import pytest
import trio
import trio.testing
from attrs import define, field

from kioskd.audio.utterance import Utterance
from kioskd.config.schema import Conversation
from kioskd.daemon import Daemon
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Sign, State, View
from kioskd.health.turns import TurnReport, TurnWatch

PCM = b"\1\0" * 2400


@define
class Parts:
    """Microphone, speaker, panel and endpoint in one: records what it is asked, reports what the test says."""

    done: list[tuple[object, ...]] = field(factory=list)
    shown: list[View] = field(factory=list)
    crashes: int = 0
    report: Callable[[e.Event], None] = field(init=False)
    level: float = 0.0
    utterance: object = "the utterance"

    async def run(self, report: Callable[..., None]) -> None:
        self.report = report
        if self.crashes:
            self.crashes -= 1
            raise ExceptionGroup("nested", [ValueError("a bug\nin two lines")])
        await trio.sleep_forever()

    def show(self, view: View) -> None:
        self.shown.append(view)

    def begin(self, *what: object) -> object:
        self.done.append(("begin", *what))
        return self.utterance

    def stop(self, turn: int) -> None:
        self.done.append(("stop", turn))
        self.report(e.SpeakingStopped(turn, 40))  # at once, from within the effect

    def cut_sign(self) -> None:
        self.done.append(("cut_sign",))
        self.report(e.SignFinished())

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *what: self.done.append((name, *what))


def build(**more: object) -> tuple[Daemon, Parts]:
    parts = Parts(**more)  # type: ignore[arg-type]
    return Daemon(Conversation(), parts, parts, parts, parts, answer_kept_ms=150), parts  # type: ignore[arg-type]


async def test_a_turn_through_every_part(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts = build()
    reports: list[TurnReport] = []
    daemon.observe(TurnWatch(reports.append))
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        daemon.post(e.Pressed())
        await trio.sleep(2)
        daemon.post(e.Released())
        daemon.post(e.UtteranceEnded(1, 2000))
        await trio.sleep(0.4)
        daemon.post(e.AnswerAudio(1, PCM, 100))
        daemon.post(e.SpeakingStarted(1))
        await trio.sleep(0.05)
        daemon.post(e.Pressed())  # barge-in: silence, what was heard, and only then the new question
        await trio.sleep(0.1)
        daemon.post(e.Released())
        daemon.post(e.StopRequested())
    assert parts.done == [
        ("begin", 1, 300),
        ("begin", "the utterance"),
        ("end", 1, 200),
        ("ask", 1),
        ("give_sign", Sign.SENT),
        ("cut_sign",),
        ("play", 1, PCM),
        ("stop", 1),
        ("begin", 2, -150),
        ("begin", "the utterance"),
        ("interrupt", 1, 40),
        ("discard", 2),
        ("discard", 2),
        ("give_sign", Sign.TOO_SHORT),
    ]
    assert parts.shown[-1].state is State.STOPPED
    first = reports[0]
    assert first.sign is None, "that it was sent is not how the turn ended"
    assert (first.answered_ms, first.sounded_ms, first.heard_ms, first.interrupted) == (400, 400, 40, True)


async def test_what_was_said_is_not_kept_beyond_its_turn(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts = build(utterance=Utterance(1, 100))
    said = weakref.ref(parts.utterance)
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        daemon.post(e.Pressed())
        await trio.sleep(2)
        parts.utterance = None
        daemon.post(e.Released())
        daemon.post(e.UtteranceEnded(1, 2000))
        daemon.post(e.AnswerAudio(1, PCM, 100))
        daemon.post(e.SpeakingStarted(1))
        daemon.post(e.AnswerEnded(1, e.Ending.COMPLETE))
        parts.done.clear()
        assert said() is not None, "it may have to be asked again"
        daemon.post(e.SpeakingFinished(1, 100))
        assert parts.shown[-1].state is State.READY and said() is None
        daemon.post(e.StopRequested())


async def test_ticks_come_when_the_dialogue_wants_them(autojump_clock: trio.testing.MockClock) -> None:
    daemon, _ = build()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.run)
        await trio.testing.wait_all_tasks_blocked()
        daemon.post(e.LinkChanged(e.Link.UP))
        daemon.post(e.Pressed())
        pressed = trio.current_time()
        ended: list[float] = []
        daemon.observe(lambda what, now: ended.append(now) if isinstance(what, f.EndUtterance) else None)
        await trio.sleep(100)
        assert ended == [pressed + Conversation().max_utterance_s]
        daemon.post(e.StopRequested())


async def test_a_crash_is_a_fault_and_a_restart(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts = build(crashes=4)
    seen: list[object] = []
    daemon.observe(lambda what, now: seen.append(what))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.run)
        await trio.sleep(60)
        assert parts.crashes == 0
        daemon.post(e.StopRequested())
    faults = {event.fault for event in seen if isinstance(event, e.FaultRaised)}
    assert faults == {e.Fault.MICROPHONE, e.Fault.SPEAKER, e.Fault.PANEL}
    causes = [event.cause for event in seen if isinstance(event, e.LinkChanged)]
    assert causes == ["endpoint crashed: ValueError: a bug in two lines"]


async def ready(nursery: trio.Nursery, daemon: Daemon) -> None:
    nursery.start_soon(daemon.run)
    await trio.testing.wait_all_tasks_blocked()
    daemon.post(e.LinkChanged(e.Link.UP))


async def answer(daemon: Daemon, turn: int, *pieces: bytes) -> None:
    """One whole turn, heard to its end."""
    daemon.post(e.Pressed())
    await trio.sleep(1)
    daemon.post(e.Released())
    daemon.post(e.UtteranceEnded(turn, 1000))
    for pcm in pieces:
        daemon.post(e.AnswerAudio(turn, pcm, 100))
    daemon.post(e.AnswerEnded(turn, e.Ending.COMPLETE))
    daemon.post(e.SpeakingFinished(turn, 100))


def played(parts: Parts, turn: int) -> bytes:
    return b"".join(what[2] for what in parts.done if what[:2] == ("play", turn))  # type: ignore[misc]


async def test_the_last_answer_is_said_again_bounded_and_never_to_another_visitor(
    autojump_clock: trio.testing.MockClock,
) -> None:
    daemon, parts = build()
    reports: list[TurnReport] = []
    daemon.observe(TurnWatch(reports.append))
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        await answer(daemon, 1, b"\2\0" * 2400)
        await answer(daemon, 2, PCM, b"\3\0" * 2400)  # 100 ms each, of which 150 are kept
        daemon.post(e.DoublePressed())
        assert played(parts, 3) == PCM + b"\3\0" * 1200
        assert ("finish", 3) in parts.done
        daemon.post(e.SpeakingFinished(3, 150))
        daemon.post(e.Released())
        assert reports[-1].own and reports[-1].heard_ms == 150
        await trio.sleep(Conversation().forget_after_s + 1)
        assert ("forget",) in parts.done
        parts.done.clear()
        daemon.post(e.DoublePressed())
        assert parts.done == [("give_sign", Sign.TOO_SHORT)]
        daemon.post(e.StopRequested())


async def test_the_end_of_a_tapped_utterance_is_heard(autojump_clock: trio.testing.MockClock) -> None:
    utterance = Utterance(1, 24_000 * 2 * 60)
    daemon, parts = build(utterance=utterance)
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        daemon.post(e.Pressed())
        await trio.sleep(0.1)
        daemon.post(e.Tapped())
        for loud in [False] * 3 + [True] * 10 + [False] * 30:
            await trio.sleep(0.1)
            utterance.append((b"\0\x20" if loud else b"\x10\0") * 2400)
        assert [what for what in parts.done if what[0] in ("end", "discard")] == [("end", 1, 0)]
        assert daemon.view.state is State.THINKING
        daemon.post(e.StopRequested())


async def test_not_even_the_memory_of_an_answer_outlives_its_visitor(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts = build()
    secret = bytes(bytearray(4800))
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        alone = sys.getrefcount(secret)
        await answer(daemon, 1, secret)
        parts.done.clear()
        assert sys.getrefcount(secret) > alone
        await trio.sleep(Conversation().forget_after_s + 1)
        assert sys.getrefcount(secret) == alone
        daemon.post(e.StopRequested())


@pytest.mark.parametrize("broken", [False, True])
async def test_the_owner_is_told_in_a_turn_of_its_own(autojump_clock: trio.testing.MockClock, broken: bool) -> None:
    async def announce() -> bytes:
        await trio.sleep(0.1)
        if broken:
            raise OSError("no voice")
        return PCM

    parts = Parts()
    daemon = Daemon(Conversation(), parts, parts, parts, parts, announce=announce)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await ready(nursery, daemon)
        daemon.post(e.OwnerPressed())
        await trio.sleep(1)
        said = [("give_sign", Sign.SORRY)] if broken else [("play", 1, PCM), ("finish", 1)]
        assert parts.done == said
        daemon.post(e.SignFinished() if broken else e.SpeakingFinished(1, 100))
        await trio.sleep(5)
        parts.done.clear()
        daemon.post(e.OwnerHeld())  # which this one can't
        assert parts.done == [("give_sign", Sign.SORRY)]
        daemon.post(e.StopRequested())
