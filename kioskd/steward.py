"""Minds the owner's money: books what answers cost, keeps to the caps, and says who is asked first."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import trio

from kioskd.config import schema
from kioskd.config.spend_schema import Order
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.endpoints.choice import Turns, model_for, order_at, ranked
from kioskd.endpoints.loud import LoudOnce
from kioskd.spend.account import Account, Taken
from kioskd.spend.caps import Level, Standing, standings
from kioskd.spend.forecast import is_sound
from kioskd.spend.ledger import Ledger, LedgerError
from kioskd.spend.lines import Booking, Line, Moment, Note
from kioskd.spend.prices import MINUTE_MS, NANO, cost, is_free
from kioskd.spend.windows import Windows

log = logging.getLogger(__name__)

LOOK_S = 30.0  # a cap frees itself as time passes, and the hours of `choice` begin
CREDITS_S = 3600.0
MAX_WAITING = 1000  # lines that couldn't be written yet, of a disk that is full
MAX_NOTE_CHARACTERS = 500

Prefer = Callable[[Sequence[str], Mapping[str, str]], None]
KeyOf = Callable[[schema.Endpoint], str]


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Another one after each start of the machine."""
    try:
        return path.read_text().strip()[:8]
    except OSError:
        return "unknown"


def moment() -> Moment:
    """Now, by both clocks. The second one also counts while the machine sleeps."""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot_id())


class Steward:
    """An observer of the daemon. `serving` is who answers just now; `prefer` is told who should, and who must not.

    `directory` is the ledger's; `now` tells the moment.
    """

    def __init__(
        self,
        settings: schema.Settings,
        directory: Path,
        serving: Callable[[], str],
        prefer: Prefer,
        key_of: KeyOf | None = None,
        now: Callable[[], Moment] = moment,
    ) -> None:
        self._settings = settings
        self._serving, self._prefer, self._key_of = serving, prefer, key_of
        self._now = now
        self._ledger = Ledger(directory) if settings.spend.ledger else None
        self._loaded = False
        self._waiting: list[Line] = []  # not written yet, the oldest first
        self._early: list[Booking] = []  # booked before the past was read
        self._estimates: dict[int, int] = {}  # cost by turn, of what may come late
        self._turns: dict[str, Turns] = {}
        boot = now().boot
        self._all = Windows(boot)
        self._each: dict[str, Windows] = {}
        self._boot = boot
        self._account = Account(serving, self._is_sound, self._model_of, self._take, self._instructions)
        self._levels: dict[tuple[str, str], Level] = {}
        self._barred: dict[str, str] = {}
        self._order: list[str] = []
        self._credits: dict[str, float] = {}
        self._some = trio.Event()
        self._trouble = LoudOnce(log)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        before = self._account.due
        self._account(what, now)
        if self._account.due < before:
            self._some.set()

    def adjust(self, settings: schema.Settings) -> None:
        """These settings count from now on."""
        if settings.spend.currency != self._settings.spend.currency:
            log.warning("spend: amounts of before are in %s, and count no more", self._settings.spend.currency)
            self._all, self._each = Windows(self._boot), {}
        self._settings = settings
        self.look()

    @property
    def figures(self) -> dict[str, Any]:
        """For `status` and the metrics: amounts in the owner's currency."""
        settings, now = self._settings.spend, self._now()
        spent = self._all.spent(now)
        return {
            "currency": settings.currency,
            "spent": {span: getattr(spent, span) / NANO for span in ("hour", "day", "month")},
            "caps": [
                {
                    "endpoint": name,
                    "span": each.span,
                    "cap": each.cap / NANO,
                    "share": round(each.share, 4),
                    "level": each.level.value,
                }
                for name, each in self._standings(now)
            ],
            "barred": dict(self._barred),
            "order": list(self._order),
            "credits": dict(self._credits),
            "credits_warn_below": settings.credits_warn_below,
        }

    async def run(self) -> None:
        """Read what was, then write what comes, until cancelled; what was taken until then is still written."""
        await trio.to_thread.run_sync(self._read)
        self._begin()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_credits)
                while True:
                    self._account.settle(trio.current_time())
                    if self._waiting:
                        await self._write()
                    self.look()
                    with trio.move_on_at(min(self._account.due, trio.current_time() + LOOK_S)):
                        await self._some.wait()
                    self._some = trio.Event()
        finally:
            self._account.close()
            with trio.CancelScope(shield=True):
                await self._write()

    # What was

    def _read(self) -> None:
        """In a thread."""
        self._past: list[Line] = []
        if self._ledger is None:
            return
        try:
            self._past = self._ledger.open()
        except LedgerError as error:
            self._trouble.tell("ledger", f"spend: nothing is written down, and what was spent isn't known: {error}")
            self._ledger = None

    def _begin(self) -> None:
        mine = [line for line in self._past if not isinstance(line, Note)]
        mine = [line for line in mine if line.currency == self._settings.spend.currency]
        self._all.load(mine)
        for name in {line.endpoint for line in mine}:
            self._windows_of(name).load([line for line in mine if line.endpoint == name])
        for line in mine:
            if isinstance(line, Booking) and line.turn:
                self._measure(line)
        self._past, self._loaded = [], True
        early, self._early = self._early, []
        for booking in early:
            self._count(booking)
        self.look()

    # Booking

    def _take(self, taken: Taken) -> None:
        endpoint = self._endpoint(taken.endpoint)
        price = cost(taken.amounts, endpoint, taken.model) if endpoint is not None else 0
        reverses = self._estimates.pop(taken.turn, 0) if taken.late else 0
        if taken.estimated:
            self._estimates[taken.turn] = price
            while len(self._estimates) > 16:
                del self._estimates[next(iter(self._estimates))]
        booking = Booking(
            0,
            self._now(),
            taken.turn,
            taken.endpoint,
            taken.model,
            taken.amounts,
            price,
            self._settings.spend.currency,
            taken.estimated,
            reverses,
            taken.wait_ms,
        )
        self._put(booking)
        if self._loaded:
            self._count(booking)
            self.look()
        else:
            self._early.append(booking)

    def _count(self, booking: Booking) -> None:
        self._all.take(booking)
        self._windows_of(booking.endpoint).take(booking)
        self._measure(booking)

    def _measure(self, booking: Booking) -> None:
        if booking.reverses or booking.wait_ms is None:
            return
        minutes = (booking.amounts.heard_ms + booking.amounts.spoken_ms) / MINUTE_MS
        self._turns.setdefault(booking.endpoint, Turns()).add(booking.net, minutes, booking.wait_ms)

    def _put(self, line: Line) -> None:
        if len(self._waiting) < MAX_WAITING:  # the oldest stay: what is tried again begins with the same lines
            self._waiting.append(line)
        self._some.set()

    async def _write(self) -> None:
        lines = tuple(self._waiting)
        if self._ledger is None or not self._settings.spend.ledger or not lines:
            self._waiting = []
            return
        try:
            await trio.to_thread.run_sync(self._ledger.append, *lines)
        except LedgerError as error:
            self._trouble.tell("ledger", f"spend: {len(lines)} lines wait to be written down: {error}")
            await trio.sleep(1.0)
        else:
            self._trouble.over("spend: the ledger is written again")
            del self._waiting[: len(lines)]

    # Caps and choice

    def look(self) -> None:
        """Say anew who is asked first, and who must not be."""
        if not self._loaded:
            return
        settings, now = self._settings, self._now()
        barred: dict[str, str] = {}
        for name, each in self._standings(now):
            self._tell_level(name, each)
            if each.level is not Level.REACHED:
                continue
            words = each.words(settings.spend.currency)
            for endpoint in settings.endpoints:
                if name == endpoint.name or (not name and not is_free(endpoint)):
                    barred.setdefault(endpoint.name, words)
        self._note_bars(barred)
        self._rank(now)
        self._prefer(self._order, self._barred)

    def _standings(self, now: Moment) -> list[tuple[str, Standing]]:
        """Of each cap that is set, with the name of its endpoint; that of all has none."""
        spend = self._settings.spend
        found = [("", each) for each in standings(spend.caps, spend.warn_at, self._all, now)]
        for endpoint in self._settings.endpoints:
            if endpoint.caps.any:
                own = standings(endpoint.caps, spend.warn_at, self._windows_of(endpoint.name), now)
                found += [(endpoint.name, each) for each in own]
        return found

    def _tell_level(self, name: str, standing: Standing) -> None:
        before = self._levels.get((name, standing.span), Level.FAR)
        self._levels[name, standing.span] = standing.level
        if standing.level is not before and standing.level is not Level.FAR:
            words = standing.words(self._settings.spend.currency)
            log.warning("%s: %s", name or "spend", words)

    def _note_bars(self, barred: dict[str, str]) -> None:
        for name in barred.keys() - self._barred.keys():
            self._put(Note(0, self._now(), f"{name} is left: {barred[name]}"[:MAX_NOTE_CHARACTERS]))
        for name in self._barred.keys() - barred.keys():
            log.info("%s: below its cap again", name)
            self._put(Note(0, self._now(), f"{name} may answer again: less than its cap was spent"))
        self._barred = barred

    def _rank(self, now: Moment) -> None:
        endpoints = schema.in_order(self._settings.endpoints)
        listed = [each.name for each in endpoints]
        choice = self._settings.choice
        local = [e.name for e in endpoints if e.kind is schema.EndpointKind.LOCAL and not e.keep_place]
        by: Order | str = choice.order
        if choice.by_hour:
            by = order_at(choice, _minute(now))
        before = [name for name in self._order if name in listed]
        measured = {name: turns.measured for name, turns in self._turns.items()}
        order = ranked(listed, before or listed, by, measured, choice.hysteresis, local)
        if self._order and order != self._order:
            log.info("endpoints in their order from now on: %s", ", ".join(order))
        self._order = order

    # Credits

    async def _watch_credits(self) -> None:
        while True:
            least = self._settings.spend.credits_warn_below
            if least is not None and self._key_of is not None:
                for endpoint in self._settings.endpoints:
                    if endpoint.kind is not schema.EndpointKind.LOCAL:
                        await self._look_at_credits(endpoint, least, self._key_of)
            await trio.sleep(CREDITS_S)

    async def _look_at_credits(self, endpoint: schema.Endpoint, least: float, key_of: KeyOf) -> None:
        try:
            from kioskd.endpoints.credits import credits_of

            left = await credits_of(endpoint, key_of(endpoint))
        except (ImportError, OSError, ValueError) as error:
            log.debug("%s: its credits can't be asked for: %s", endpoint.name, type(error).__name__)
            return
        if left is None:
            return
        was = self._credits.get(endpoint.name, math.inf)
        self._credits[endpoint.name] = left
        if left < least <= was:
            log.warning("%s: %g credits are left, less than %g; buy more", endpoint.name, left, least)
            self._put(Note(0, self._now(), f"{endpoint.name}: credits run low, {left:g} are left"))

    # The settings

    def _windows_of(self, name: str) -> Windows:
        return self._each.setdefault(name, Windows(self._boot))

    def _endpoint(self, name: str) -> schema.Endpoint | None:
        return next((each for each in self._settings.endpoints if each.name == name), None)

    def _is_sound(self, name: str) -> bool:
        endpoint = self._endpoint(name)
        return endpoint is None or is_sound(endpoint)

    def _model_of(self, name: str, question: str) -> str:
        endpoint = self._endpoint(name)
        return model_for(endpoint, question) if endpoint is not None else ""

    def _instructions(self) -> str:
        return self._settings.conversation.instructions


def _minute(now: Moment) -> int:
    """Of the day, by this machine's local time."""
    try:
        local = datetime.fromtimestamp(now.wall_s).astimezone()
    except (OverflowError, ValueError, OSError):
        return 0
    return local.hour * 60 + local.minute
