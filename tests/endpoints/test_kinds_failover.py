"""In mid-conversation from one kind of endpoint to another and back, over a network that gets worse and better."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import define
from talk_parts import BEFORE, EXIT, SAYS, TICKET, Talk, at, clock, simulator, talking

from kioskd.dialogue.events import Ending, LinkChanged
from kioskd.simulator.faults.catalogue import ALL_KINDS, Kind, Level, Phase

LESS_OFTEN = ("chat-sse", "chat-plain")


@define
class Network:
    """A source of faults that is told what to do. `breaks`: the next piece of bytes ends its connection."""

    blocks_sockets: bool = False
    breaks: bool = False
    is_cut: bool = False

    def draw(self, level: Level, phase: Phase) -> Kind | None:
        if level is Level.UPGRADE and self.blocks_sockets:
            return ALL_KINDS["upgrade-blocked"]
        if level is not Level.NETWORK:
            return None
        if phase is Phase.CONNECT:
            return ALL_KINDS["refuse-connect"] if self.is_cut else None
        if self.is_cut or self.breaks:
            self.breaks = False
            return ALL_KINDS["rst-mid-frame"]
        return None


@pytest.fixture
def faster() -> trio.testing.MockClock:
    return clock()


async def asked_before(talk: Talk, turn: int, question: str) -> None:
    assert await talk.ask(turn, BEFORE) == f"Before this, you asked: {question}."
    assert (await talk.ended(turn)).ending is Ending.COMPLETE


@pytest.mark.parametrize("spare", ["audio-sse", *(pytest.param(each, marks=pytest.mark.long) for each in LESS_OFTEN)])
async def test_there_and_back_again_with_all_that_was_said(
    faster: trio.testing.MockClock, tmp_path: Path, spare: str
) -> None:
    network = Network()
    house = simulator(tmp_path, network, proxied=True)  # type: ignore[arg-type]
    names = ("realtime", spare, "local")
    async with house as port, talking(tmp_path, *(at(port, name) for name in names)) as talk:
        await talk.up("realtime")
        assert await talk.ask(1, TICKET) == SAYS[TICKET]

        network.blocks_sockets = network.breaks = True
        await asked_before(talk, 2, TICKET)
        assert talk.serving == spare

        network.is_cut = True
        assert await talk.ask(3, EXIT) == SAYS[EXIT]
        assert talk.serving == "local"
        assert talk.reports.of(LinkChanged)[-1].limited

        network.is_cut = network.blocks_sockets = False
        talk.roster.network_changed()
        await talk.up("realtime")
        await asked_before(talk, 4, EXIT)
        assert not talk.reports.of(LinkChanged)[-1].limited


async def test_a_firewall_alone_moves_it_to_http_and_nowhere_else(
    faster: trio.testing.MockClock, tmp_path: Path
) -> None:
    network = Network(blocks_sockets=True)
    house = simulator(tmp_path, network, proxied=True)  # type: ignore[arg-type]
    names = ("realtime", "responses", "chat-ws", "audio-sse", "local")
    async with house as port, talking(tmp_path, *(at(port, name) for name in names)) as talk:
        assert await talk.ask(1, TICKET) == SAYS[TICKET]
        assert talk.serving == "audio-sse"
        await trio.sleep(5)
        assert talk.serving == "audio-sse"
