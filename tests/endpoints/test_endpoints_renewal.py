"""A session's end by its own limit: nobody waits for it, nothing is lost, and the next one knows what was said."""

import hashlib
import logging

import pytest
import trio
from attrs import evolve
from fake_peer import CONVERSATION, MS, SETTINGS, Reports, TestUtterance, alive, utterance
from honest_peer import HonestPeer

from kioskd.config.schema import Dialect
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.history import INTERRUPTED, SOUND_BYTES_MAX
from kioskd.endpoints.play_out import PLAY_OUT_S
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.endpoints.renewal import RENEW_BEFORE_S, renewal_due_s

LIMIT_S = 600.0
DUE_S = renewal_due_s(LIMIT_S)
HOUR_S = 3600.0
ANSWER_MS = 300
SHORT = evolve(SETTINGS, session_limit_s=LIMIT_S)


def sound(seed, ms=200):
    return hashlib.sha256(str(seed).encode()).digest() * (ms * MS // 32)


def answer_to(question):
    return hashlib.sha256(question).digest() * (ANSWER_MS * MS // 32)


def words(answer_ms=ANSWER_MS):
    """What the peer says in so many ms."""
    return " ".join(f"w{number}" for number in range(answer_ms // 100))


@pytest.fixture
async def start(nursery):
    """Run an endpoint against a peer until it is up; returns the endpoint and its reports."""

    async def start(peer, settings=SHORT, conversation=CONVERSATION):
        settings = evolve(settings, dialect=peer.dialect)
        endpoint = RealtimeEndpoint(settings, conversation, lambda: "key", dial=peer.dial, jitter=lambda: 1.0)
        reports = Reports()
        nursery.start_soon(endpoint.run, reports)
        await reports.until(LinkChanged, link=Link.UP)
        return endpoint, reports

    return start


def honest(**fields):
    return HonestPeer(fields.pop("dialect", Dialect.GA), fields.pop("answer", answer_to), **fields)


async def converse(endpoint, reports, turn, pcm=None):
    """A whole turn; returns how long its first sound took, in s."""
    pcm = sound(turn) if pcm is None else pcm
    asked_at = trio.current_time()
    endpoint.begin(utterance(turn, pcm))
    endpoint.ask(turn)
    await reports.until(AnswerAudio, turn=turn)
    took_s = trio.current_time() - asked_at
    assert (await reports.until(AnswerEnded, turn=turn)).ending is Ending.COMPLETE
    assert reports.sound(turn) == answer_to(pcm)
    return took_s


def links(reports):
    return [event.link for event in reports.of(LinkChanged)]


def asked(peer):
    return [question for conversation in peer.conversations for question in conversation.asked]


def refused(peer):
    return [refusal for conversation in peer.conversations for refusal in conversation.refusals]


# When


async def test_an_idle_session_is_replaced_in_time_and_the_new_one_first(autojump_clock, start):
    peer = honest(limit_s=LIMIT_S)
    _, reports = await start(peer)
    await trio.sleep(LIMIT_S)
    old, new = peer.conversations
    assert old.closed_with == 1000 and new.closed_with is None
    assert DUE_S <= peer.dials[1] < LIMIT_S
    assert peer.most_open == 2 and peer.open == 1
    assert links(reports) == [Link.CONNECTING, Link.UP]


def test_it_is_due_five_minutes_before_the_limit_or_sooner_for_short_ones():
    assert renewal_due_s(HOUR_S) == HOUR_S - 300
    assert renewal_due_s(60) == 48


async def test_a_question_while_the_next_session_gets_ready_is_the_old_ones(autojump_clock, start):
    peer = honest(greet_s=8.0)
    endpoint, reports = await start(peer)
    usual_s = await converse(endpoint, reports, 1)
    await trio.sleep_until(peer.dials[0] + DUE_S + 5)
    assert peer.open == 2
    assert await converse(endpoint, reports, 2) == pytest.approx(usual_s)
    assert peer.conversations[0].asked == [sound(1), sound(2)]
    await trio.sleep(60)
    last = peer.conversations[-1]
    assert peer.open == 1 and last.closed_with is None
    assert [said for role, said in last.replayed if role == "user"] == [sound(1), sound(2)]


async def test_nothing_is_replaced_while_a_visitor_speaks(autojump_clock, start):
    peer = honest()
    endpoint, reports = await start(peer)
    await trio.sleep(DUE_S - 1)
    growing = TestUtterance(1)
    endpoint.begin(growing)
    for number in range(60):
        growing.append(sound(number, ms=1000))
        await trio.sleep(1)
    assert peer.conversations[0].closed_with is None
    growing.ended = True
    endpoint.ask(1)
    await reports.until(AnswerEnded, turn=1)
    assert peer.conversations[0].asked == [bytes(growing.pcm)]
    await trio.sleep(10)
    assert peer.conversations[0].closed_with == 1000 and asked(peer) == [bytes(growing.pcm)]


async def test_a_session_that_gets_ready_while_a_visitor_speaks_has_no_part_in_it(autojump_clock, start):
    peer = honest(greet_s=4.0)
    endpoint, reports = await start(peer)
    await trio.sleep_until(peer.dials[0] + DUE_S + 2)
    growing = TestUtterance(1)
    endpoint.begin(growing)
    for number in range(10):
        growing.append(sound(number, ms=1000))
        await trio.sleep(1)
    old, ready = peer.conversations
    assert old.closed_with is None and ready.appended == 0
    growing.ended = True
    endpoint.ask(1)
    await reports.until(AnswerEnded, turn=1)
    assert old.asked == [bytes(growing.pcm)] and ready.appended == 0
    await trio.sleep(20)
    last = peer.conversations[-1]
    assert old.closed_with == 1000 and last.closed_with is None
    assert last.replayed == [("user", bytes(growing.pcm)), ("assistant", words())]  # which the ready one can't know


async def test_nothing_is_replaced_while_an_answer_is_awaited(autojump_clock, start):
    peer = honest(think_s=12.0)
    endpoint, reports = await start(peer)
    await trio.sleep(DUE_S - 1)
    await converse(endpoint, reports, 1)
    assert len(peer.conversations) == 1 and asked(peer) == [sound(1)]


async def test_nothing_is_replaced_before_the_answer_was_played_to_its_end(autojump_clock, start):
    peer = honest(answer=lambda _: bytes(30_000 * MS))
    endpoint, reports = await start(peer)
    await trio.sleep(DUE_S - 5)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    await reports.until(AnswerAudio)
    sounds_until = trio.current_time() + 30
    await reports.until(AnswerEnded)
    await trio.sleep_until(sounds_until + PLAY_OUT_S - 1)
    assert trio.current_time() > DUE_S + 10 and len(peer.conversations) == 1
    endpoint.interrupt(1, 29_000)
    await trio.sleep(10)
    old, new = peer.conversations
    assert [item.known_ms for item in old.items.values()] == [None, 29_000]
    assert new.replayed[-1][1].endswith(INTERRUPTED)


async def test_a_new_session_that_can_not_be_had_is_tried_again_and_the_old_one_serves(autojump_clock, start, caplog):
    peer = honest()
    endpoint, reports = await start(peer)
    peer.up = False
    await trio.sleep(DUE_S + 20)
    assert len(peer.dials) > 1 and len(peer.conversations) == 1
    await converse(endpoint, reports, 1)
    peer.up = True
    await trio.sleep(60)
    assert [conversation.closed_with for conversation in peer.conversations] == [1000, None]
    assert links(reports) == [Link.CONNECTING, Link.UP]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Where a second connection is refused


async def test_where_a_second_connection_is_refused_they_follow_each_other(autojump_clock, start, caplog):
    caplog.set_level(logging.INFO, "kioskd")
    peer = honest(single=True, limit_s=LIMIT_S)
    endpoint, reports = await start(peer)
    await converse(endpoint, reports, 1)
    await trio.sleep(3 * LIMIT_S)
    assert peer.most_open == 1
    assert [conversation.closed_with for conversation in peer.conversations] == [1000] * 3 + [None]
    assert len(peer.dials) == 5  # the refusal is met once
    assert Link.DOWN not in links(reports)
    assert len([record for record in caplog.records if "no second connection" in record.message]) == 1
    assert all([role for role, _ in talk.replayed] == ["user", "assistant"] for talk in peer.conversations[1:])
    assert refused(peer) == []


async def test_a_press_between_the_two_is_answered(autojump_clock, start):
    peer = honest(single=True, greet_s=2.0)
    endpoint, reports = await start(peer)
    await trio.sleep_until(peer.dials[0] + DUE_S + 1)
    assert reports.of(LinkChanged)[-1].link is Link.CONNECTING
    await converse(endpoint, reports, 1)
    assert peer.conversations[1].asked == [sound(1)]


async def test_what_is_told_with_the_refusal_is_a_floor(autojump_clock, start):
    peer = honest()
    await start(peer)
    peer.up, peer.refusal = False, Failure(Kind.UPGRADE, "slow down", status=429, retry_after_s=100.0)
    await trio.sleep(DUE_S + 5)
    peer.up = True
    await trio.sleep(LIMIT_S)
    second, third = peer.dials[1:3]
    assert third - second >= 100


# The swap and the press


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("after_s", [-0.01, 0.0, 0.005, 0.01, 0.02, 0.03])
async def test_a_press_in_the_tick_of_the_swap_loses_nothing(autojump_clock, start, single, after_s):
    peer = honest(single=single)
    endpoint, reports = await start(peer)
    for turn in range(1, 9):
        opened_at = peer.dials[-1]
        await trio.sleep_until(opened_at + DUE_S + after_s)
        growing = TestUtterance(turn)
        endpoint.begin(growing)
        growing.append(sound(turn, ms=100))
        await trio.sleep(0.1)
        growing.append(sound(-turn, ms=100))
        growing.ended = True
        endpoint.ask(turn)
        assert (await reports.until(AnswerEnded, turn=turn)).ending is Ending.COMPLETE
        assert reports.sound(turn) == answer_to(bytes(growing.pcm))
        await trio.sleep(20)
        assert peer.dials[-1] > opened_at
    assert asked(peer) == [sound(turn, ms=100) + sound(-turn, ms=100) for turn in range(1, 9)]
    assert refused(peer) == []


# When the server's limit comes first


async def test_an_idle_session_that_expires_is_replaced_at_once(autojump_clock, start, caplog):
    peer = honest(limit_s=103.0)
    endpoint, reports = await start(peer)
    await converse(endpoint, reports, 1)
    await trio.sleep(105)
    assert peer.conversations[1].replayed == [("user", sound(1)), ("assistant", words())]
    assert peer.dials[1] == pytest.approx(peer.dials[0] + 103)
    assert Link.DOWN not in links(reports)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_question_on_a_session_that_expires_is_asked_in_the_next(autojump_clock, start):
    peer = honest(limit_s=103.0, think_s=5.0)
    endpoint, reports = await start(peer)
    await trio.sleep(101)
    await converse(endpoint, reports, 1)
    assert [talk.asked for talk in peer.conversations] == [[sound(1)], [sound(1)]]
    assert peer.conversations[1].replayed == []


async def test_an_answer_on_a_session_that_expires_is_cut_and_goes_on_in_the_next(autojump_clock, start):
    peer = honest(limit_s=103.0, pace_s=1.0, answer=lambda _: bytes(1000 * MS))
    endpoint, reports = await start(peer)
    await trio.sleep(99.5)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    assert (await reports.until(AnswerEnded, turn=1)).ending is Ending.CUT
    endpoint.continue_answer(2)
    assert (await reports.until(AnswerEnded, turn=2)).ending is Ending.COMPLETE
    assert len(reports.sound(1) + reports.sound(2)) == 1000 * MS and reports.sound(1)
    new = peer.conversations[1]
    assert new.continued == 1 and new.replayed[1][1].endswith("[cut off]")
    assert asked(peer) == [bytes(300 * MS)]


async def test_sessions_that_expire_at_once_are_not_begun_in_a_circle(autojump_clock, start):
    peer = honest(limit_s=0.05)
    await start(peer)
    await trio.sleep(600)
    assert len(peer.dials) < 60


# What the next session knows


@pytest.mark.parametrize("dialect", [Dialect.GA, Dialect.BETA])
@pytest.mark.parametrize("transcribes", [True, False])
async def test_the_next_session_knows_what_was_said(autojump_clock, start, dialect, transcribes):
    peer = honest(dialect=dialect, transcribes=transcribes)
    endpoint, reports = await start(peer)
    for turn in (1, 2):
        await converse(endpoint, reports, turn)
    await trio.sleep(LIMIT_S)
    questions = [peer.transcript(sound(turn)) if transcribes else sound(turn) for turn in (1, 2)]
    told = [("user", questions[0]), ("assistant", words()), ("user", questions[1]), ("assistant", words())]
    assert peer.conversations[1].replayed == told
    assert refused(peer) == []


async def test_the_next_session_knows_the_latest_turns_within_bounds(autojump_clock, start):
    peer = honest(transcribes=True)
    endpoint, reports = await start(peer, conversation=evolve(CONVERSATION, history_turns=3))
    for turn in range(1, 8):
        await converse(endpoint, reports, turn)
    await trio.sleep(LIMIT_S)
    texts = [said for role, said in peer.conversations[1].replayed if role == "user"]
    assert texts == [peer.transcript(sound(turn)) for turn in (5, 6, 7)]


async def test_the_next_session_knows_only_what_an_interrupted_visitor_heard(autojump_clock, start):
    peer = honest(answer=lambda _: bytes(3000 * MS))
    endpoint, reports = await start(peer)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    await reports.until(AnswerEnded, turn=1)
    endpoint.interrupt(1, 1000)
    await trio.sleep(LIMIT_S)
    _, (role, text) = peer.conversations[1].replayed
    assert role == "assistant" and text.endswith(INTERRUPTED)
    heard = text.removesuffix(INTERRUPTED).split()
    assert heard == words(3000).split()[: len(heard)] and 8 <= len(heard) <= 12


async def test_a_question_too_long_to_be_replayed_is_missed_once_in_the_log(autojump_clock, start, caplog):
    peer = honest()
    endpoint, reports = await start(peer)
    await converse(endpoint, reports, 1, bytes(SOUND_BYTES_MAX + 100 * MS))
    await trio.sleep(3 * LIMIT_S)
    assert len(peer.conversations) >= 4
    assert all(talk.replayed == [("assistant", words())] for talk in peer.conversations[1:])
    assert [record.levelname for record in caplog.records if "without a transcript" in record.message] == ["WARNING"]


# The next visitor


@pytest.mark.parametrize("forget_s", [-1.0, 0.0, 0.005, 2.0, 4.99, 5.0, 5.005, 8.0, 20.0])
@pytest.mark.parametrize("spoke", [False, True])
async def test_nothing_of_a_visitor_outlives_him_whenever_the_renewal_is(autojump_clock, start, forget_s, spoke):
    peer = honest(greet_s=5.0)
    endpoint, reports = await start(peer)
    await converse(endpoint, reports, 1)
    due_at = peer.dials[0] + DUE_S
    if spoke:  # the successor gets ready and has to wait
        await trio.sleep_until(due_at + min(forget_s, 0.0) - 0.001)
        endpoint.begin(utterance(2, sound(2)))
        await trio.sleep_until(due_at + forget_s)
        endpoint.discard(2)
    await trio.sleep_until(due_at + forget_s)
    endpoint.forget()
    await converse(endpoint, reports, 3)
    await trio.sleep(LIMIT_S)
    olds = [talk for talk in peer.conversations if sound(1) in [item.pcm for item in talk.items.values()]]
    assert olds and all(talk.closed_with == 1000 and talk.asked in ([sound(1)], []) for talk in olds)
    assert peer.open == 1
    told = [said for role, said in peer.conversations[-1].replayed if role == "user"]
    assert told == [sound(3)] or peer.conversations[-1].asked == [sound(3)]


# A day


@pytest.mark.long
@pytest.mark.parametrize("single", [False, True])
async def test_a_day_of_renewals_is_noticed_by_nobody(autojump_clock, start, caplog, single):
    caplog.set_level(logging.INFO, "kioskd")
    peer = honest(single=single, limit_s=HOUR_S, transcribes=True)
    endpoint, reports = await start(peer, evolve(SETTINGS, session_limit_s=HOUR_S, ping_interval_s=120))
    took, turn, early = [], 0, None
    while trio.current_time() < 24 * HOUR_S:
        turn += 1
        took.append(await converse(endpoint, reports, turn))
        assert Link.DOWN not in links(reports)
        reports.events.clear()
        await trio.sleep(293)
        if early is None and trio.current_time() > 2 * HOUR_S:
            early = alive()
    late = alive()
    assert asked(peer) == [sound(number) for number in range(1, turn + 1)]
    assert max(took) == pytest.approx(max(took[:10]))
    assert len(peer.conversations) == pytest.approx(24 * HOUR_S / (HOUR_S - RENEW_BEFORE_S), abs=1)
    assert peer.most_open == (1 if single else 2)
    assert refused(peer) == []
    assert {name: (early[name], count) for name, count in late.items() if count > early[name] + 5} == {}
    assert len(caplog.records) <= 3
