"""A running daemon whose parts stand still, one at a time: the documented rungs are taken, and what they do helps."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing
from attrs import define, field

from kioskd.config.schema import Conversation
from kioskd.daemon import Daemon
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Sign, View
from kioskd.health.vitals import LOOK_S, LOOP_LOOKS, VITALS, Verdict
from kioskd.health.watchdog import LoopGuard, Watchdog
from kioskd.pulse import Pulse

FAULTS = {"capture": e.Fault.MICROPHONE, "playback": e.Fault.SPEAKER, "panel": e.Fault.PANEL}


@define(eq=False)
class Part:
    """Moves unless it stands still. `heals`: a reopened or a restarted one moves again; `crashes` from now on."""

    threaded: bool = False
    heals: str = ""
    crashes: bool = False
    level: float = 0.0
    lives: int = 0
    reopened: int = 0
    still_since: float | None = None
    hung: bool = False
    excuse: str = ""
    shown: list[View] = field(factory=list)

    async def run(self, report: Callable[..., None]) -> None:
        self.lives += 1
        if self.heals == "restart" and self.lives > 1:
            self.still_since = None
        while not self.crashes:
            await trio.sleep(1)
        raise OSError("out of order")

    @property
    def pulse(self) -> Pulse:
        age_s = 0.0 if self.still_since is None else trio.current_time() - self.still_since
        return Pulse(age_s, self.excuse, (age_s if self.hung else 0.0) if self.threaded else None)

    def reopen(self) -> None:
        self.reopened += 1
        if self.heals == "reopen":
            self.still_since = None

    def show(self, view: View) -> None:
        self.shown.append(view)

    def give_sign(self, sign: Sign) -> None:
        """Nobody hears it."""

    def stand_still(self) -> None:
        self.still_since = trio.current_time()


class LeftError(Exception):
    """The process would be gone."""


class World:
    def __init__(self) -> None:
        self.parts = {
            "capture": Part(threaded=True),
            "playback": Part(threaded=True),
            "panel": Part(),
            "link": Part(),
        }
        self.daemon = Daemon(Conversation(), *self.parts.values())  # type: ignore[arg-type]
        self.seen: list[object] = []
        self.daemon.observe(lambda what, now: self.seen.append(what))
        self.left: tuple[int, str] | None = None
        self.left_at = 0.0
        self.told: list[float] = []
        self.verdicts: list[Verdict] = []
        self.watchdog = Watchdog(lambda: self.daemon.parts, self.verdicts.append, self._leave, self._tell)

    def _leave(self, code: int, why: str) -> None:
        self.left, self.left_at = (code, why), trio.current_time()
        raise LeftError

    def _tell(self, **what: object) -> None:
        assert what == {"WATCHDOG": 1}
        self.told.append(trio.current_time())

    async def live(self, seconds: float) -> None:
        """Until so long has passed, or it has left."""
        end = trio.current_time() + seconds
        while trio.current_time() < end and self.left is None:
            try:
                self.watchdog.look(trio.current_time())
            except LeftError:
                return
            await trio.sleep(LOOK_S)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return World()


def rungs(world: World) -> list[str]:
    return [step.rung.value for verdict in world.verdicts for step in verdict.steps]


async def test_a_healthy_one_is_told_to_live_and_left_alone(
    autojump_clock: trio.testing.MockClock, world: World
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.daemon.run)
        await world.live(3600)
        nursery.cancel_scope.cancel()
    assert world.left is None and not rungs(world)
    assert len(world.told) == 3600 / LOOK_S
    assert [reading.name for reading in world.daemon.readings(trio.current_time())] == [
        "loop", "capture", "playback", "panel", "link",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "hung", "expected"),
    [
        ("capture", False, ["reopen", "restart", "exit"]),
        ("capture", True, ["reopen", "exit"]),
        ("playback", False, ["reopen", "restart", "exit"]),
        ("playback", True, ["reopen", "exit"]),
        ("link", False, ["reopen", "restart", "exit"]),
        ("panel", False, ["restart", "exit"]),
    ],
)
async def test_each_that_stands_still_alone_climbs_its_ladder_to_the_end(
    autojump_clock: trio.testing.MockClock, world: World, name: str, hung: bool, expected: list[str]
) -> None:
    part = world.parts[name]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.daemon.run)
        await world.live(300)
        part.hung = hung
        part.stand_still()
        stopped = trio.current_time()
        await world.live(300)
        nursery.cancel_scope.cancel()
    assert rungs(world) == expected
    assert world.left is not None and world.left[0] == VITALS[name].exit_code
    assert max(world.told) <= stopped + VITALS[name].limit_s
    assert world.left_at - max(world.told) < 30, "before the service manager's patience ends"
    assert part.reopened == expected.count("reopen")
    assert part.lives == 1 + expected.count("restart")
    assert all(other.lives == 1 and not other.reopened for other in world.parts.values() if other is not part)
    if name in FAULTS:
        raised = [what for what in world.seen if isinstance(what, e.FaultRaised)]
        assert raised and {event.fault for event in raised} == {FAULTS[name]}
        assert not hung or "hangs" in raised[0].cause
    else:
        assert any(isinstance(what, e.LinkChanged) and what.cause.startswith("link:") for what in world.seen)


@pytest.mark.parametrize(
    ("name", "heals", "expected"),
    [
        ("capture", "reopen", ["reopen"]),
        ("capture", "restart", ["reopen", "restart"]),
        ("playback", "restart", ["reopen", "restart"]),
        ("link", "reopen", ["reopen"]),
        ("panel", "restart", ["restart"]),
    ],
)
async def test_a_rung_that_helps_is_the_last(
    autojump_clock: trio.testing.MockClock, world: World, name: str, heals: str, expected: list[str]
) -> None:
    part = world.parts[name]
    part.heals = heals
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.daemon.run)
        await world.live(300)
        part.stand_still()
        await world.live(300)
        told = max(world.told)
        nursery.cancel_scope.cancel()
    assert rungs(world) == expected and world.left is None
    assert told > trio.current_time() - 2 * LOOK_S, "it lives again"


@pytest.mark.long
async def test_what_is_known_to_be_absent_may_be_so_for_a_day(
    autojump_clock: trio.testing.MockClock, world: World
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.daemon.run)
        for part in world.parts.values():
            part.stand_still()
            part.excuse = "it is not there; next try in 4 s"
        await world.live(86_400)
        nursery.cancel_scope.cancel()
    assert not rungs(world) and len(world.told) == 86_400 / LOOK_S


@pytest.mark.parametrize("name", ["capture", "playback", "panel", "link"])
async def test_one_that_crashes_is_restarted_and_one_that_always_does_ends_the_process(
    autojump_clock: trio.testing.MockClock, world: World, name: str
) -> None:
    part = world.parts[name]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.daemon.run)
        await world.live(300)
        part.crashes = True
        await world.live(12)
        part.crashes = False
        await world.live(300)
        assert (
            world.daemon.parts.restarts[
                {"capture": "microphone", "playback": "speaker"}.get(
                    name, {"panel": "panel", "link": "endpoint"}.get(name, "")
                )
            ]
            == part.lives - 1
            > 0
        )
        assert world.left is None and not rungs(world), "a few crashes are excused"
        part.crashes = True
        await world.live(600)
        nursery.cancel_scope.cancel()
    assert world.left is not None and world.left[0] == VITALS[name].exit_code
    assert rungs(world)[-1] == "exit" and part.lives > 5


def test_a_loop_that_does_not_turn_ends_the_process_by_a_thread() -> None:
    left: list[tuple[int, str]] = []
    over = threading.Event()

    def leave(code: int, why: str) -> None:
        left.append((code, why))
        over.set()

    with LoopGuard(leave, look_s=0.01):
        assert over.wait(30)
    assert left[0][0] == VITALS["loop"].exit_code and "event loop" in left[0][1]


def test_a_loop_that_turns_is_left_alone() -> None:
    looks = 0

    class Looking(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal looks
            looks += 1
            if looks % LOOP_LOOKS == 0:
                guard.beat()  # late, yet alive
            return looks > 20 * LOOP_LOOKS

    guard = LoopGuard(lambda code, why: pytest.fail(why))
    guard._over = Looking()
    guard._watch()
