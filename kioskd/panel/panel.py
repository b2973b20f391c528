"""The panel as a part of the daemon: presses out, views in, and a board that may come and go."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import NoReturn

import trio
from attrs import evolve

from kioskd.config import schema
from kioskd.dialogue.effects import State, View
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, Link
from kioskd.landmarks import FAULT, FAULT_OVER
from kioskd.panel.gestures import ButtonEvent, Gestures, OwnerEvent, OwnerGestures
from kioskd.panel.gpio import Board
from kioskd.panel.lamp import DARK, UPDATES_PER_SECOND, FlashLimit, Light, lamp, next_change, pattern_of
from kioskd.panel.pin_factory import PanelError
from kioskd.pulse import Pulse

logger = logging.getLogger(__name__)

PanelEvent = ButtonEvent | OwnerEvent | FaultRaised | FaultCleared

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 30.0
RESYNC_S = 3.0  # an edge that was lost, or a chip that went away without a word, is noticed after this long
RESYNC_DOWN_S = 1.0  # while a button is down, and perhaps somebody is recorded
_UPDATE_S = 1 / UPDATES_PER_SECOND


def _silence() -> float:
    return 0.0


def _unseen(light: Light) -> None:
    del light


class Panel:
    """One button, one lamp, and perhaps a second button, the owner's.

    `level` is asked for the loudness (RMS, 0.0 to 1.0) that the lamp follows, `on_light` is told of every light the
    lamp changes to; both are called in the trio thread.
    """

    def __init__(
        self,
        settings: schema.Panel,
        level: Callable[[], float] = _silence,
        on_light: Callable[[Light], None] = _unseen,
    ) -> None:
        self._settings = settings
        self._level = level
        self._on_light = on_light
        self._view = View(State.STARTING, Link.DOWN)
        self._pattern_since = 0.0  # any phase will do until the first view comes
        self._wake = trio.Event()
        self._edged = False  # the buttons are to be read; what else wakes us has nothing to do with them
        self._other_pins = trio.Event()  # the board is to be opened anew; replaced when it is
        self._other_lamp = False
        self._failures = 0
        self._cause = ""
        self._moved_at = -math.inf
        self._retry_at: float | None = None  # None: the board is there
        self._ran = False

    @property
    def pulse(self) -> Pulse:
        """It moves when the button is read; a board that is missing is known to be, until it is tried again."""
        now = trio.current_time()
        if self._retry_at is None or now > self._retry_at:
            return Pulse(now - max(self._moved_at, self._retry_at or -math.inf))
        return Pulse(now - self._moved_at, f"{self._cause}; next try in {self._retry_at - now:.0f} s")

    def adjust(self, settings: schema.Settings) -> None:
        """See `kioskd.pulse.Adjustable`. Another lamp lights up at once; for other buttons the board is opened anew."""
        before, self._settings = self._settings, settings.panel
        if settings.panel != evolve(before, lamp=settings.panel.lamp):
            self._other_pins.set()
        elif settings.panel.lamp != before.lamp:
            self._other_lamp = True
            if self._retry_at is not None:  # it may be what was wrong
                self._other_pins.set()
        self._wake.set()

    def show(self, view: View) -> None:
        """The lamp shows this view from now on. To be called in the trio thread; returns at once."""
        if pattern_of(view) is not pattern_of(self._view):
            self._pattern_since = trio.current_time()
        self._view = view
        self._wake.set()

    async def run(self, report: Callable[[PanelEvent], None]) -> NoReturn:
        """Read the button and drive the lamp until cancelled; then the lamp is off and the pins are given back.

        A board that is missing or goes away is reported once as Fault.PANEL, and opened again with back-off.
        """
        token = trio.lowlevel.current_trio_token()
        retry_s = RETRY_FIRST_S
        if self._ran:
            self._failures = max(1, self._failures)  # it crashed, and its supervisor raised the fault
        self._ran, self._retry_at = True, None
        while True:
            opened_at = math.inf
            self._other_pins, self._other_lamp = trio.Event(), False
            try:
                board = Board(self._settings, lambda: self._edge(token))
                opened_at = self._moved_at = trio.current_time()
                self._retry_at = None
                try:
                    self._recovered(report)
                    await self._serve(board, report)
                finally:
                    board.close()
                continue
            except PanelError as error:
                cause = str(error)
            self._failed(cause, report)
            # A board that fails as soon as it is opened is no reason to try it every second.
            if trio.current_time() - opened_at >= RETRY_MOST_S:
                retry_s = RETRY_FIRST_S
            self._retry_at = trio.current_time() + retry_s
            with trio.move_on_after(retry_s):
                await self._other_pins.wait()
            retry_s = min(retry_s * 2, RETRY_MOST_S)

    async def _serve(self, board: Board, report: Callable[[PanelEvent], None]) -> None:
        """Until the board is to be opened anew. Raises PanelError where it is gone."""
        visitor = Gestures(self._settings.button)
        owner = OwnerGestures(self._settings.owner_button) if self._settings.owner_button else None
        driver = _LampDriver(board, self._level, self._on_light)
        read_due = -math.inf
        try:
            while not self._other_pins.is_set():
                if self._edged or trio.current_time() >= read_due:
                    self._edged = False
                    read_due = _read(board, visitor, owner, report)
                    self._moved_at = trio.current_time()
                # What the reports have changed is looked at below: only what changes from here on wakes us again.
                self._wake = trio.Event()
                if self._other_lamp:
                    self._other_lamp = False
                    board.change_lamp(self._settings.lamp)
                    driver.lamp_is_dark()
                lamp_due = driver.drive(self._view, self._pattern_since, trio.current_time())
                if self._other_pins.is_set():
                    break
                with trio.move_on_at(min(lamp_due, read_due)):
                    await self._wake.wait()
        except PanelError:
            _let_go(visitor, report)
            raise
        _let_go(visitor, report)

    def _edge(self, token: trio.lowlevel.TrioToken) -> None:
        """In gpiozero's thread: have the button read. One call may be pending, however much the contact chatters."""
        # An exception would end lgpio's thread, and every edge with it.
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(self._wake_up, idempotent=True)

    def _wake_up(self) -> None:
        self._edged = True
        self._wake.set()

    def _failed(self, cause: str, report: Callable[[PanelEvent], None]) -> None:
        logger.log(logging.DEBUG if cause == self._cause else logging.WARNING, "%s", cause, extra=FAULT)
        self._cause = cause
        self._failures += 1
        if self._failures == 1:
            report(FaultRaised(Fault.PANEL, cause))

    def _recovered(self, report: Callable[[PanelEvent], None]) -> None:
        if self._failures:
            logger.info("panel: the board is back, after %d failures", self._failures, extra=FAULT_OVER)
            self._failures = 0
            self._cause = ""
            report(FaultCleared(Fault.PANEL))


def _read(board: Board, visitor: Gestures, owner: OwnerGestures | None, report: Callable[[PanelEvent], None]) -> float:
    """Report what the buttons' levels and the time mean; when to come again, whether or not there is an edge."""
    down, owner_down = board.down, False
    for event in visitor.feed(down, trio.current_time()):
        report(event)
    if owner is not None:
        owner_down = board.owner_down
        for owner_event in owner.feed(owner_down, trio.current_time()):
            report(owner_event)
    deadlines = (each.deadline for each in (visitor, owner) if each is not None)
    due = min((due for due in deadlines if due is not None), default=math.inf)
    return min(due, trio.current_time() + (RESYNC_DOWN_S if down or owner_down else RESYNC_S))


def _let_go(visitor: Gestures, report: Callable[[PanelEvent], None]) -> None:
    """Nobody can tell when the visitor lets go: what was said so far is all there is."""
    for event in visitor.lost(trio.current_time()):
        report(event)


class _LampDriver:
    """Brings views to a board: at most UPDATES_PER_SECOND changes, and none while nothing changes."""

    def __init__(self, board: Board, level: Callable[[], float], on_light: Callable[[Light], None]) -> None:
        self._board = board
        self._level = level
        self._on_light = on_light
        self._limit = FlashLimit()
        self._light = DARK
        self._since = math.nan
        self._due = -math.inf
        self._free_at = -math.inf

    def lamp_is_dark(self) -> None:
        """It was exchanged: light it anew, though nothing else has changed."""
        self._light, self._since = DARK, math.nan

    def drive(self, view: View, since: float, now: float) -> float:
        """Show this view, whose pattern began at `since`; when to come again (math.inf: when the view changes)."""
        if since == self._since and now < self._due:
            return self._due
        if now < self._free_at:
            return self._free_at
        elapsed = now - since
        dims = self._board.dims
        light, retry_at = self._limit.limit(lamp(view, self._level() if dims else 0.0, elapsed, dims), now)
        if light != self._light:
            self._board.show(light)
            self._light = light
            self._free_at = now + _UPDATE_S
            self._on_light(light)
        change = next_change(view, elapsed, dims)
        self._since = since
        self._due = min(math.inf if change is None else since + change, math.inf if retry_at is None else retry_at)
        return self._due
