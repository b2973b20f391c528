"""What a server of the owner's is told, how often, and what becomes of it while that server is away."""

from __future__ import annotations

import itertools
import json
import logging
from functools import partial

import httpx
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from kioskd.config.schema import KeySource, Webhook
from kioskd.dialogue.effects import Show, State, View
from kioskd.dialogue.events import Fault, FaultRaised, Link, LinkChanged
from kioskd.health.webhook import WebhookTeller

ADDRESS = "https://alerts.example/hook/of-which-nobody-may-know"


@define
class Server:
    """Takes what it is told, or answers with `status`, or isn't there (0)."""

    status: int = 200
    told: list[tuple[float, list[dict[str, str]]]] = field(factory=list)
    attempts: int = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.attempts += 1
        assert str(request.url) == ADDRESS
        if self.status == 0:
            raise httpx.ConnectError(f"can't reach {ADDRESS}")
        if self.status == 200:
            self.told.append((trio.current_time(), json.loads(request.content)["events"]))
        return httpx.Response(self.status)

    @property
    def heard(self) -> list[tuple[str, str]]:
        return [(news["event"], news["fault"]) for _, events in self.told for news in events]


def teller(server: Server, address: str = ADDRESS) -> WebhookTeller:
    settings = Webhook(KeySource(environment="HOOK"), at_most_every_s=60)
    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(server.answer))
    return WebhookTeller(settings, {"HOOK": address}, client)


def show(*faults: Fault) -> Show:
    return Show(View(State.READY, Link.UP, frozenset(faults)))


async def test_a_fault_and_its_end_are_told_with_the_cause(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    server = Server()
    hook = teller(server)
    nursery.start_soon(hook.run)
    hook(FaultRaised(Fault.MICROPHONE, "unplugged"), 0.0)
    hook(show(Fault.MICROPHONE), 0.0)
    hook(show(Fault.MICROPHONE), 0.0)
    await trio.sleep(1)
    hook(show(), 1.0)
    await trio.sleep(100)
    assert server.heard == [("fault", "microphone"), ("recovered", "microphone")]
    assert server.told[0][1][0]["cause"] == "unplugged"


async def test_it_is_told_no_more_often_than_the_settings_say(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    server = Server()
    hook = teller(server)
    nursery.start_soon(hook.run)
    for _ in range(30):
        hook(show(Fault.SPEAKER), 0.0)
        hook(show(), 0.0)
        await trio.sleep(10)
    times = [at for at, _ in server.told]
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(times))
    await trio.sleep(60)
    assert len(server.heard) == 60, "told together, and none is lost"


@pytest.mark.parametrize("status", [0, 500, 404])
async def test_a_server_that_is_away_is_tried_again_and_told_all(
    status: int, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server(status)
    hook = teller(server)
    nursery.start_soon(hook.run)
    hook(LinkChanged(Link.REFUSED, "a bad key: sk-12345678901234567890"), 0.0)
    await trio.sleep(24 * 3600)
    assert 20 <= server.attempts <= 40
    server.status = 200
    await trio.sleep(3600)
    assert server.heard == [("fault", "link")]
    assert "sk-1234" not in json.dumps(server.told)
    assert [record.levelname for record in caplog.records if "webhook" in record.message] == ["WARNING", "INFO"]
    assert ADDRESS not in caplog.text


@pytest.mark.parametrize("address", ["http://alerts.example/", "", "two words"])
async def test_an_address_that_is_none_is_told_once(
    address: str, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    hook = teller(server, address)
    nursery.start_soon(hook.run)
    hook(show(Fault.PANEL), 0.0)
    await trio.sleep(3600)
    assert server.attempts == 0
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_what_came_back_to_life_while_nobody_listened_is_bounded(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = Server(0)
    hook = teller(server)
    nursery.start_soon(hook.run)
    for _ in range(1000):
        hook(show(Fault.SPEAKER), 0.0)
        hook(show(), 0.0)
    server.status = 200
    await trio.sleep(24 * 3600)
    assert len(server.heard) == 100
