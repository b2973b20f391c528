"""A network that is away for hours, a server that says when, an owner who must act: nothing piles up, all is told."""

import logging

import pytest
import trio
from attrs import evolve
from fake_peer import CONVERSATION, MS, SETTINGS, Reports, alive, utterance
from honest_peer import NO_CONNECTION, HonestPeer

from kioskd.config import schema
from kioskd.config.schema import Dialect
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged
from kioskd.endpoints.breaker import Breaker
from kioskd.endpoints.failover import Failover, Member
from kioskd.endpoints.policy import LONGEST_RETRY_S, OWNER_PROBE_S, Failure, Kind
from kioskd.endpoints.realtime import RealtimeEndpoint

HOUR_S = 3600.0
READY_S = 1.0  # beside the round trips of connecting
KEY_S = 2.0
TOLD = Failure(Kind.UPGRADE, "slow down", status=429, retry_after_s=100.0)
NO_CREDIT = Failure(Kind.UPGRADE, "You exceeded your current quota", status=429, code="insufficient_quota")


def alone(peer, read_key):
    return RealtimeEndpoint(SETTINGS, CONVERSATION, read_key, dial=peer.dial, jitter=lambda: 1.0)


def one_of_a_list(peer, read_key):
    return Failover([Member(SETTINGS.name, alone(peer, read_key), Breaker(schema.Breaker()))])


@pytest.fixture(params=[alone, one_of_a_list])
async def start(request, nursery):
    """Run an endpoint against a peer; returns the endpoint and its reports."""

    def start(peer, read_key=lambda: "key"):
        endpoint = request.param(peer, read_key)
        reports = Reports()
        nursery.start_soon(endpoint.run, reports)
        return endpoint, reports

    return start


def honest(**fields):
    return HonestPeer(Dialect.GA, lambda _: bytes(300 * MS), **fields)


async def up_after(reports, before):
    """How long it takes until it is up, in s; `before`: events that don't count."""
    at = trio.current_time()
    await reports.until(LinkChanged, after=before, link=Link.UP)
    return trio.current_time() - at


async def press(endpoint, reports, turn):
    """A visitor who waits as long as the dialogue does; an apology follows."""
    endpoint.begin(utterance(turn))
    await trio.sleep(2)
    endpoint.ask(turn)
    await trio.sleep(CONVERSATION.answer_timeout_s)
    endpoint.cancel(turn)


def told_to_the_owner(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.INFO]


# The network


@pytest.mark.long
@pytest.mark.parametrize("noticed", [True, False])
async def test_a_long_outage_costs_nothing(autojump_clock, start, caplog, noticed):
    caplog.set_level(logging.INFO, "kioskd")
    peer = honest()
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    await peer.go_down()
    began_at, turn, early = trio.current_time(), 0, None
    while trio.current_time() < began_at + 8 * HOUR_S:
        turn += 1
        await press(endpoint, reports, turn)
        await trio.sleep(7 * 60)
        assert reports.of(AnswerEnded) == []
        reports.events.clear()
        early = early or alive()
        if noticed and turn % 10 == 0:
            endpoint.network_changed()  # in vain
    late = alive()
    assert {name: (early[name], count) for name, count in late.items() if count > early[name] + 2} == {}
    assert len(told_to_the_owner(caplog)) <= 5
    assert len(peer.dials) < 8 * HOUR_S / (LONGEST_RETRY_S / 2)
    peer.up = True
    if noticed:
        endpoint.network_changed()
    took_s = await up_after(reports, 0)
    assert took_s <= (READY_S if noticed else LONGEST_RETRY_S) + 2 * peer.greet_s
    endpoint.begin(utterance(turn + 1, b"\1\2" * 4800))
    endpoint.ask(turn + 1)
    await reports.until(AnswerEnded, ending=Ending.COMPLETE)
    assert [question for talk in peer.conversations for question in talk.asked] == [b"\1\2" * 4800]


async def test_the_end_of_an_outage_is_told_once_with_a_count(autojump_clock, start, caplog):
    caplog.set_level(logging.INFO, "kioskd")
    peer = honest(up=False)
    _, reports = start(peer)
    await trio.sleep(600)
    peer.up = True
    await up_after(reports, 0)
    warning, over = caplog.records
    assert warning.levelname == "WARNING" and "no connection" in warning.message
    assert over.levelname == "INFO" and f"after {len(peer.dials) - 1} failures" in over.message


@pytest.mark.parametrize("into_s", [0.0, 0.2, 0.4, 0.6, 2.0])
async def test_a_change_of_the_network_counts_whenever_it_comes(autojump_clock, start, into_s):
    peer = honest(up=False, refuse_s=0.5)
    endpoint, reports = start(peer)
    await trio.sleep(600)
    dials = len(peer.dials)
    while len(peer.dials) == dials:
        await trio.sleep(0.01)
    await trio.sleep(into_s)
    peer.up = True
    endpoint.network_changed()
    assert await up_after(reports, 0) <= READY_S + 0.5 + 2 * peer.greet_s


async def test_many_changes_of_the_network_are_not_as_many_attempts(autojump_clock, start):
    peer = honest(up=False)
    endpoint, _ = start(peer)
    await trio.sleep(600)
    dials = len(peer.dials)
    for _ in range(1000):
        endpoint.network_changed()
        await trio.sleep(0.01)
    assert len(peer.dials) - dials <= 12


async def test_a_dial_into_a_network_that_is_gone_is_given_up(autojump_clock, start):
    peer = honest(up=False, refuse_s=HOUR_S)
    endpoint, reports = start(peer)
    await trio.sleep(5)
    peer.up = True
    endpoint.network_changed()
    assert await up_after(reports, 0) <= READY_S + 2 * peer.greet_s
    assert Link.DOWN not in [event.link for event in reports.of(LinkChanged)]


async def test_a_connection_that_is_alive_survives_a_change_of_the_network(autojump_clock, start):
    peer = honest()
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    endpoint.network_changed()
    await trio.sleep(60)
    assert len(peer.dials) == 1 and peer.open == 1


async def test_nothing_that_was_apologised_for_is_sent_when_the_network_is_back(autojump_clock, start):
    peer = honest(up=False)
    endpoint, reports = start(peer)
    for turn in (1, 2, 3):
        await press(endpoint, reports, turn)
    peer.up = True
    endpoint.network_changed()
    await trio.sleep(HOUR_S)
    (talk,) = peer.conversations[:1]
    assert talk.items == {} and talk.refusals == [] and reports.of(AnswerAudio) == []


async def test_a_question_asked_before_the_network_is_back_is_answered(autojump_clock, start):
    peer = honest(up=False)
    endpoint, reports = start(peer)
    await trio.sleep(600)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    await trio.sleep(5)
    peer.up = True
    endpoint.network_changed()
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE


async def test_the_owner_sees_the_cause_since_when_and_the_next_try(autojump_clock, start):
    peer = honest()
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    await trio.sleep(100)
    await peer.go_down()
    lost_at = trio.current_time()
    await trio.sleep(600)
    seen = set()
    for _ in range(100):
        await trio.sleep(0.9)
        status = endpoint.status
        seen.add(status.link)
        assert status.endpoint == SETTINGS.name and lost_at <= status.since <= trio.current_time()
        if status.link is Link.DOWN:
            assert NO_CONNECTION.message in status.cause
            assert trio.current_time() <= status.next_try_at <= trio.current_time() + LONGEST_RETRY_S
    assert Link.DOWN in seen and Link.UP not in seen


# What the other side tells


@pytest.mark.parametrize("command", ["network_changed", "press"])
async def test_a_told_wait_is_a_floor_whatever_happens(autojump_clock, start, command):
    peer = honest(up=False, refusal=TOLD)
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.DOWN)
    peer.up = True
    while len(peer.dials) < 2:
        await trio.sleep(5)
        if command == "press":
            endpoint.begin(utterance(1))
            endpoint.discard(1)
        else:
            endpoint.network_changed()
    assert TOLD.retry_after_s <= peer.dials[1] - peer.dials[0] <= TOLD.retry_after_s + 2


async def test_a_told_wait_is_a_floor_for_an_open_connection_too(autojump_clock, start):
    peer = honest()
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    await peer.go_down(TOLD)
    await reports.until(LinkChanged, link=Link.DOWN)
    while len(peer.dials) < 2:
        await trio.sleep(0.1)
    told_at = trio.current_time()
    peer.up = True
    while len(peer.dials) < 3:
        endpoint.network_changed()
        await trio.sleep(1)
    assert peer.dials[2] - told_at >= TOLD.retry_after_s - 0.1


# The owner


async def test_a_bad_key_is_told_once_and_a_replaced_one_connects_soon(autojump_clock, start, caplog):
    caplog.set_level(logging.INFO, "kioskd")
    keys = ["bad"]
    peer = honest(key="good")
    endpoint, reports = start(peer, lambda: keys[0])
    await reports.until(LinkChanged, link=Link.REFUSED)
    await trio.sleep(2 * HOUR_S + OWNER_PROBE_S / 2)  # the next probe is far
    (told,) = told_to_the_owner(caplog)
    assert "HTTP 401" in told and "key" in told.partition(";")[2] and "bad" not in told
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert 10 <= len(peer.dials) <= 2 * HOUR_S / OWNER_PROBE_S + 1
    status = endpoint.status
    assert status.link is Link.REFUSED and "HTTP 401" in status.cause and status.since < 1
    assert trio.current_time() <= status.next_try_at <= trio.current_time() + OWNER_PROBE_S
    keys[0] = "good"
    assert await up_after(reports, 0) <= KEY_S


async def test_what_only_the_owner_can_mend_does_not_depend_on_the_network(autojump_clock, start):
    peer = honest(up=False, refusal=NO_CREDIT)
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.REFUSED)
    for _ in range(100):
        endpoint.network_changed()
        await trio.sleep(5)
    assert len(peer.dials) == 1
    peer.up = True
    assert await up_after(reports, 0) <= OWNER_PROBE_S - 500 + 1
    assert [event.link for event in reports.of(LinkChanged)] == [Link.CONNECTING, Link.REFUSED, Link.UP]


async def test_nobody_is_kept_waiting_for_the_owner(autojump_clock, start):
    peer = honest(up=False, refusal=NO_CREDIT)
    endpoint, reports = start(peer)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    failed = await reports.until(AnswerEnded)
    assert failed.ending is Ending.FAILED and "quota" in failed.reason
    assert trio.current_time() < 1


async def test_another_trouble_after_the_first_is_told_too(autojump_clock, start, caplog):
    peer = honest(up=False)
    _, reports = start(peer)
    await trio.sleep(600)
    peer.refusal = evolve(NO_CREDIT)
    await reports.until(LinkChanged, link=Link.REFUSED)
    await trio.sleep(HOUR_S)
    assert [("quota" in message) for message in told_to_the_owner(caplog)] == [False, True]
