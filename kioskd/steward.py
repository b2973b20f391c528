"""Minds the owner's money: books what answers cost, keeps to the caps, and says who is asked first."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import trio

from kioskd.config import schema
from kioskd.config.spend_schema import Order
from kioskd.credit_watch import CreditWatch, KeyOf
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.endpoints.choice import MEASURED_TURNS, Turns, model_for, order_at, ranked
from kioskd.endpoints.loud import LoudOnce
from kioskd.spend.account import Account, Taken
from kioskd.spend.caps import Level, Standing, standings
from kioskd.spend.forecast import a_minute_at, is_sound
from kioskd.spend.ledger import Ledger, LedgerError, read
from kioskd.spend.lines import Booking, Line, Moment, Note
from kioskd.spend.prices import MINUTE_MS, NANO, cost, is_free
from kioskd.spend.windows import Windows

log = logging.getLogger(__name__)

LOOK_S = 30.0  # a cap frees itself as time passes, and the hours of `choice` begin
MAX_WAITING = 1000  # lines that couldn't be written yet, of a disk that is full
MAX_NOTE_CHARACTERS = 500
IS_LEFT, ANSWERS_AGAIN = " is left", " may answer again"  # behind an endpoint's name, as notes say it

Prefer = Callable[[Sequence[str], Mapping[str, str]], None]


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
        self._serving, self._prefer = serving, prefer
        self._now = now
        self._directory, self._ledger = directory, Ledger(directory)
        self._is_open = False  # the ledger: it can be written
        self._loaded = False
        self._knows_past = False
        self._waiting: list[Line] = []  # not written yet, the oldest first
        self._early: list[Booking] = []  # booked before the past was read
        self._estimates: dict[int, int] = {}  # cost by turn, of what may come late
        self._turns: dict[str, Turns] = {}
        self._latest: deque[Booking] = deque(maxlen=MEASURED_TURNS)  # of whomever
        boot = now().boot
        self._all = Windows(boot)
        self._each: dict[str, Windows] = {}
        self._boot = boot
        self._account = Account(serving, self._is_sound, self._model_of, self._take, self._instructions)
        self._levels: dict[tuple[str, str], Level] = {}
        self._barred: dict[str, str] = {}
        self._order: list[str] = []
        self._credits = CreditWatch(lambda: self._settings, key_of, self._note)
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
        is_other_least = settings.spend.credits_warn_below != self._settings.spend.credits_warn_below
        self._settings = settings
        if is_other_least:
            self._credits.look_at_once()
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
            "credits": dict(self._credits.left),
            "credits_warn_below": settings.credits_warn_below,
        }

    async def run(self) -> None:
        """Read what was, then write what comes, until cancelled; what was taken until then is still written."""
        if not self._loaded:  # where this part crashed and runs again all is known, and would count twice
            self._begin(await trio.to_thread.run_sync(self._read))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._credits.run)
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

    def _read(self) -> list[Line] | None:
        """All that was written down; None where it can't be read. In a thread."""
        if self._settings.spend.ledger:
            try:
                past = self._ledger.open()
            except LedgerError as error:
                self._trouble.tell("ledger", f"spend: nothing can be written down for now: {error}")
            else:
                self._is_open = True
                return past
        try:
            return read(self._directory)
        except LedgerError as error:
            self._trouble.tell("ledger", f"spend: what was spent isn't known: {error}")
            return None

    def _begin(self, past: list[Line] | None) -> None:
        self._all, self._each, self._turns = Windows(self._boot), {}, {}
        self._latest.clear()
        if past is not None:
            self._load(past)
        for booking in self._early:
            if booking.currency == self._settings.spend.currency:
                self._count(booking)
        self._early, self._loaded = [], True
        self.look()

    def _load(self, past: list[Line]) -> None:
        mine = [line for line in past if not isinstance(line, Note)]
        mine = [line for line in mine if line.currency == self._settings.spend.currency]
        self._all.load(mine)
        for name in {line.endpoint for line in mine}:
            self._windows_of(name).load([line for line in mine if line.endpoint == name])
        for line in mine:
            if isinstance(line, Booking) and line.turn:
                self._measure(line)
        for name in _left([line.text for line in past if isinstance(line, Note)]):
            if self._endpoint(name) is not None:
                self._barred.setdefault(name, "")  # which was noted, and isn't again at each start
        self._knows_past = True

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
            taken.late,
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
        if booking.corrects or booking.wait_ms is None:
            return
        minutes = (booking.amounts.heard_ms + booking.amounts.spoken_ms) / MINUTE_MS
        at_s = self._by_counter(booking.at)
        self._turns.setdefault(booking.endpoint, Turns()).add(booking.net, minutes, booking.wait_ms, at_s)
        self._latest.append(booking)

    def _by_counter(self, at: Moment) -> float:
        """When that was, by this boot's counter of seconds: of a boot before, by the wall clock as it is now."""
        if at.boot == self._boot:
            return at.up_s
        now = self._now()
        return now.up_s - max(now.up_s, now.wall_s - at.wall_s)

    def _put(self, line: Line) -> None:
        if len(self._waiting) < MAX_WAITING:  # the oldest stay: what is tried again begins with the same lines
            self._waiting.append(line)
        self._some.set()

    def _note(self, text: str) -> None:
        self._put(Note(0, self._now(), text[:MAX_NOTE_CHARACTERS]))

    async def _write(self) -> None:
        lines = tuple(self._waiting)
        if not self._settings.spend.ledger:
            self._waiting = []
            return
        if not lines:
            return
        try:
            await self._open()
            await trio.to_thread.run_sync(self._ledger.append, *lines)
        except LedgerError as error:
            self._trouble.tell("ledger", f"spend: {len(lines)} lines wait to be written down: {error}")
            await trio.sleep(1.0)
        else:
            self._trouble.over("spend: the ledger is written again")
            self._trouble.forget()
            del self._waiting[: len(lines)]

    async def _open(self) -> None:
        """The ledger, where that is still to be done: it was off, or the disk was full."""
        if self._is_open:
            return
        past = await trio.to_thread.run_sync(self._ledger.open)
        self._is_open = True
        if not self._knows_past:
            self._load(past)

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
            self._note(f"{name}{IS_LEFT}: {barred[name]}")
        for name in self._barred.keys() - barred.keys():
            log.info("%s: below its cap again", name)
            self._note(f"{name}{ANSWERS_AGAIN}: less than its cap was spent")
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
        measured = {name: turns.measured(now.up_s) for name, turns in self._turns.items()}
        supposed = self._supposed() if by is Order.CHEAPEST else {}
        order = ranked(listed, before or listed, by, measured, choice.hysteresis, local, supposed)
        if self._order and order != self._order:
            log.info("endpoints in their order from now on: %s", ", ".join(order))
        self._order = order

    def _supposed(self) -> dict[str, float]:
        """What a minute costs at each endpoint by its prices: the latest turns, whoever had them."""
        taken = [(self._endpoint(each.endpoint), each.amounts) for each in self._latest]
        found = {each.name: a_minute_at(taken, each) for each in self._settings.endpoints}
        return {name: figure for name, figure in found.items() if figure is not None}

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


def _left(notes: Sequence[str]) -> set[str]:
    """Of which endpoints the latest note says that they were left at a cap."""
    found = set()
    for note in notes:
        subject = note.partition(": ")[0]
        if subject.endswith(IS_LEFT):
            found.add(subject.removesuffix(IS_LEFT))
        elif subject.endswith(ANSWERS_AGAIN):
            found.discard(subject.removesuffix(ANSWERS_AGAIN))
    return found


def _minute(now: Moment) -> int:
    """Of the day, by this machine's local time."""
    try:
        local = datetime.fromtimestamp(now.wall_s).astimezone()
    except (OverflowError, ValueError, OSError):
        return 0
    return local.hour * 60 + local.minute
