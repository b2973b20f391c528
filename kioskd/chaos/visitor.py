"""Visitors, drawn from a seed. They know the button, the lamp and what they hear, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio
from attrs import frozen

from kioskd.chaos.devices import MemoryPanel, MemorySpeaker
from kioskd.dialogue.effects import State, View
from kioskd.dialogue.events import Link

PATIENCE_S = 60.0  # beyond every limit of a turn: who still waits then found the kiosk stuck


@frozen
class Manners:
    """How often visitors do what, in parts of the whole; and their times."""

    waits_for_end: float = 0.46
    too_short: float = 0.06
    barges_in: float = 0.16
    presses_in_thought: float = 0.12
    presses_twice: float = 0.06
    holds_too_long: float = 0.03
    waits_for_outage: float = 0.06
    goes_away: float = 0.05
    forget_after_s: float = 30.0
    max_utterance_s: float = 2.5


class Visitors:
    """Presses `presses` times. `on_press` is told before each."""

    def __init__(
        self,
        panel: MemoryPanel,
        speaker: MemorySpeaker,
        rng: random.Random,
        manners: Manners,
        on_press: Callable[[], None],
    ) -> None:
        self._panel = panel
        self._speaker = speaker
        self._rng = rng
        self._manners = manners
        self._on_press = on_press
        self._pressed = 0

    async def run(self, presses: int) -> None:
        """Until so many presses are over."""
        await self._panel.until(lambda view: view.state is State.READY, PATIENCE_S)
        await self._panel.until(lambda view: view.link is Link.UP, 5.0)
        acts = {
            self._wait_for_end: self._manners.waits_for_end,
            self._too_short: self._manners.too_short,
            self._barge_in: self._manners.barges_in,
            self._press_in_thought: self._manners.presses_in_thought,
            self._press_twice: self._manners.presses_twice,
            self._hold_too_long: self._manners.holds_too_long,
            self._wait_for_outage: self._manners.waits_for_outage,
            self._go_away: self._manners.goes_away,
        }
        while self._pressed < presses:
            (act,) = self._rng.choices(list(acts), list(acts.values()))
            await act()
        await self._end()

    async def _hold(self, hold_s: float) -> None:
        self._pressed += 1
        self._on_press()
        self._panel.press()
        await trio.sleep(hold_s)
        self._panel.release()

    async def _speak(self) -> None:
        long = self._rng.random() < 0.15
        await self._hold(self._rng.uniform(1.0, 2.0) if long else self._rng.uniform(0.31, 0.6))

    async def _end(self) -> None:
        """Wait until the kiosk is done with the turn; then, mostly, until it looks as if it were worth pressing."""
        await self._panel.until(lambda view: view.state is State.READY, PATIENCE_S)
        if self._panel.view.link is not Link.UP and self._rng.random() < 0.8:
            await self._panel.until(lambda view: view.link is Link.UP, PATIENCE_S)
        await trio.sleep(self._rng.random() * 0.6)

    async def _wait_for_end(self) -> None:
        await self._speak()
        await self._end()

    async def _too_short(self) -> None:
        await self._hold(self._rng.uniform(0.01, 0.28))
        await self._end()

    async def _barge_in(self) -> None:
        await self._speak()
        if await self._panel.until(lambda view: view.state is not State.THINKING, PATIENCE_S):
            wanted_ms = self._rng.choice((1, 20, 60, 150, 300, 600, 1200))
            while self._panel.view.state is State.SPEAKING and (left_ms := wanted_ms - self._speaker.heard_ms) > 0:
                await self._panel.until(lambda view: view.state is not State.SPEAKING, left_ms / 1000)

    async def _press_in_thought(self) -> None:
        await self._speak()
        await trio.sleep(self._rng.choice((0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 1.0)))

    async def _press_twice(self) -> None:
        await self._hold(self._rng.uniform(0.005, 0.03))
        await trio.sleep(self._rng.uniform(0.005, 0.02))
        await self._speak()
        await self._end()

    async def _hold_too_long(self) -> None:
        await self._hold(self._manners.max_utterance_s + self._rng.random() * 3)
        await self._end()

    async def _wait_for_outage(self) -> None:
        await self._panel.until(_is_down, self._rng.uniform(0.5, 4.0))
        await self._wait_for_end()

    async def _go_away(self) -> None:
        await self._end()
        await trio.sleep(self._manners.forget_after_s + self._rng.uniform(1.0, 30.0))


def _is_down(view: View) -> bool:
    return view.link is not Link.UP
