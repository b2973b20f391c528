"""The network goes, the kiosk answers by itself; it comes back, and the preferred one goes on with what was said."""

import hashlib

import pytest
import trio
from attrs import define, evolve, field
from fake_peer import CONVERSATION, MS, SETTINGS, Reports, utterance
from honest_peer import HonestPeer

from kioskd.config.schema import Dialect, Endpoint, EndpointKind, Settings
from kioskd.dialogue.events import AnswerEnded, Ending, Link, LinkChanged
from kioskd.dialogue.kiosk import Kiosk
from kioskd.endpoints.kinds import Locals, make_endpoint
from kioskd.endpoints.on_site import Understood
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.roster import Roster
from kioskd.panel.lamp import pattern_of

HERE = Endpoint("here", kind=EndpointKind.LOCAL, faq="/faq.yaml")


def sound(seed, ms=200):
    return hashlib.sha256(str(seed).encode()).digest() * (ms * MS // 32)


def answer_to(question):
    return hashlib.sha256(question).digest() * (1000 * MS // 32)


class Site:
    """It understands everything."""

    language = "en"
    running = 0

    async def run(self):
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.running -= 1

    async def ready(self):
        await trio.sleep(0.1)

    async def understand(self, pcm):
        return Understood("when do you open", "We open at ten.")

    async def speak(self, text, language):
        return sound(text, ms=500)


@define(eq=False)
class House:
    """A relay, and this machine, in the order in which the owner lists them."""

    listed: list
    peer: HonestPeer = field(factory=lambda: HonestPeer(Dialect.GA, answer_to, transcribes=True))
    site: Site = field(factory=Site)
    reports: Reports = field(factory=Reports)
    roster: Roster = field(init=False)

    def __attrs_post_init__(self):
        self.roster = Roster(self.listed, CONVERSATION, self._make)

    def _make(self, endpoint, conversation, history):
        if endpoint.kind is EndpointKind.REALTIME:
            return RealtimeEndpoint(
                endpoint, conversation, lambda: "key", history=history, dial=self.peer.dial, jitter=lambda: 0.5
            )
        return make_endpoint(endpoint, conversation, lambda _: "", history, Locals(lambda faq: self.site, None))

    @property
    def serving(self):
        return self.roster.status.endpoint

    async def up(self, name):
        with trio.fail_after(7200):
            while (self.serving, self.roster.status.link) != (name, Link.UP):
                await trio.sleep(0.05)

    async def ask(self, turn):
        self.roster.begin(utterance(turn, sound(turn)))
        self.roster.ask(turn)
        return await self.reports.until(AnswerEnded, turn=turn)


@pytest.fixture
async def open_house(nursery):
    def open_house(*listed):
        house = House(list(listed))
        nursery.start_soon(house.roster.run, house.reports)
        return house

    return open_house


@pytest.mark.parametrize("order", [1, -1])
async def test_there_and_back_with_all_that_was_said(autojump_clock, open_house, order):
    house = open_house(*[SETTINGS, HERE][::order])
    await house.up(SETTINGS.name)
    assert (await house.ask(1)).ending is Ending.COMPLETE
    assert house.reports.sound(1) == answer_to(sound(1)) and house.site.running == 0
    await trio.sleep(10)
    await house.peer.go_down()
    began = trio.current_time()
    assert (await house.ask(2)).ending is Ending.COMPLETE, "asked while the network was away"
    assert trio.current_time() - began < CONVERSATION.answer_timeout_s
    assert house.reports.sound(2) == sound("We open at ten.", ms=500)
    assert house.serving == "here" and house.site.running == 1
    await trio.sleep(10)
    assert (await house.ask(3)).ending is Ending.COMPLETE
    house.peer.up = True
    house.roster.network_changed()
    await house.up(SETTINGS.name)
    assert house.site.running == 0, "no child is kept for the next time"
    assert (await house.ask(4)).ending is Ending.COMPLETE
    assert house.reports.sound(4) == answer_to(sound(4))
    told = [item.text for item in house.peer.conversations[-1].items.values() if getattr(item, "text", "")]
    assert any("when do you open" in text for text in told) and any("We open at ten." in text for text in told)


async def test_the_lamp_says_that_only_few_questions_can_be_answered(autojump_clock, open_house):
    house = open_house(SETTINGS, HERE)
    await house.up(SETTINGS.name)
    await house.peer.go_down()
    await house.up("here")
    house.peer.up = True
    house.roster.network_changed()
    await house.up(SETTINGS.name)
    changes = house.reports.of(LinkChanged)
    ups = [change.limited for change in changes if change.link is Link.UP]
    assert ups == [False, True, False]


async def test_where_it_has_its_place_it_answers_first(autojump_clock, open_house):
    house = open_house(evolve(HERE, keep_place=True), SETTINGS)
    await house.up("here")
    assert (await house.ask(1)).ending is Ending.COMPLETE
    assert house.reports.sound(1) == sound("We open at ten.", ms=500)


def test_a_kiosk_that_is_limited_shows_it():
    kiosk = Kiosk(Settings((HERE,)).conversation)
    assert pattern_of(evolve(kiosk.view, limited=True)).name == "starting"
    ready = evolve(kiosk.view, state=type(kiosk.view.state).READY, link=Link.UP)
    assert pattern_of(ready).name == "ready"
    assert pattern_of(evolve(ready, limited=True)).name == "few questions"
