"""The pulse of the link: through hours of calm, of outage and of refusal it never stands still; a stuck one does."""

import pytest
import trio
from fake_peer import CONVERSATION, MS, SETTINGS, Reports
from honest_peer import HonestPeer
from test_endpoints_outage import NO_CREDIT, TOLD

from kioskd.config import schema
from kioskd.config.schema import Dialect
from kioskd.dialogue.events import Link, LinkChanged
from kioskd.endpoints.breaker import Breaker
from kioskd.endpoints.failover import Failover, Member
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.health.vitals import link_limit_s

LIMIT_S = link_limit_s([SETTINGS])


@pytest.fixture
def peer():
    return HonestPeer(Dialect.GA, lambda _: bytes(300 * MS))


@pytest.fixture(params=["alone", "one of a list"])
def endpoint(request, peer):
    alone = RealtimeEndpoint(SETTINGS, CONVERSATION, lambda: "key", dial=peer.dial, jitter=lambda: 1.0)
    return alone if request.param == "alone" else Failover([Member(SETTINGS.name, alone, Breaker(schema.Breaker()))])


async def watch(endpoint, seconds):
    """The oldest pulse without an excuse, and whether there were excuses."""
    oldest_s, excused = 0.0, False
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        await trio.sleep(2.3)
        pulse = endpoint.pulse
        if pulse.excuse:
            excused = True
        else:
            oldest_s = max(oldest_s, pulse.age_s)
    return oldest_s, excused


async def test_a_link_that_is_up_moves_by_its_pongs(autojump_clock, nursery, endpoint):
    reports = Reports()
    nursery.start_soon(endpoint.run, reports)
    await reports.until(LinkChanged, link=Link.UP)
    oldest_s, excused = await watch(endpoint, 3600)
    assert not excused and oldest_s <= SETTINGS.ping_interval_s + SETTINGS.ping_timeout_s < LIMIT_S


@pytest.mark.parametrize("refusal", [None, TOLD, NO_CREDIT], ids=["no network", "told to wait", "no credit"])
async def test_an_outage_is_excused_until_the_next_try(autojump_clock, nursery, endpoint, peer, refusal):
    reports = Reports()
    nursery.start_soon(endpoint.run, reports)
    await reports.until(LinkChanged, link=Link.UP)
    await (peer.go_down(refusal) if refusal else peer.go_down())
    oldest_s, excused = await watch(endpoint, 3600)
    assert excused and oldest_s <= LIMIT_S
    peer.up = True
    before = len(reports.events)
    await reports.until(LinkChanged, after=before, link=Link.UP)
    oldest_s, excused = await watch(endpoint, 600)
    assert not excused and oldest_s <= LIMIT_S


@pytest.mark.parametrize("up", [True, False])
async def test_a_link_whose_tasks_are_gone_stands_still(autojump_clock, endpoint, peer, up):
    peer.up = up
    reports = Reports()
    with trio.move_on_after(60):
        await endpoint.run(reports)
    await trio.sleep(LIMIT_S + 60)
    assert endpoint.pulse.age_s > LIMIT_S and not endpoint.pulse.excuse


async def test_a_reopened_link_is_a_new_connection(autojump_clock, nursery, endpoint, peer):
    reports = Reports()
    nursery.start_soon(endpoint.run, reports)
    await reports.until(LinkChanged, link=Link.UP)
    dials, before = len(peer.dials), len(reports.events)
    endpoint.reopen()
    await reports.until(LinkChanged, after=before, link=Link.UP)
    assert len(peer.dials) == dials + 1 and peer.open == 1
