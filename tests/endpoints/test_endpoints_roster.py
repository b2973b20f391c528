"""Endpoints whose settings change: the same way in keeps its session, and each other one knows what was said."""

import hashlib

import pytest
import trio
from attrs import evolve
from fake_peer import CONVERSATION, MS, SETTINGS, Reports, utterance
from honest_peer import HonestPeer

from kioskd.config import schema
from kioskd.config.schema import Dialect, NoiseReduction
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link
from kioskd.endpoints.play_out import PLAY_OUT_S
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.renewal import IDLE_LOOK_S
from kioskd.endpoints.roster import Roster

SOON_S = IDLE_LOOK_S + 1


def sound(seed, ms=200):
    return hashlib.sha256(str(seed).encode()).digest() * (ms * MS // 32)


def answer_to(question):
    return hashlib.sha256(question).digest() * (1000 * MS // 32)


class House:
    """Peers by the host in an endpoint's url, each key by its endpoint's name."""

    def __init__(self, dialect, *names, **fields):
        self.dialect = dialect
        self.peers = {name: HonestPeer(dialect, answer_to, transcribes=True, **fields) for name in names}
        self.keys = {}
        self.settings = schema.Settings(tuple(self.endpoint(name) for name in names), conversation=CONVERSATION)
        self.reports = Reports()
        self.roster = Roster(self.settings.endpoints, CONVERSATION, self._make)

    def endpoint(self, name, host=None, **fields):
        return evolve(SETTINGS, name=name, url=f"ws://{host or name}/v1/realtime", dialect=self.dialect, **fields)

    def _make(self, endpoint, conversation, history):
        host = endpoint.url.split("/")[2]
        return RealtimeEndpoint(
            endpoint,
            conversation,
            lambda: self.keys.get(endpoint.name, "key"),
            history=history,
            dial=self.peers[host].dial,
            jitter=lambda: 1.0,
        )

    def adjust(self, *endpoints, **conversation):
        talk = evolve(self.settings.conversation, **conversation)
        self.settings = schema.Settings(endpoints or self.settings.endpoints, conversation=talk)
        self.roster.adjust(self.settings)

    def sessions(self, host):
        return self.peers[host].conversations

    async def up(self, name):
        with trio.fail_after(3600):
            while (self.roster.status.endpoint, self.roster.status.link) != (name, Link.UP):
                await trio.sleep(0.05)

    async def converse(self, turn):
        self.roster.begin(utterance(turn, sound(turn)))
        self.roster.ask(turn)
        assert (await self.reports.until(AnswerEnded, turn=turn)).ending is Ending.COMPLETE
        assert self.reports.sound(turn) == answer_to(sound(turn))

    async def be_quiet(self):
        await trio.sleep(PLAY_OUT_S + 2 + SOON_S)


@pytest.fixture(params=list(Dialect))
async def open_house(request, nursery):
    async def open_house(*names, **fields):
        house = House(request.param, *names, **fields)
        nursery.start_soon(house.roster.run, house.reports)
        await house.up(names[0])
        return house

    return open_house


async def test_instructions_count_for_the_next_question_of_the_same_session(autojump_clock, open_house):
    house = await open_house("lobby")
    house.adjust(instructions="Before anybody spoke.")
    await trio.sleep(1)
    house.roster.begin(utterance(1, sound(1)))
    await trio.sleep(0.1)
    house.adjust(instructions="While they speak.")
    house.roster.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    (session,) = house.sessions("lobby")
    assert [change["instructions"] for change in session.changes] == ["Before anybody spoke."], "nobody is disturbed"
    house.adjust(instructions="While it answers.")
    await house.reports.until(AnswerEnded, turn=1)
    await house.converse(2)
    assert [change["instructions"] for change in session.changes][1:] == ["While they speak.", "While it answers."]
    assert len(house.sessions("lobby")) == 1 and not session.refusals


async def test_a_voice_that_nobody_has_heard_yet_is_changed_in_the_session(autojump_clock, open_house):
    house = await open_house("lobby")
    house.adjust(house.endpoint("lobby", voice="ash", max_tokens=100, noise_reduction=NoiseReduction.FAR_FIELD))
    await trio.sleep(1)
    (session,) = house.sessions("lobby")
    assert len(session.changes) == 1 and "ash" in str(session.changes) and "far_field" in str(session.changes)
    await house.converse(1)
    assert len(house.sessions("lobby")) == 1 and not session.refusals


async def test_a_voice_that_was_heard_wants_a_new_session_that_knows_what_was_said(autojump_clock, open_house):
    house = await open_house("lobby")
    await house.converse(1)
    house.adjust(house.endpoint("lobby", voice="ash"))
    house.roster.begin(utterance(2, sound(2)))
    await trio.sleep(SOON_S)
    assert len(house.sessions("lobby")) == 1, "somebody is speaking"
    house.roster.ask(2)
    await house.reports.until(AnswerEnded, turn=2)
    await house.be_quiet()
    old, new = house.sessions("lobby")
    assert not old.refusals and not old.changes
    assert [role for role, _ in new.replayed] == ["user", "assistant"] * 2
    await house.converse(3)
    assert len(house.sessions("lobby")) == 2


async def test_what_can_not_be_taken_back_wants_a_new_session(autojump_clock, open_house):
    house = await open_house("lobby")
    house.adjust(house.endpoint("lobby", max_tokens=100))
    await trio.sleep(1)
    house.adjust(house.endpoint("lobby"))
    await trio.sleep(SOON_S)
    assert [len(session.changes) for session in house.sessions("lobby")] == [1, 0]
    await house.converse(1)


async def test_a_server_that_refuses_the_change_gets_a_new_session(autojump_clock, open_house):
    house = await open_house("lobby", refuses_changes=True)
    await house.converse(1)
    house.adjust(instructions="Be long.")
    await house.be_quiet()
    old, new = house.sessions("lobby")
    assert len(old.refusals) == 1 and not new.refusals
    await house.converse(2)
    assert len(house.sessions("lobby")) == 2


async def test_another_way_in_is_taken_at_once_and_the_other_endpoint_is_left_alone(autojump_clock, open_house):
    house = await open_house("lobby", "spare", "elsewhere")
    await house.converse(1)
    house.adjust(house.endpoint("lobby", host="elsewhere"), house.endpoint("spare"))
    await house.up("lobby")
    (session,) = house.sessions("elsewhere")
    assert [role for role, _ in session.replayed] == ["user", "assistant"], "it knows what was said"
    assert house.sessions("lobby")[0].closed_with is not None and not house.sessions("spare")
    await house.converse(2)
    assert len(house.peers["lobby"].dials) == 1


async def test_who_serves_and_stays_the_same_keeps_its_session_while_others_come_and_go(autojump_clock, open_house):
    house = await open_house("lobby", "spare")
    await house.converse(1)
    house.adjust(house.endpoint("lobby"))
    house.adjust(house.endpoint("lobby"), house.endpoint("third", host="spare"))
    await trio.sleep(60)
    await house.converse(2)
    assert len(house.sessions("lobby")) == 1 and not house.sessions("spare")
    house.adjust(house.endpoint("third", host="spare"))
    await house.up("third")
    await house.converse(3)
    house.adjust(house.endpoint("lobby"), house.endpoint("third", host="spare"))
    await house.up("lobby")
    await house.converse(4)


async def test_a_replaced_key_counts_at_once_where_the_old_one_is_refused(autojump_clock, open_house):
    house = await open_house("lobby")
    house.peers["lobby"].key = "new"
    house.keys["lobby"] = "wrong"
    house.roster.renew(["lobby"])
    with trio.fail_after(60):
        while house.roster.status.link is not Link.REFUSED:
            await trio.sleep(0.1)
    house.keys["lobby"] = "new"
    house.roster.renew(["lobby"])
    at = trio.current_time()
    await house.up("lobby")
    assert trio.current_time() - at < 2
    await house.converse(1)


async def test_a_replaced_key_waits_for_the_end_of_the_answer(autojump_clock, open_house):
    house = await open_house("lobby")
    house.roster.begin(utterance(1, sound(1)))
    house.roster.ask(1)
    await house.reports.until(AnswerAudio, turn=1)
    house.roster.renew(["lobby"])
    assert (await house.reports.until(AnswerEnded, turn=1)).ending is Ending.COMPLETE
    assert len(house.sessions("lobby")) == 1
    await house.be_quiet()
    assert len(house.sessions("lobby")) == 2


async def test_more_questions_a_minute_count_at_once(autojump_clock, open_house):
    house = await open_house("lobby")
    house.adjust(house.endpoint("lobby", requests_per_minute=1))
    await house.converse(1)
    house.roster.begin(utterance(2, sound(2)))
    house.roster.ask(2)
    assert (await house.reports.until(AnswerEnded, turn=2)).ending is Ending.FAILED
    house.adjust(house.endpoint("lobby", requests_per_minute=60))
    await house.converse(3)
    assert len(house.sessions("lobby")) == 1
