"""The endpoints of config/demo-endpoints.yaml with a simulator behind them: loopback sockets, and a faster clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
import trio.testing
from attrs import define, evolve, field
from fake_peer import MS, Reports, utterance

from kioskd.config.load import load
from kioskd.config.schema import Conversation, Endpoint, EndpointKind
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Link, Speaker, Transcript
from kioskd.endpoints.kinds import Locals, make_endpoint
from kioskd.endpoints.on_site import Understood
from kioskd.endpoints.roster import Roster
from kioskd.endpoints.toolbox import ToolCall, ToolOffer
from kioskd.local.faq import load_faq
from kioskd.simulator.brain import Call, FaqBrain, Situation, Understanding
from kioskd.simulator.faults.script import FaultScript, Rule
from kioskd.simulator.observer import Unwatched
from kioskd.simulator.server import serve
from kioskd.simulator.settings import Pace, SimulatorSettings

ROOT = Path(__file__).parents[2]
DEMO = {each.name: each for each in load(ROOT / "config" / "demo-endpoints.yaml").endpoints}
EXIT, TICKET, BEFORE, LOUDER, STORY = (
    "where is the exit",
    "how much is a ticket",
    "what did I ask before",
    "make it louder please",
    "tell me a story",
)
TOLD = (
    "Once there was a king. He had a stone in his shoe, and he walked on it for a year. "
    "Then he sat down and took it out. That was the whole of the matter, and he slept well."
)
SAYS = {
    EXIT: "The exit is behind you, past the cloakroom, through the glass doors.",
    TICKET: "A ticket costs twelve euros, and six euros for children.",
    STORY: TOLD,
}
CLOCK_RATE = 8.0  # so much shorter are the kiosk's seconds
GUARD_S = 200.0  # of these: a test that hangs fails
LONG_S = 60.0  # for what a busy machine may take its time for
TALK = Conversation(answer_timeout_s=120, answer_stall_s=LONG_S)
KEY = "sk-0123456789-the-right-one"
QUICK = Pace(speed=1000.0, created_after_s=0.0)
WORD_MS = 40


def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=CLOCK_RATE)


def said_as(text: str) -> bytes:
    """The one sound of a text, for questions and answers alike."""
    return hashlib.sha256(text.encode()).digest() * (len(text.split()) * WORD_MS * MS // 32)


QUESTIONS = {said_as(question): question for question in (EXIT, TICKET, BEFORE, LOUDER, STORY)}


@define(eq=False)
class Witness(Unwatched):
    """What was done to the kiosk on purpose."""

    faults: list[tuple[str, str]] = field(factory=list)

    def on_fault(self, kind: str, phase: str) -> None:
        self.faults.append((kind, phase))


class Brain:
    """Hears each question by its sound, and answers as the small FAQ for conversations says."""

    def __init__(self, folder: Path) -> None:
        path = folder / "faq.yaml"
        text = (ROOT / "tests" / "simulator" / "conversation-faq.yaml").read_text()
        path.write_text(f'{text}\n  - name: story\n    questions: [{STORY}]\n    answer: "{TOLD}"\n')
        self._faq = FaqBrain(load_faq(path), None)  # type: ignore[arg-type]  # it hears nothing

    async def hear(self, pcm: bytes) -> Understanding:
        return await self._faq.read(QUESTIONS.get(pcm, ""))

    async def read(self, text: str) -> Understanding:
        return await self._faq.read(text)

    async def answer(self, said: Understanding) -> str:
        return await self._faq.answer(said)

    async def consider(self, said: Understanding, situation: Situation) -> str | Call:
        return await self._faq.consider(said, situation)

    async def speak(self, text: str) -> bytes:
        return said_as(text)


@define(eq=False)
class Site:
    """This machine's own ears and mouth, on the same questions."""

    brain: Brain
    language: str = "en"

    async def run(self) -> None:
        await trio.sleep_forever()

    async def ready(self) -> None:
        await trio.lowlevel.checkpoint()

    async def understand(self, pcm: bytes) -> Understood:
        said = await self.brain.hear(pcm)
        return Understood(said.text if said.understood else "", await self.brain.answer(said))

    async def speak(self, text: str, language: str) -> bytes:
        return said_as(text)


@define(eq=False)
class Tools:
    """One tool that a model may call."""

    called: list[tuple[int, str, object]] = field(factory=list)
    offers: tuple[ToolOffer, ...] = (ToolOffer("set_volume", "Louder or softer.", {"type": "object"}),)
    structured: None = None

    async def call(self, turn: int, call: ToolCall) -> str:
        self.called.append((turn, call.name, json.loads(call.arguments)))
        return '{"volume": 80}'

    async def answer(self, turn: int, text: str) -> None:
        raise AssertionError("answers are plain words here")


@define(eq=False)
class Talk:
    """A kiosk's endpoints, and all that they reported. `key` is in its place."""

    endpoints: list[Endpoint]
    brain: Brain
    key: str = KEY
    tools: Tools = field(factory=Tools)
    reports: Reports = field(factory=Reports)
    roster: Roster = field(init=False)

    def __attrs_post_init__(self) -> None:
        here = Locals(lambda faq: Site(self.brain), lambda text, language: self.brain.speak(text))
        self.roster = Roster(
            self.endpoints,
            TALK,
            lambda each, talk, history: make_endpoint(each, talk, lambda _: self.key, history, here, self.tools),
        )

    async def until(self, link: Link, name: str = "") -> None:
        """Wait until the link is so, and this endpoint serves."""
        with trio.fail_after(GUARD_S):
            while (self.link, name or self.serving) != (link, self.serving):
                await trio.sleep(0.05)

    async def up(self, name: str = "") -> None:
        """Wait until this endpoint can answer."""
        await self.until(Link.UP, name)

    @property
    def link(self) -> Link:
        return self.roster.status.link

    @property
    def serving(self) -> str:
        return self.roster.status.endpoint

    def begin(self, turn: int, question: str) -> None:
        self.roster.begin(utterance(turn, said_as(question)))
        self.roster.ask(turn)

    async def ended(self, turn: int) -> AnswerEnded:
        with trio.fail_after(GUARD_S):
            return await self.reports.until(AnswerEnded, turn=turn)

    async def ask(self, turn: int, question: str) -> str:
        """Ask, hear the answer out, and give back its words."""
        self.begin(turn, question)
        await self.ended(turn)
        return self.words(turn)

    async def sounds(self, turn: int) -> None:
        with trio.fail_after(GUARD_S):
            await self.reports.until(AnswerAudio, turn=turn)

    def words(self, turn: int) -> str:
        """What the kiosk said in this turn."""
        found = [
            event.text for event in self.reports.of(Transcript) if event.turn == turn and event.speaker is Speaker.KIOSK
        ]
        return " ".join(found).strip()


def at(port: int, name: str, *, server: str = "127.0.0.1:8900") -> Endpoint:
    """An endpoint of the settings, at this port, with patience for a busy machine."""
    found = DEMO[name]
    if found.kind is EndpointKind.LOCAL:
        return found

    def moved(url: str | None) -> str | None:
        return url and url.replace(server, f"127.0.0.1:{port}")

    return evolve(
        found,
        url=moved(found.url) or "",
        hearing=evolve(found.hearing, url=moved(found.hearing.url)),
        speech=evolve(found.speech, url=moved(found.speech.url)),
        open_timeout_s=LONG_S,
        setup_timeout_s=LONG_S,
        ping_timeout_s=LONG_S,
        http=evolve(found.http, answer_timeout_s=LONG_S, stream_timeout_s=LONG_S),
    )


def once(*kinds: str) -> FaultScript:
    """Each of these, at its first opportunity."""
    return FaultScript([Rule(kind, times=1) for kind in kinds])


@asynccontextmanager
async def simulator(
    folder: Path,
    faults: FaultScript | None = None,
    witness: Witness | None = None,
    pace: Pace = QUICK,
    proxied: bool = False,
) -> AsyncIterator[int]:
    """The port of one with all its doors."""
    settings = SimulatorSettings(port=0, key=KEY, both=True, pace=pace)
    with trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            start = partial(serve, settings, Brain(folder), witness or Witness(), faults, proxied=proxied)
            yield await nursery.start(start)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def talking(folder: Path, *endpoints: Endpoint, key: str = KEY) -> AsyncIterator[Talk]:
    """A kiosk that runs."""
    talk = Talk(list(endpoints), Brain(folder), key)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.roster.run, talk.reports)
        yield talk
        nursery.cancel_scope.cancel()
