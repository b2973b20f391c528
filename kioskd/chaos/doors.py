"""The other doors: whole turns over each kind of endpoint, on loopback sockets, with the faults of that kind's wires.

It takes real time, and replays nothing. What each kind sends and hears is the simulator's affair; a brain of marks says
whose question was heard and whose answer was spoken, so that the same ledger judges.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing
from attrs import define, evolve, field

from kioskd.chaos import marks
from kioskd.chaos import record as r
from kioskd.chaos.brain import WORD_MS, Answers
from kioskd.chaos.real import CLOCK_RATE, DESCRIPTORS_LEFT, IN_FLIGHT_MS, MANNERS, SILENT_WITHIN_MS, descriptors
from kioskd.chaos.schedule import Coverage, Schedule
from kioskd.chaos.server import FaultWatch, Server
from kioskd.chaos.trace import Trace
from kioskd.chaos.virtual import Result
from kioskd.chaos.world import CONVERSATION, LIMITS, Outcome, Plan, World
from kioskd.config.schema import Auth, By, Endpoint, EndpointKind, Envelope, Speech, Transport
from kioskd.endpoints.history import History
from kioskd.endpoints.kinds import Locals, make_endpoint
from kioskd.endpoints.on_site import Understood
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.turnwise import TurnwiseEndpoint
from kioskd.simulator.brain import Situation, Understanding
from kioskd.simulator.faults.catalogue import TEXT_KINDS, Kind, Level
from kioskd.simulator.server import serve
from kioskd.simulator.settings import Pace, SimulatorSettings

_WORD = re.compile(r"a(\d+)w(\d+)")
_SOCKET, _HTTP = "ws://127.0.0.1:PORT/v1/", "http://127.0.0.1:PORT/v1/chat/completions"
_CHAT = Endpoint("chaos", _HTTP, "echo", EndpointKind.CHAT, requests_per_minute=200)
_OVER_SOCKET = evolve(_CHAT, transport=Transport.WEBSOCKET)
_RESPONSES = evolve(_CHAT, kind=EndpointKind.RESPONSES, url=f"{_SOCKET}responses")
DOORS = {
    "responses": _RESPONSES,
    "responses-nested": evolve(_RESPONSES, url=f"{_SOCKET}realtime", envelope=Envelope.NESTED),
    "chat-ws": evolve(_OVER_SOCKET, url=f"{_SOCKET}ws"),
    "chat-ws-url-key": evolve(_OVER_SOCKET, url=f"{_SOCKET}stream", auth=Auth.QUERY),
    "chat-sse": _CHAT,
    "chat-plain": evolve(_CHAT, transport=Transport.PLAIN),
    "audio-sse": evolve(_CHAT, kind=EndpointKind.AUDIO_SSE),
    "cascade": evolve(_CHAT, speech=Speech(by=By.LOCAL)),
    "local": Endpoint("chaos", kind=EndpointKind.LOCAL, faq="/marks", requests_per_minute=200),
}
_NETWORK = ("refuse-connect", "rst-mid-frame", "fin-mid-frame", "black-hole", "stall-5s")
DOOR_LIMITS = evolve(
    LIMITS,
    in_flight_ms=IN_FLIGHT_MS,
    silent_within_ms=4 * SILENT_WITHIN_MS,  # the simulator's doors share the processor, too
    # A speech that is cut short and says so nowhere is taken for a whole one.
    shortening=frozenset({"finish-length", "finish-filter", "cut-with-done", "cut-without-done"}),
    harmless=frozenset({"unknown-frame", "sse-no-space", "sse-comments", "sse-split-lines", "sse-crlf"}),
    lasting=frozenset({"black-hole", "stall-5s", "answer-stall", "answer-slow", "sse-buffered"}),
)


def kinds_of(endpoint: Endpoint) -> tuple[str, ...]:
    """The faults that this kind's wires have."""
    if endpoint.kind is EndpointKind.LOCAL:
        return ()
    levels = {Level.ANSWER, Level.REQUEST}
    if endpoint.kind is EndpointKind.RESPONSES:
        levels |= {Level.SOCKET}
    if endpoint.url.startswith("ws"):
        levels |= {Level.UPGRADE}
    if endpoint.kind is EndpointKind.AUDIO_SSE or endpoint.url == _HTTP:
        levels |= {Level.STREAM}
    return (*_NETWORK, *(name for name, kind in TEXT_KINDS.items() if kind.level in levels))


@define(eq=False)
class MarkBrain:
    """Hears whose question it is, and answers in words that tell their turn and place; spoken, those are marks."""

    trace: Trace
    answers: Answers
    _heard: dict[int, marks.Sound] = field(factory=dict, init=False)  # each question, as it came last
    _parts: dict[str, tuple[int, int]] = field(factory=dict, init=False)  # by the words to be spoken
    _session: int = field(default=0, init=False)  # each request is one
    _turn: int = field(default=0, init=False)
    _asked: tuple[int, int, int] | None = field(default=None, init=False)

    async def hear(self, pcm: bytes) -> Understanding:
        """See `Brain`."""
        turn = marks.owner(pcm)
        if turn is None:
            return Understanding("", False)
        self._heard[turn] = marks.read(pcm)
        return Understanding(f"q{turn}", True, turn)

    async def read(self, text: str) -> Understanding:
        """See `Brain`."""
        found = re.fullmatch(r"q(\d+)", text.strip())
        return Understanding(text, found is not None, int(found[1]) if found else None)

    async def answer(self, said: Understanding) -> str:
        """See `Brain`."""
        turn = said.topic if isinstance(said.topic, int) else 0
        count = max(1, self.answers.length_ms(turn, 0) // WORD_MS)
        return " ".join(f"a{turn}w{place}" for place in range(count))

    async def consider(self, said: Understanding, situation: Situation) -> str:
        """See `Reasoner`. What led to the question is told by the one before it."""
        turn = said.topic if isinstance(said.topic, int) else 0
        before = await self.read(await situation.asked() or "")
        known = frozenset({before.topic}) if isinstance(before.topic, int) else frozenset[int]()
        self.note(turn, known)
        await trio.sleep(self.answers.thought_s())
        return await self.answer(said)

    def note(self, turn: int, known: frozenset[int]) -> None:
        """The question was taken."""
        self._turn, self._session = turn, self._session + 1
        now = self.trace.now
        self.trace.add(r.Opened(now, self._session))
        self.trace.add(r.Heard(now, now, self._session, self._heard.get(turn, ()), known))

    async def speak(self, text: str) -> bytes:
        """See `Brain`. What begins in the middle is another part of the answer, with marks of its own."""
        words = _WORD.findall(text)
        turn = int(words[0][0]) if words else self._turn
        if text not in self._parts:
            before = [part for spoken, part in self._parts.values() if spoken == turn]
            first = bool(words) and words[0][1] == "0"
            self._parts[text] = turn, 0 if first else min(max(before, default=0) + 1, marks.THIRD_PART)
        _, part = self._parts[text]
        ms = max(1, len(words)) * WORD_MS
        asked = self._session, turn, part
        if asked != self._asked:  # a voice may be asked again for the same words
            self._asked = asked
            self.trace.add(r.Asked(self.trace.now, *asked, ms))
        return marks.marked(turn, part, 0, ms)


@define(eq=False)
class _Site:
    """The marks' ears and mouth on this machine."""

    brain: MarkBrain
    known: frozenset[int] = frozenset()
    language: str = "en"

    async def run(self) -> None:
        await trio.sleep_forever()

    async def ready(self) -> None:
        await trio.lowlevel.checkpoint()

    async def understand(self, pcm: bytes) -> Understood:
        said = await self.brain.hear(pcm)
        turn = said.topic if isinstance(said.topic, int) else 0
        self.brain.note(turn, self.known)
        self.known = frozenset({turn})
        await trio.sleep(self.brain.answers.thought_s())
        return Understood(said.text, await self.brain.answer(said))

    async def speak(self, text: str, language: str) -> bytes:
        return await self.brain.speak(text)


class _Doors(Server):
    """Stands where the Realtime door's server stands: nobody needs to give its faults a chance."""

    brain: MarkBrain

    async def poke(self) -> None:
        """Nothing: requests come and go, each with its chances."""

    async def hang_up(self) -> None:
        """Nothing."""


class DoorWorld(World):
    """A world whose endpoint is of another kind."""

    def _make_server(self, pace: Pace) -> Server:
        server = _Doors(self._trace, self._rng("server"), self._schedule, self._plan.dialect, pace, self._struck)
        server.brain = MarkBrain(self._trace, Answers(self._rng("answers")))
        return server

    def _make_endpoint(self, settings: Endpoint) -> RealtimeEndpoint | TurnwiseEndpoint:
        server = self._server
        assert isinstance(server, _Doors)
        here = Locals(lambda faq: _Site(server.brain), lambda text, language: server.brain.speak(text))
        return make_endpoint(settings, CONVERSATION, lambda _: self._key(), History(CONVERSATION), here)


@define(eq=False)
class DoorGround:
    """A `world.Ground`: the simulator on loopback, a proxy before it for the network's faults."""

    door: Endpoint
    quiet_s: float = 12.0

    @asynccontextmanager
    async def laid(
        self, server: Server, schedule: Schedule, on_strike: Callable[[str, str], None]
    ) -> AsyncIterator[Endpoint]:
        """See `world.Ground`."""
        assert isinstance(server, _Doors)
        settings, brain, watch = SimulatorSettings(port=0), server.brain, FaultWatch(on_strike)
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[int]) -> None:
                await serve(settings, brain, watch, schedule, proxied=True, task_status=task_status)

            port: int = await nursery.start(run)
            yield evolve(self.door, url=self.door.url.replace("PORT", str(port)))
            nursery.cancel_scope.cancel()

    def strike(self, kind: Kind) -> bool:
        """See `world.Ground`: all faults are drawn where they happen."""
        return False

    def open_ends(self) -> list[str]:
        """See `world.Ground`: descriptors are counted instead."""
        return []


def run(name: str, presses: int, seed: int, *, faults: bool = True) -> Result:
    """So many presses over the door of this name."""
    door = DOORS[name]
    kinds = kinds_of(door)
    result = Result(presses)
    began = time.perf_counter()
    logging.disable(logging.CRITICAL)
    try:
        before = descriptors()
        plan = Plan(presses, seed, faults=faults and bool(kinds), manners=MANNERS, kinds=kinds, anywhere=True)
        clock = trio.testing.MockClock(rate=CLOCK_RATE)
        outcome = trio.run(_run_world, plan, result.coverage, DoorGround(door), clock=clock)
        more = descriptors() - before
        if more > DESCRIPTORS_LEFT:
            outcome.leaks.append(f"{more} more file descriptors are open")
    finally:
        logging.disable(logging.NOTSET)
    result.add(outcome, DOOR_LIMITS)
    result.seconds = time.perf_counter() - began
    return result


async def _run_world(plan: Plan, coverage: Coverage, ground: DoorGround) -> Outcome:
    return await DoorWorld(plan, coverage, ground).run()
