"""An order of preference and bars from outside: who may not serve is left, never in the middle of a turn."""

from __future__ import annotations

import pytest
import trio
from fake_peer import SETTINGS
from honest_peer import HonestPeer
from test_endpoints_failover import House, answer_to, open_house, sound  # noqa: F401  (a fixture)

from kioskd.config.schema import Dialect
from kioskd.dialogue.events import Link, LinkChanged
from kioskd.health.vitals import link_limit_s

CAP = "spend cap reached"
NAMES = ["endpoint-0", "endpoint-1", "endpoint-2"]


def is_fresh(house):
    """Whether the watchdog, which hears of a kiosk's life only by this, leaves it alone."""
    return house.endpoint.pulse.age_s <= link_limit_s([SETTINGS])


async def test_a_barred_one_is_left_for_the_next_with_its_cause(autojump_clock, open_house):  # noqa: F811
    house = open_house()
    await house.converse(1)
    await trio.sleep(60)
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    await house.up(1)
    await house.converse(2)
    assert house.asked(1) == [sound(2)]
    status = house.endpoint.status
    assert CAP in status.cause and NAMES[0] in status.cause
    assert dict(status.breakers)[NAMES[0]] == "barred"


async def test_it_is_home_again_when_the_bar_is_lifted(autojump_clock, open_house):  # noqa: F811
    house = open_house()
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    await house.up(1)
    await trio.sleep(600)
    assert house.serving == 1 and len(house.peers[0].dials) <= 1
    house.endpoint.prefer(NAMES, {})
    await house.up(0)
    assert house.endpoint.status.cause == ""


async def test_a_turn_under_way_ends_where_it_is(autojump_clock, open_house):  # noqa: F811
    house = open_house()
    await house.up(0)
    house.ask(1)
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    await house.answered(1)
    assert house.asked(0) == [sound(1)] and house.asked(1) == []
    await house.converse(2)
    assert house.asked(1) == [sound(2)], "the next question goes elsewhere, also at once"


async def test_with_nobody_left_the_link_is_refused_until_one_may_serve(autojump_clock, open_house):  # noqa: F811
    house = open_house()
    await house.up(0)
    house.endpoint.prefer(NAMES, dict.fromkeys(NAMES, CAP))
    await trio.sleep(1)
    assert house.reports.of(LinkChanged)[-1] == LinkChanged(Link.REFUSED, CAP)
    assert (house.endpoint.status.link, house.endpoint.status.cause) == (Link.REFUSED, CAP)
    dials = [len(peer.dials) for peer in house.peers]
    await trio.sleep(3600)
    assert [len(peer.dials) for peer in house.peers] == dials, "nobody is asked for anything"
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    await house.up(1)
    house.endpoint.prefer(NAMES, {})
    await house.up(0)
    await house.converse(3)


async def test_one_alone_is_barred_and_comes_back(autojump_clock, open_house):  # noqa: F811
    house = open_house(1)
    await house.up(0)
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    assert house.endpoint.status.link is Link.REFUSED
    for _ in range(6):
        await trio.sleep(1800)
        assert is_fresh(house), "its watchdog would start the kiosk anew, again and again"
    house.endpoint.prefer(NAMES, {})
    assert is_fresh(house)
    await house.up(0)
    await house.converse(1)


@pytest.mark.parametrize("count", [1, 2])
async def test_with_all_barred_before_they_run_nothing_has_to_move(autojump_clock, nursery, count):
    house = House([HonestPeer(Dialect.GA, answer_to) for _ in range(count)])
    house.endpoint.prefer(NAMES, dict.fromkeys(NAMES, CAP))
    nursery.start_soon(house.endpoint.run, house.reports)
    await trio.sleep(7200)
    assert is_fresh(house) and house.endpoint.pulse.excuse == CAP
    assert not any(peer.dials for peer in house.peers)


async def test_barred_before_it_runs(autojump_clock, nursery):
    house = House([HonestPeer(Dialect.GA, answer_to) for _ in range(2)])
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    nursery.start_soon(house.endpoint.run, house.reports)
    await house.up(1)
    assert house.peers[0].dials == []


async def test_another_order_moves_the_kiosk_while_idle(autojump_clock, open_house):  # noqa: F811
    house = open_house(3)
    await house.converse(1)
    house.endpoint.prefer([NAMES[2], NAMES[0], NAMES[1]], {})
    await house.up(2)
    assert Link.DOWN not in house.links
    await house.converse(2)
    assert house.asked(2) == [sound(2)] and house.peers[1].dials == []


async def test_nobody_goes_home_to_one_that_was_stopped_at_its_cap_and_rests(autojump_clock, open_house):  # noqa: F811
    house = open_house()
    await house.up(0)
    house.endpoint.prefer(NAMES, {NAMES[0]: CAP})
    await house.up(1)
    house.members[0].breaker.open(trio.current_time())
    house.endpoint.prefer(NAMES, {})
    for turn in range(1, 6):
        await trio.sleep(4)
        assert house.serving == 1
        await house.converse(turn)
    await house.up(0)
    await house.converse(6)
