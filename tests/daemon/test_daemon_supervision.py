"""A part that goes down takes nothing else with it."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from kioskd.supervision import Supervised


async def test_an_error_while_a_part_is_cancelled_stays_its_own(autojump_clock: MockClock) -> None:
    lives: list[float] = []

    async def clean_up_badly() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("the socket is gone already")

    async def live() -> None:
        lives.append(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clean_up_badly)
            nursery.start_soon(trio.sleep_forever)

    part = Supervised("link", live, lambda cause: None)
    with trio.move_on_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(part.run)
            await trio.sleep(10)
            part.restart("the watchdog asks")
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
    assert len(lives) == 2
