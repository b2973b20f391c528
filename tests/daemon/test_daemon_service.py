"""The daemon as a service: signals, settings that are read anew, and what the service manager is told."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from kioskd import service as module
from kioskd.config.problems import Problem, SettingsError
from kioskd.config.schema import Audio, Conversation, Endpoint, Log, LogLevel, Settings
from kioskd.daemon import Daemon
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Sign, State, View
from kioskd.endpoints.port import LinkStatus
from kioskd.health.vitals import STOP_BOUND_S, STOP_OVERDUE
from kioskd.service import Service

OLD = Settings((Endpoint("lobby", "wss://a/", "m"),))
PCM = b"\1\0" * 2400
PATIENCE_S = 30


@define(eq=False)
class Parts:
    """All four parts in one."""

    closes: Callable[[], object] = lambda: None
    level: float = 0.0
    lives: int = 0
    done: list[tuple[object, ...]] = field(factory=list)
    settings: list[Settings] = field(factory=list)
    broken: list[Settings] = field(factory=list)
    status: LinkStatus = field(factory=lambda: LinkStatus("lobby", e.Link.UP, "", 0.0))

    async def run(self, report: Callable[..., None]) -> None:
        self.lives += 1
        try:
            await trio.sleep_forever()
        finally:
            self.lives -= 1
            self.closes()

    def show(self, view: View) -> None:
        self.done.append(("show", view.state))

    def begin(self, *what: object) -> object:
        return object()

    def give_sign(self, sign: Sign) -> None:
        self.done.append(("give_sign", sign))

    def adjust(self, settings: Settings) -> None:
        if settings in self.broken:
            raise RuntimeError("a bug")
        self.settings.append(settings)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_") or name in ("pulse", "reopen"):
            raise AttributeError(name)
        return lambda *what: self.done.append((name, *what))


class World:
    """A service whose parts are recorded."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []
        self.left: list[tuple[int, str]] = []
        self.adopted: list[tuple[Settings, list[str], str]] = []
        self.in_file: Settings | Exception = OLD
        self.parts = parts = Parts()
        self.daemon = Daemon(OLD.conversation, parts, parts, parts, parts)  # type: ignore[arg-type]
        self.service = Service(
            OLD,
            self.daemon,
            self._load,
            adopted=lambda *what: self.adopted.append(what),
            tell=self._tell,
            leave=self._leave,
        )

    @property
    def counting(self) -> list[Settings]:
        """The settings that came to count, one after the other."""
        return self.parts.settings[::4]

    def _load(self) -> Settings:
        if isinstance(self.in_file, Exception):
            raise self.in_file
        return self.in_file

    def _tell(self, **what: object) -> None:
        self.told.append(what)

    def _leave(self, code: int, why: str) -> None:
        self.left.append((code, why))

    @property
    def status(self) -> str:
        return str([what["STATUS"] for what in self.told if "STATUS" in what][-1])

    def count(self, name: str) -> int:
        return sum(name in what for what in self.told)

    async def until(self, reached: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not reached():
                await trio.sleep(0.005)

    async def reload(self, settings: Settings | Exception) -> None:
        self.in_file = settings
        ready = self.count("READY")
        os.kill(os.getpid(), signal.SIGHUP)
        await self.until(lambda: self.count("READY") > ready)

    async def begin_answer(self, daemon: Daemon) -> None:
        daemon.post(e.LinkChanged(e.Link.UP))
        daemon.post(e.Pressed())
        await trio.sleep(0.4)
        daemon.post(e.Released())
        daemon.post(e.UtteranceEnded(1, 400))
        daemon.post(e.AnswerAudio(1, PCM, 100))
        daemon.post(e.SpeakingStarted(1))
        assert daemon.view.state is State.SPEAKING


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(module, "STATUS_EVERY_S", 0)
    level = logging.getLogger().level
    yield World()
    logging.getLogger().setLevel(level)


async def stop(world: World) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_ready_is_told_first_and_stopping_leaves_nothing_open(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        assert "READY" in world.told[0] and "lobby" in world.status
        assert world.count("WATCHDOG") == 0, "nobody waits for it"
        await stop(world)
    assert world.parts.lives == 0
    assert ("show", State.STOPPED) in world.parts.done, "the lamp goes off"
    assert world.count("STOPPING") == 1 and not world.left


async def test_the_status_tells_what_is_wrong_in_one_line(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        assert world.daemon.view.faults == frozenset()
        world.daemon.post(e.FaultRaised(e.Fault.MICROPHONE, "microphone 'usb': is not there; plug it in"))
        assert "microphone 'usb': is not there; plug it in" in world.status, "at once"
        world.daemon.post(e.FaultCleared(e.Fault.MICROPHONE))
        await world.until(lambda: "microphone" not in world.status)
        await stop(world)


async def test_settings_that_are_wrong_change_nothing(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        await world.reload(SettingsError([Problem("kioskd.yaml", 12, "audio.volume", "too loud")]))
        assert {"RELOADING", "MONOTONIC_USEC"} in [set(what) for what in world.told]
        await world.until(lambda: "kioskd.yaml:12: audio.volume: too loud" in world.status)
        await world.reload(OSError("the card is broken"))
        await world.until(lambda: "the card is broken" in world.status)
        await world.reload(OLD)
        await world.until(lambda: "not reloaded" not in world.status)
        assert not world.counting
        assert [trouble[:60] for _, _, trouble in world.adopted] == [
            "settings not reloaded: kioskd.yaml:12: audio.volume: too lou",
            "settings not reloaded: OSError: the card is broken",
            "",
        ]
        await stop(world)


async def test_the_log_level_counts_at_once(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        await world.begin_answer(world.daemon)
        await world.reload(evolve(OLD, log=Log(level=LogLevel.ERROR)))
        assert logging.getLogger().level == logging.ERROR
        world.daemon.post(e.AnswerEnded(1, e.Ending.COMPLETE))
        world.daemon.post(e.SpeakingFinished(1, 100))
        await stop(world)


async def test_the_volume_counts_in_mid_answer_and_the_rest_after_it(world: World) -> None:
    new = evolve(OLD, audio=Audio(volume=40, microphone="usb"), conversation=Conversation(stop_grace_s=3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        daemon = world.daemon
        await world.begin_answer(daemon)
        await world.reload(new)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert world.counting == [evolve(OLD, audio=Audio(volume=40))], "somebody listens to an answer"
        waiting = ["conversation.stop_grace_s", "audio.microphone"]
        assert world.adopted[-1] == (evolve(OLD, audio=Audio(volume=40)), waiting, "")
        assert daemon.memory[0].settings == OLD.conversation, "a turn ends by the rules by which it began"
        daemon.post(e.AnswerEnded(1, e.Ending.COMPLETE))
        daemon.post(e.SpeakingFinished(1, 100))
        await world.until(lambda: len(world.counting) == 2)
        assert world.counting[-1] == new == world.service.settings
        assert world.adopted[-1] == (new, [], "")
        assert daemon.memory[0].settings == new.conversation and daemon.memory[0].around.audio == new.audio
        assert world.parts.lives == 4 and world.count("STOPPING") == 0, "nothing was begun anew"
        await world.reload(new)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(world.counting) == 2, "they are the ones that count already"
        await stop(world)
    assert world.parts.lives == 0


async def test_all_of_it_counts_at_once_while_nobody_is_there(world: World) -> None:
    new = evolve(OLD, audio=Audio(volume=40, microphone="usb"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        await world.reload(new)
        await world.until(lambda: world.service.settings == new)
        await stop(world)


async def test_a_shorter_patience_counts_for_the_next_turn(world: World) -> None:
    new = evolve(OLD, conversation=Conversation(forget_after_s=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        daemon = world.daemon
        await world.begin_answer(daemon)
        daemon.post(e.AnswerEnded(1, e.Ending.COMPLETE))
        daemon.post(e.SpeakingFinished(1, 100))
        before = daemon.deadline
        assert before is not None
        await world.reload(new)
        await world.until(lambda: world.service.settings == new)
        assert daemon.deadline is not None and daemon.deadline < before - 100, "and its tick comes in time"
        await world.until(lambda: daemon._timer_due == daemon.deadline)
        await stop(world)


async def test_settings_taken_back_before_they_counted(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        daemon = world.daemon
        await world.begin_answer(daemon)
        await world.reload(evolve(OLD, conversation=Conversation(stop_grace_s=3)))
        await world.reload(OLD)
        daemon.post(e.AnswerEnded(1, e.Ending.COMPLETE))
        daemon.post(e.SpeakingFinished(1, 100))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert daemon.view.state is State.READY and not world.counting
        await stop(world)


async def test_settings_that_break_something_are_taken_back(world: World) -> None:
    new = evolve(OLD, conversation=Conversation(stop_grace_s=3))
    world.parts.broken.append(new)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        await world.reload(new)
        await world.until(lambda: "RuntimeError: a bug" in world.status)
        assert world.counting == [OLD] and world.service.settings == OLD
        assert world.daemon.memory[0].settings == OLD.conversation
        assert world.adopted[-1][0] == OLD and "RuntimeError: a bug" in world.adopted[-1][2]
        await stop(world)


async def test_a_stop_in_mid_answer_lets_it_finish_and_a_second_one_does_not(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        daemon, parts = world.daemon, world.parts
        await world.begin_answer(daemon)
        await stop(world)
        await world.until(lambda: world.count("STOPPING") == 1)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert daemon.view.state is State.SPEAKING and parts.lives == 4
        await stop(world)
    assert ("stop", 1) in parts.done and parts.lives == 0


async def test_stopping_has_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_BOUND_S", 0.01)
    world.service._settings = world.service._wanted = evolve(OLD, conversation=Conversation(stop_grace_s=0.01))
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.service.run)
        await world.until(lambda: world.parts.lives == 4)
        await world.begin_answer(world.daemon)
        await stop(world)
        await world.until(lambda: bool(world.left))
        over.set()
        await stop(world)
    assert world.left[0][0] == STOP_OVERDUE and "longer than" in world.left[0][1]
    assert STOP_BOUND_S > 0.01
