"""The pulse of the panel: it moves while the button is read, and needn't while its board is known to be missing."""

from __future__ import annotations

import pytest
import trio
from test_panel_board import LED, running
from trio.testing import MockClock

from kioskd.dialogue.events import Fault, FaultCleared
from kioskd.health.vitals import VITALS
from kioskd.panel.panel import Panel
from kioskd.simulator.board import VirtualBoard

LIMIT_S = VITALS["panel"].limit_s


async def test_it_moves_while_nobody_touches_it(autojump_clock: MockClock) -> None:
    async with running(LED) as rig:
        for _ in range(300):
            await trio.sleep(1.7)
            assert rig.panel.pulse.age_s <= LIMIT_S / 3 and not rig.panel.pulse.excuse


async def test_a_board_that_is_missing_is_excused_as_long_as_it_is_tried_again(autojump_clock: MockClock) -> None:
    async with running(LED) as rig:
        rig.board.unplug()
        await trio.sleep(100)
        for _ in range(300):
            await trio.sleep(1.7)
            pulse = rig.panel.pulse
            assert pulse.age_s <= LIMIT_S or ("unplugged" in pulse.excuse and "next try in" in pulse.excuse)
        rig.board.plug()
        await trio.sleep(40)
        assert rig.panel.pulse.age_s <= LIMIT_S / 3 and not rig.panel.pulse.excuse


async def test_a_panel_that_does_not_turn_any_more_stands_still(autojump_clock: MockClock) -> None:
    async with running(LED) as rig:
        await trio.sleep(10)
    await trio.sleep(60)
    assert rig.panel.pulse.age_s > LIMIT_S and not rig.panel.pulse.excuse


async def test_the_fault_of_a_crash_ends_when_the_board_is_open_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    with VirtualBoard(LED).installed():
        panel = Panel(LED)

        async def crash(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(panel, "_serve", crash)
            with pytest.raises(ZeroDivisionError):
                await panel.run(told.append)
        assert told == []
        with trio.move_on_after(5):
            await panel.run(told.append)
    assert told == [FaultCleared(Fault.PANEL)]
