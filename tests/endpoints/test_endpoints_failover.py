"""Several endpoints behind one port: who answers, who takes over, and that a turn belongs to one of them at a time."""

import hashlib
import logging
from itertools import pairwise

import pytest
import trio
from attrs import define, evolve, field
from fake_peer import CONVERSATION, MS, SETTINGS, Reports, TestUtterance, utterance
from honest_peer import NO_CONNECTION, HonestPeer

from kioskd.config import schema
from kioskd.config.schema import Dialect
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.breaker import LONGEST_OPEN_S, Breaker
from kioskd.endpoints.failover import Failover, Member
from kioskd.endpoints.history import History
from kioskd.endpoints.play_out import PLAY_OUT_S
from kioskd.endpoints.policy import OWNER_PROBE_S, Failure, Kind
from kioskd.endpoints.realtime import RealtimeEndpoint

HOUR_S = 3600.0
OPEN_S = 60.0
SOON_S = 2.0
BROKEN = Failure(Kind.UPGRADE, "refuses with HTTP 503", status=503)
TOLD_LONG = Failure(Kind.UPGRADE, "come back later", status=429, retry_after_s=100.0)
TOLD_SHORT = Failure(Kind.UPGRADE, "slow down", status=429, retry_after_s=2.0)
NO_CREDIT = Failure(Kind.UPGRADE, "You exceeded your current quota", status=429, code="insufficient_quota")


def sound(seed, ms=200):
    return hashlib.sha256(str(seed).encode()).digest() * (ms * MS // 32)


def answer_to(question):
    return hashlib.sha256(question).digest() * (1000 * MS // 32)


@define(eq=False)
class House:
    """Endpoints in their order of preference, each with a peer and a key of its own; one conversation."""

    peers: list
    keys: list = field(init=False)
    members: list = field(init=False)
    endpoint: Failover = field(init=False)
    reports: Reports = field(factory=Reports)

    def __attrs_post_init__(self):
        self.keys = [f"key-{number}" for number in range(len(self.peers))]
        history = History(CONVERSATION)
        self.members = [self._member(number, history) for number in range(len(self.peers))]
        self.endpoint = Failover(list(self.members))

    def _member(self, number, history):
        settings = evolve(SETTINGS, name=f"endpoint-{number}")
        endpoint = RealtimeEndpoint(
            settings,
            CONVERSATION,
            lambda: self.keys[number],
            history=history,
            dial=self.peers[number].dial,
            jitter=lambda: 1.0,
        )
        return Member(settings.name, endpoint, Breaker(schema.Breaker(open_s=OPEN_S)))

    @property
    def serving(self):
        """The number of the one that serves."""
        return int(self.endpoint.status.endpoint.rpartition("-")[2])

    @property
    def links(self):
        return [event.link for event in self.reports.of(LinkChanged)]

    def asked(self, number):
        return [question for talk in self.peers[number].conversations for question in talk.asked]

    async def up(self, number, within_s=HOUR_S):
        """Wait until this one serves and is up; return how long it took, in s."""
        at = trio.current_time()
        with trio.fail_after(within_s):
            while (self.serving, self.endpoint.status.link) != (number, Link.UP):
                await trio.sleep(0.05)
        return trio.current_time() - at

    def ask(self, turn, pcm=None):
        self.endpoint.begin(utterance(turn, sound(turn) if pcm is None else pcm))
        self.endpoint.ask(turn)

    async def answered(self, turn, pcm=None):
        """Wait for the whole and right answer, told once."""
        assert (await self.reports.until(AnswerEnded, turn=turn)).ending is Ending.COMPLETE
        assert self.reports.sound(turn) == answer_to(sound(turn) if pcm is None else pcm)
        assert [event.turn for event in self.reports.of(AnswerEnded)].count(turn) == 1

    async def converse(self, turn):
        self.ask(turn)
        await self.answered(turn)


@pytest.fixture
async def open_house(nursery):
    """Run a failover over so many endpoints; `fields` are every peer's."""

    def open_house(count=2, **fields):
        house = House([HonestPeer(Dialect.GA, answer_to, **fields) for _ in range(count)])
        nursery.start_soon(house.endpoint.run, house.reports)
        return house

    return open_house


# Who serves


async def test_the_preferred_one_serves_and_the_others_are_left_alone(autojump_clock, open_house):
    house = open_house()
    for turn in (1, 2, 3):
        await house.converse(turn)
        await trio.sleep(HOUR_S)
    assert house.serving == 0 and house.peers[1].dials == []
    assert house.links == [Link.CONNECTING, Link.UP]


@pytest.mark.parametrize("trouble", [BROKEN, TOLD_LONG, NO_CREDIT], ids=["broken", "told", "refused"])
async def test_another_takes_over_at_once(autojump_clock, open_house, trouble):
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, trouble
    assert await house.up(1) < 1
    assert Link.REFUSED not in house.links and Link.DOWN not in house.links
    await house.converse(1)
    assert house.asked(1) == [sound(1)] and house.asked(0) == []


async def test_a_short_wait_that_was_told_is_waited_for(autojump_clock, open_house):
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, TOLD_SHORT
    await trio.sleep(1)
    house.peers[0].up = True
    await house.up(0)
    assert house.peers[1].dials == []


async def test_a_network_in_trouble_gets_five_chances(autojump_clock, open_house):
    house = open_house()
    house.peers[0].up = False
    await house.up(1)
    assert len(house.peers[0].dials) == 5
    assert trio.current_time() == pytest.approx(0.25 + 0.5 + 1 + 1, abs=0.5)


async def test_the_first_that_can_takes_over(autojump_clock, open_house):
    house = open_house(4)
    for number in (0, 1, 2):
        house.peers[number].up, house.peers[number].refusal = False, (BROKEN, NO_CREDIT, TOLD_LONG)[number]
    assert await house.up(3) < 1
    assert [len(peer.dials) for peer in house.peers] == [1, 1, 1, 1]


async def test_one_alone_is_what_it_would_be_without(autojump_clock, open_house):
    house = open_house(1)
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    await trio.sleep(600)
    house.peers[0].up = True
    await house.up(0, within_s=31)


# The turn under way


@pytest.mark.parametrize("stage", ["begun", "asked"])
async def test_an_unanswered_turn_is_done_over_by_the_next(autojump_clock, open_house, stage):
    house = open_house(think_s=5.0)
    await house.up(0)
    growing = TestUtterance(1)
    house.endpoint.begin(growing)
    growing.append(sound("a"))
    await trio.sleep(0.1)
    if stage == "asked":
        growing.ended = True
        house.endpoint.ask(1)
        await trio.sleep(0.1)
    await house.peers[0].go_down(BROKEN)
    await house.up(1)
    if stage == "begun":
        growing.append(sound("b"))
        await trio.sleep(0.1)
        growing.ended = True
        house.endpoint.ask(1)
    await house.answered(1, bytes(growing.pcm))
    assert house.asked(1) == [bytes(growing.pcm)]
    assert house.asked(0) == ([bytes(growing.pcm)] if stage == "asked" else [])
    house.peers[0].up = True
    await house.up(0)
    await trio.sleep(HOUR_S)
    assert house.peers[0].conversations[-1].appended == 0
    assert house.asked(1) == [bytes(growing.pcm)] and len(house.asked(0)) == (stage == "asked")


async def test_the_rest_of_a_cut_answer_comes_from_the_next(autojump_clock, open_house):
    house = open_house()
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    await trio.sleep(0.05)
    await house.peers[0].go_down(BROKEN)
    assert (await house.reports.until(AnswerEnded, turn=1)).ending is Ending.CUT
    house.endpoint.continue_answer(2)
    assert (await house.reports.until(AnswerEnded, turn=2)).ending is Ending.COMPLETE
    assert house.serving == 1
    assert house.reports.sound(1) and house.reports.sound(1) + house.reports.sound(2) == answer_to(sound(1))
    assert house.asked(0) == [sound(1)] and house.asked(1) == []
    assert [talk.continued for talk in house.peers[1].conversations] == [1]


@pytest.mark.parametrize("command", ["cancel", "discard", "forget", "begin"])
async def test_what_was_dropped_is_not_done_over(autojump_clock, open_house, command):
    house = open_house(think_s=5.0)
    await house.up(0)
    house.ask(1)
    await trio.sleep(0.1)
    if command == "begin":
        house.endpoint.begin(utterance(2))
    else:
        getattr(house.endpoint, command)(*([] if command == "forget" else [1]))
    await house.peers[0].go_down(BROKEN)
    await house.up(1)
    await trio.sleep(60)
    assert house.asked(1) == [] and house.reports.of(AnswerEnded) == []
    assert sound(1) not in [item.pcm for talk in house.peers[1].conversations for item in talk.items.values()]


async def test_an_answer_that_has_begun_is_never_asked_for_elsewhere(autojump_clock, open_house):
    house = open_house()
    house.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    await house.peers[0].go_down(BROKEN)
    await house.up(1)
    await trio.sleep(60)
    assert house.asked(1) == []
    assert [event.ending for event in house.reports.of(AnswerEnded)] == [Ending.CUT]


async def test_a_turn_goes_round_until_one_answers(autojump_clock, open_house):
    house = open_house(3, think_s=5.0)
    await house.up(0)
    house.ask(1)
    await trio.sleep(0.1)
    await house.peers[0].go_down(BROKEN)
    await house.up(1)
    await trio.sleep(0.1)
    await house.peers[1].go_down(BROKEN)
    await house.answered(1)
    assert [house.asked(number) for number in range(3)] == [[sound(1)]] * 3


async def test_the_next_knows_what_was_said(autojump_clock, open_house):
    house = open_house(transcribes=True)
    await house.converse(1)
    await house.peers[0].go_down(BROKEN)
    await house.converse(2)
    (talk,) = house.peers[1].conversations
    assert [role for role, _ in talk.replayed] == ["user", "assistant"]
    assert talk.replayed[0][1] == house.peers[1].transcript(sound(1))
    house.peers[0].up = True
    await house.up(0)
    told = [said for role, said in house.peers[0].conversations[-1].replayed if role == "user"]
    assert told == [house.peers[0].transcript(sound(turn)) for turn in (1, 2)]


async def test_the_next_knows_nothing_of_a_forgotten_visitor(autojump_clock, open_house):
    house = open_house()
    await house.converse(1)
    house.endpoint.forget()
    await house.peers[0].go_down(BROKEN)
    await house.converse(2)
    assert [talk.replayed for talk in house.peers[1].conversations] == [[]]
    house.endpoint.forget()
    house.peers[0].up = True
    await house.up(0)
    assert house.peers[0].conversations[-1].replayed == []


# The way home


async def test_the_preferred_one_serves_again_when_its_rest_is_over(autojump_clock, open_house, caplog):
    caplog.set_level(logging.INFO, "kioskd")
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    await house.up(1)
    house.peers[0].up = True
    took_s = await house.up(0)
    assert took_s == pytest.approx(OPEN_S, abs=3)
    assert Link.DOWN not in house.links
    await trio.sleep(60)
    assert house.peers[1].open == 0 and house.peers[1].conversations[0].closed_with == 1000
    assert len([record for record in caplog.records if "answers from now on" in record.message]) == 1
    assert len([record for record in caplog.records if "answers again" in record.message]) == 1
    await house.converse(1)
    assert house.asked(0) == [sound(1)]


@pytest.mark.parametrize("busy", ["speaks", "waits", "listens"])
async def test_nobody_goes_home_while_a_visitor_is_there(autojump_clock, open_house, busy):
    house = open_house(think_s=14.0 if busy == "waits" else 0.1)
    for peer in house.peers:
        peer.answer = lambda _: bytes(30_000 * MS)
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    await house.up(1)
    await trio.sleep(OPEN_S - 5)
    house.peers[0].up = True
    house.endpoint.begin(utterance(1))
    if busy != "speaks":
        house.endpoint.ask(1)
    if busy == "listens":
        await house.reports.until(AnswerAudio)
    at = trio.current_time()
    busy_s = 13 if busy == "waits" else 29
    with trio.move_on_after(busy_s):
        await house.up(0)
    assert trio.current_time() == at + busy_s and house.serving == 1
    house.endpoint.discard(1)
    house.endpoint.interrupt(1, 29_000)
    await house.up(0, within_s=PLAY_OUT_S + SOON_S)


async def test_a_press_while_it_goes_home_loses_nothing(autojump_clock, open_house):
    house = open_house()
    turn = 0
    for round_number in range(4):
        await house.peers[0].go_down(BROKEN)
        await house.up(1)
        house.peers[0].up = True
        while house.serving == 1:
            await trio.sleep(0.97 if round_number % 2 else 1.0)
            turn += 1
            await house.converse(turn)
            await trio.sleep(PLAY_OUT_S + 1)
    assert sorted(house.asked(0) + house.asked(1)) == sorted(sound(number) for number in range(1, turn + 1))


async def test_at_home_it_knows_what_was_said_elsewhere_while_it_got_ready(autojump_clock, open_house):
    house = open_house(transcribes=True)
    house.peers[0].key = "another"
    await house.up(1)
    house.endpoint.begin(utterance(1, sound(1)))
    house.keys[0] = "another"
    await trio.sleep(10)  # it is ready, and the visitor still speaks
    house.endpoint.ask(1)
    await house.answered(1)
    await house.up(0)
    await house.converse(2)
    talk = house.peers[0].conversations[-1]
    assert talk.asked == [sound(2)]
    assert [said for role, said in talk.replayed if role == "user"] == [house.peers[0].transcript(sound(1))]


@pytest.mark.long
async def test_a_broken_one_is_tried_once_in_each_rest(autojump_clock, open_house):
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    await trio.sleep(4 * HOUR_S)
    dials = house.peers[0].dials
    rests = [later - earlier for earlier, later in pairwise(dials)]
    assert rests == pytest.approx([60, 120, 240, 480, 960, *[LONGEST_OPEN_S] * (len(rests) - 5)], abs=3)
    assert len(house.peers[1].dials) == 1 + 4 * HOUR_S // 3300, "its renewals, and nothing else"


@pytest.mark.long
@pytest.mark.parametrize("holds_s", [0.0, 0.5, 5.0, 40.0])
async def test_a_flapping_one_does_not_flap_the_kiosk(autojump_clock, open_house, caplog, holds_s):
    caplog.set_level(logging.INFO, "kioskd")
    house = open_house()
    house.peers[0].holds_s = holds_s
    served = [0]
    await trio.sleep(60)
    until = trio.current_time() + HOUR_S
    while trio.current_time() < until:
        await trio.sleep(0.5)
        if house.serving != served[-1]:
            served.append(house.serving)
    assert served.count(0) <= 8 and 1 in served
    told = [record.message for record in caplog.records if "from now on" in record.message]
    assert len(told) == 1 and len(caplog.records) <= 6
    for turn in range(1, 4):
        house.ask(turn)
        assert (await house.reports.until(AnswerEnded, turn=turn)).turn == turn
        await trio.sleep(100)


async def test_a_new_network_is_a_reason_to_try_the_preferred_one(autojump_clock, open_house):
    house = open_house()
    house.peers[0].up = False
    await house.up(1)
    await trio.sleep(10)
    house.peers[0].up = True
    house.endpoint.network_changed()
    assert await house.up(0) <= SOON_S


@pytest.mark.parametrize("told", [TOLD_LONG, NO_CREDIT], ids=["told", "refused"])
async def test_a_new_network_does_not_shorten_what_it_was_told(autojump_clock, open_house, told):
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, told
    await house.up(1)
    for _ in range(95):
        house.endpoint.network_changed()
        await trio.sleep(1)
    assert len(house.peers[0].dials) == 1 and house.serving == 1


async def test_a_new_network_does_not_shorten_a_short_wait_either(autojump_clock, open_house):
    house = open_house()
    told = evolve(TOLD_SHORT, retry_after_s=4.5)
    house.peers[0].up, house.peers[0].refusal = False, NO_CONNECTION
    while len(house.peers[0].dials) < 4:
        await trio.sleep(0.05)
    house.peers[0].refusal = told
    await house.up(1)
    house.endpoint.network_changed()
    await trio.sleep(30)
    fifth, sixth = house.peers[0].dials[4:6]
    assert sixth - fifth >= told.retry_after_s


# The owner


async def test_out_of_order_is_shown_only_if_nobody_can_serve(autojump_clock, open_house):
    house = open_house()
    for peer in house.peers:
        peer.key = "another"
    await house.reports.until(LinkChanged, link=Link.REFUSED)
    assert len(house.peers[1].dials) == 1
    assert house.links[-1] is Link.REFUSED and house.endpoint.status.endpoint == "endpoint-1"


async def test_while_another_may_come_back_it_is_down_not_out_of_order(autojump_clock, open_house):
    house = open_house()
    house.peers[0].key = "another"
    house.peers[1].up = False
    await trio.sleep(HOUR_S)
    assert Link.REFUSED not in house.links and house.endpoint.status.link is not Link.REFUSED
    house.peers[1].up = True
    await house.up(1, within_s=OPEN_S)


@pytest.mark.parametrize("number", [0, 1])
async def test_a_refused_one_whose_key_is_replaced_serves_again(autojump_clock, open_house, number):
    house = open_house()
    for peer in house.peers:
        peer.key = "another"
    await house.reports.until(LinkChanged, link=Link.REFUSED)
    await trio.sleep(HOUR_S + 100)
    house.keys[number] = "another"
    assert await house.up(number) <= 2 * SOON_S
    await house.converse(1)
    assert house.asked(number) == [sound(1)]


async def test_the_preferred_one_serves_again_when_its_key_is_replaced(autojump_clock, open_house):
    house = open_house()
    house.peers[0].key = "another"
    await house.up(1)
    await trio.sleep(100)
    house.keys[0] = "another"
    assert await house.up(0) <= 2 * SOON_S


async def test_a_new_key_is_no_reason_to_go_home_while_a_visitor_is_there(autojump_clock, open_house):
    house = open_house()
    house.peers[0].key = "another"
    await house.up(1)
    house.endpoint.begin(utterance(1, sound(1)))
    house.keys[0] = "another"
    await trio.sleep(20)
    assert house.peers[0].open == 1 and house.serving == 1
    house.endpoint.ask(1)
    await house.answered(1)
    assert house.asked(1) == [sound(1)]
    await house.up(0)


async def test_one_that_got_ready_in_vain_forgets_the_visitor_too(autojump_clock, open_house):
    house = open_house()
    house.peers[0].key = "another"
    await house.converse(1)
    house.endpoint.begin(utterance(2))
    house.keys[0] = "another"
    await trio.sleep(20)
    assert house.peers[0].conversations[-1].replayed != []
    house.endpoint.discard(2)
    house.endpoint.forget()
    await house.up(0)
    await house.converse(3)
    assert house.peers[0].conversations[-1].replayed == [] and house.asked(0) == [sound(3)]


async def test_a_key_that_is_replaced_while_a_visitor_speaks_gets_him_his_answer(autojump_clock, open_house):
    house = open_house()
    house.peers[0].key = house.peers[1].key = "another"
    house.endpoint.begin(utterance(1, sound(1)))
    await house.reports.until(LinkChanged, link=Link.REFUSED)
    house.keys[0] = "another"
    await trio.sleep(5)
    house.endpoint.ask(1)
    await house.answered(1)


async def test_a_key_that_was_replaced_counts_when_it_is_needed(autojump_clock, open_house):
    house = open_house()
    house.peers[1].key = "another"
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    await house.reports.until(LinkChanged, link=Link.REFUSED)
    house.peers[0].up = True
    await house.up(0)
    house.keys[1] = "another"
    await trio.sleep(10)
    await house.peers[0].go_down(NO_CREDIT)
    await house.up(1, within_s=10)
    assert house.links[-1] is Link.UP


async def test_one_that_was_told_to_wait_serves_when_the_other_is_out_of_order(autojump_clock, open_house):
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    house.peers[1].up, house.peers[1].refusal = False, evolve(TOLD_LONG, retry_after_s=1000.0)
    await trio.sleep(10)
    house.peers[0].refusal = NO_CREDIT
    await house.reports.until(LinkChanged, link=Link.REFUSED)
    await trio.sleep_until(OWNER_PROBE_S + 100)
    house.peers[1].up = True
    await trio.sleep_until(house.peers[1].dials[0] + 1000)
    await house.up(1, within_s=2 * SOON_S)


async def test_the_owner_sees_who_serves_and_how_the_others_are(autojump_clock, open_house):
    house = open_house(3)
    await house.up(0)
    assert house.endpoint.status.breakers == tuple((f"endpoint-{number}", "closed") for number in range(3))
    await trio.sleep(100)
    await house.peers[0].go_down(BROKEN)
    house.peers[1].up = False
    await house.up(2)
    assert [state for _, state in house.endpoint.status.breakers] == ["open", "open", "closed"]
    status = house.endpoint.status
    assert (status.endpoint, status.link) == ("endpoint-2", Link.UP)
    assert status.since >= 100 and status.next_try_at is None
    house.peers[2].up, house.peers[2].refusal = False, NO_CONNECTION
    before = len(house.reports.events)
    await house.peers[2].drop()
    await house.reports.until(LinkChanged, after=before, link=Link.DOWN)
    status = house.endpoint.status
    assert status.cause and status.next_try_at > trio.current_time() >= status.since > 100


async def test_the_status_of_one_that_takes_over_is_not_an_old_one(autojump_clock, open_house):
    house = open_house()
    house.peers[0].up, house.peers[0].refusal = False, BROKEN
    await house.up(1)
    house.peers[0].up = True
    await house.up(0)
    seen = []
    tell = house.reports.events.append
    house.reports.events = Watched(lambda event: (tell(event), seen.append((event, house.endpoint.status))))
    await house.peers[0].go_down(BROKEN)
    await house.up(1)
    assert all(status.link is not Link.UP for event, status in seen if event.link is not Link.UP)


class Watched(list):
    """A list that tells what is appended."""

    def __init__(self, tell):
        super().__init__()
        self._tell = tell

    def append(self, thing):
        super().append(thing)
        self._tell(thing)


async def test_it_runs_again_after_it_was_stopped(autojump_clock):
    house = House([HonestPeer(Dialect.GA, answer_to) for _ in range(2)])
    for turn in (1, 2):
        house.peers[0].up, house.peers[0].refusal = turn == 2, BROKEN
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.endpoint.run, house.reports)
            await house.converse(turn)
            nursery.cancel_scope.cancel()
        assert [peer.open for peer in house.peers] == [0, 0]
