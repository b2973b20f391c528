"""The daemon: parts introduced to the dialogue, effects performed, crashes survived."""

from __future__ import annotations

from collections.abc import Callable

import trio
import trio.testing
from attrs import define, field

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
        return "the utterance"

    def stop(self, turn: int) -> None:
        self.done.append(("stop", turn))
        self.report(e.SpeakingStopped(turn, 40))  # at once, from within the effect

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *what: self.done.append((name, *what))


def build(**more: object) -> tuple[Daemon, Parts]:
    parts = Parts(**more)  # type: ignore[arg-type]
    return Daemon(Conversation(), parts, parts, parts, parts), parts  # type: ignore[arg-type]


async def test_a_turn_through_every_part(autojump_clock: trio.testing.MockClock) -> None:
    daemon, parts = build()
    reports: list[TurnReport] = []
    daemon.observe(TurnWatch(reports.append))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.run)
        await trio.testing.wait_all_tasks_blocked()
        daemon.post(e.LinkChanged(e.Link.UP))
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
        ("play", 1, PCM),
        ("stop", 1),
        ("begin", 2, 0),
        ("begin", "the utterance"),
        ("interrupt", 1, 40),
        ("discard", 2),
        ("discard", 2),
        ("give_sign", Sign.TOO_SHORT),
    ]
    assert parts.shown[-1].state is State.STOPPED
    first = reports[0]
    assert (first.answered_ms, first.sounded_ms, first.heard_ms, first.interrupted) == (400, 400, 40, True)


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
