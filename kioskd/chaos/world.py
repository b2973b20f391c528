"""A kiosk, its visitors, its server and the network between them, in virtual time: one seed, one course of things."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Protocol

import trio
from attrs import define, evolve, field, frozen

from kioskd.chaos import leaks
from kioskd.chaos import record as r
from kioskd.chaos.cases import Limits
from kioskd.chaos.devices import MemoryMicrophone, MemoryPanel, MemorySpeaker
from kioskd.chaos.schedule import Coverage, Schedule
from kioskd.chaos.server import Server
from kioskd.chaos.timetable import Timetable
from kioskd.chaos.trace import Trace
from kioskd.chaos.visitor import Manners, Visitors
from kioskd.config.schema import Conversation, Dialect, Endpoint
from kioskd.daemon import Daemon
from kioskd.dialogue.effects import AskAgain, ContinueAnswer, Effect, ForgetVisitor, State, View
from kioskd.dialogue.events import Event, Link, StopRequested
from kioskd.dialogue.turn import PLAY_OUT_MARGIN_S
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.turnwise import TurnwiseEndpoint
from kioskd.health.flight.tape import Tape
from kioskd.simulator.faults.catalogue import KINDS, Kind, Level
from kioskd.simulator.settings import Pace

CONVERSATION = Conversation(
    pre_roll_ms=100, post_roll_ms=100, max_utterance_s=2.5, forget_after_s=30.0, history_turns=3
)
SESSION_S = 12.0  # by the kiosk's settings: so that many sessions live to be renewed, in spite of all faults
SERVER_SESSION_S = 60.0  # so that a turn that is long under way when a renewal is due can end
OWNER_COMES_S = (5.0, 25.0)  # who mends what only the owner can mend
WARM_UP_PRESSES = 60
DEADLINES_S = 2.0  # the endpoint's and the devices' own margins

LIMITS = Limits(
    turn_ms=1000
    * (
        CONVERSATION.max_utterance_s
        + CONVERSATION.post_roll_ms / 1000
        + CONVERSATION.answer_timeout_s
        + 2 * CONVERSATION.answer_stall_s
        + PLAY_OUT_MARGIN_S
        + DEADLINES_S
    ),
    forget_after_ms=CONVERSATION.forget_after_s * 1000 + 1000,
    shortening=frozenset({"incomplete-max-tokens", "incomplete-content-filter"}),
    harmless=frozenset(
        {
            "odd-bytes",
            "unknown-event",
            "garbage-json",
            "binary-frame",
            "bad-base64",
            "duplicate-event",
            "late-rate-limits",
            "null-code-error",
            "item-id-missing",
            "no-response-created",
            "second-response-done",
            "second-connection-refused",
        }
    ),
    lasting=frozenset(
        {"black-hole", "stall-5s", "slow-2kbs", "silent-upstream", "no-response-done", "answers-by-itself"}
    ),
)


ENDPOINT = Endpoint(
    name="chaos",
    url="ws://127.0.0.1/v1/realtime",
    model="echo",
    requests_per_minute=200,
    session_limit_s=SESSION_S,
)


MANNERS = Manners()


@frozen
class Plan:
    """One world. `faults` False is a network without any. `flight`: where a record to be replayed goes."""

    presses: int
    seed: int
    dialect: Dialect = Dialect.GA
    faults: bool = True
    manners: Manners = MANNERS
    kinds: tuple[str, ...] = tuple(KINDS)
    anywhere: bool = False  # see Schedule
    flight: Path | None = None


class Ground(Protocol):
    """What a world stands on: a network, and how much of its time a quiet moment takes, in s."""

    quiet_s: float

    def laid(
        self, server: Server, schedule: Schedule, on_strike: Callable[[str, str], None]
    ) -> AbstractAsyncContextManager[Endpoint]:
        """While in here, these settings lead to `server`. Faults are drawn from `schedule`."""

    def strike(self, kind: Kind) -> bool:
        """Do this to the newest connection now. False if it can't be done at a word."""

    def open_ends(self) -> list[str]:
        """The connections that are open, at one end at least."""


@define
class Outcome:
    """What a world leaves."""

    log: list[r.Entry]
    leaks: list[str] = field(factory=list)


class World:
    """`run` it once."""

    def __init__(self, plan: Plan, coverage: Coverage, ground: Ground) -> None:
        self._plan = plan
        self._coverage = coverage
        self._ground = ground
        self._trace = Trace()
        self._timetable = Timetable()
        self._keys = 0
        self._panel = MemoryPanel(self._trace)
        self._microphone = MemoryMicrophone(self._trace)
        self._speaker = MemorySpeaker(self._trace, self._rng("speaker"))
        self._schedule = Schedule(
            self._rng("schedule"),
            coverage,
            lambda: self._panel.view,
            self._later,
            self._provoke,
            plan.kinds,
            plan.anywhere,
        )
        self._schedule.enabled = plan.faults
        self._panel.on_view = self._schedule.on_view
        pace = Pace(session_s=SERVER_SESSION_S)
        self._server = self._make_server(pace)
        self._visitors = Visitors(self._panel, self._speaker, self._rng("visitors"), plan.manners, self._schedule.press)
        self._nursery: trio.Nursery

    def _make_server(self, pace: Pace) -> Server:
        return Server(self._trace, self._rng("server"), self._schedule, self._plan.dialect, pace, self._struck)

    def _make_endpoint(self, settings: Endpoint) -> RealtimeEndpoint | TurnwiseEndpoint:
        return RealtimeEndpoint(settings, CONVERSATION, self._key, jitter=self._rng("jitter").random)

    async def run(self) -> Outcome:
        """All presses, to the end of the daemon."""
        outcome = Outcome(self._trace.log)
        tasks_before = leaks.tasks()
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._timetable.run)
            self._nursery.start_soon(self._own)
            async with self._ground.laid(self._server, self._schedule, self._struck) as settings:
                await self._live(evolve(settings, dialect=self._plan.dialect), outcome)
                outcome.leaks += [f"a connection is still open: {end}" for end in self._ground.open_ends()]
            if self._server.serving:
                outcome.leaks.append(f"{self._server.serving} clients still live at the server")
            self._nursery.cancel_scope.cancel()
        left = leaks.tasks()
        for name in tasks_before:
            left.remove(name)
        outcome.leaks += [f"a task still lives: {name}" for name in left]
        return outcome

    async def _live(self, settings: Endpoint, outcome: Outcome) -> None:
        with ExitStack() as record:
            await self._live_recorded(settings, outcome, record)

    async def _live_recorded(self, settings: Endpoint, outcome: Outcome, record: ExitStack) -> None:
        endpoint = self._make_endpoint(settings)
        daemon = Daemon(CONVERSATION, self._microphone, self._speaker, self._panel, endpoint, [self._observe])
        if self._plan.flight is not None:
            stream = record.enter_context(self._plan.flight.open("w"))
            Tape(lambda line: print(line, file=stream)).watch(daemon)
        gone = trio.Event()
        self._nursery.start_soon(_run_to_end, daemon, gone)
        await self._visitors.run(min(WARM_UP_PRESSES, self._plan.presses // 2))
        before = await self._quiet_census()
        self._schedule.enabled = self._plan.faults
        await self._visitors.run(self._plan.presses)
        outcome.leaks += leaks.growth(before, await self._quiet_census())
        daemon.post(StopRequested())
        with trio.move_on_after(self._ground.quiet_s):
            await gone.wait()
        if not gone.is_set():
            outcome.leaks.append("the daemon did not end after it was told to")
        await trio.sleep(self._ground.quiet_s)

    async def _quiet_census(self) -> Counter[str]:
        """Count when nothing is going on, and the link is up."""
        self._schedule.stop()
        await self._panel.until(lambda view: view.state is State.READY, LIMITS.turn_ms / 1000)
        await self._panel.until(lambda view: view.link is Link.UP, LIMITS.turn_ms / 1000)
        await trio.sleep(self._ground.quiet_s)
        return leaks.census()

    async def _own(self) -> None:
        """The owner mends what a visitor can't wait for."""
        rng = self._rng("owner")
        while True:
            await self._panel.until(lambda view: view.link is Link.REFUSED, float("inf"))
            await trio.sleep(rng.uniform(*OWNER_COMES_S))
            self._keys += 1
            await self._panel.until(lambda view: view.link is not Link.REFUSED, float("inf"))

    def _key(self) -> str:
        return f"sk-{self._keys}"

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self._plan.seed}/{what}")

    def _later(self, after_s: float, call: Callable[[], None]) -> None:
        self._timetable.at(trio.current_time() + after_s, call)

    def _observe(self, what: Event | Effect, now: float) -> None:
        match what:
            case ForgetVisitor():
                self._trace.add(r.Forgotten(self._trace.now))
            case ContinueAnswer(turn) | AskAgain(turn):
                self._trace.add(r.Resumed(self._trace.now, turn))

    def _struck(self, kind: str, wire: str) -> None:
        view: View = self._panel.view
        self._coverage.struck(kind, view)
        self._trace.add(r.Struck(self._trace.now, kind, wire, view.state.value))

    def _provoke(self, kind: Kind, at_connect: bool) -> bool:
        """Bring about a chance for a fault of this kind. True if it was done at once."""
        if at_connect:
            kind = KINDS["rst-mid-frame"]  # who has no connection makes a new one
        done = kind.level is Level.NETWORK and self._ground.strike(kind)
        if done:
            self._struck(kind.name, "")
        if at_connect and not done:
            self._nursery.start_soon(self._server.hang_up)
        else:
            self._nursery.start_soon(self._server.poke)
        return done and not at_connect


async def _run_to_end(daemon: Daemon, gone: trio.Event) -> None:
    await daemon.run()
    gone.set()


async def run_world(plan: Plan, coverage: Coverage, ground: Ground) -> Outcome:
    """Run one world, within a trio run of its own."""
    return await World(plan, coverage, ground).run()
