"""Who tells others how the kiosk is: metrics and webhook, each loaded only where the settings want it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import trio

from kioskd.config import schema
from kioskd.dialogue.effects import Effect, Show
from kioskd.dialogue.events import Event, LinkChanged
from kioskd.supervision import Supervised

log = logging.getLogger(__name__)

Read = Callable[[schema.KeySource], str]


class Teller(Protocol):
    """An observer of the daemon, with something to do beside."""

    def __call__(self, what: Event | Effect, now: float, /) -> None:
        """See one event or effect."""

    async def run(self) -> None:
        """Tell, until cancelled."""


class Tellers:
    """An observer of the daemon: all the tellers that the settings want. One whose section is the same stays."""

    def __init__(self, status: Callable[[], Mapping[str, Any]], read: Read) -> None:
        """`status` is what `kioskd status --json` shows, `read` finds a secret."""
        self._status = status
        self._read = read
        self._sections: dict[str, object] = {}
        self._tellers: dict[str, Teller] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._newest: dict[type, tuple[Event | Effect, float]] = {}  # for one that comes later

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        if isinstance(what, (Show, LinkChanged)):
            self._newest[type(what)] = what, now
        for teller in self._tellers.values():
            teller(what, now)

    def adjust(self, settings: schema.Settings) -> None:
        """See `kioskd.pulse.Adjustable`."""
        for name in ("metrics", "webhook"):
            section = getattr(settings, name)
            if section == self._sections.get(name):
                continue
            self._sections[name] = section
            self._tellers.pop(name, None)
            if name in self._scopes:
                self._scopes.pop(name).cancel()
        for name, teller in tellers(settings, self._status, self._read, self._tellers):
            for what, now in self._newest.values():
                teller(what, now)
            self._tellers[name] = teller
            self._start(name)

    async def run(self) -> None:
        """Let them tell, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for name in self._tellers:
                self._start(name)
            await trio.sleep_forever()

    def _start(self, name: str) -> None:
        if self._nursery is not None:
            self._scopes[name] = scope = trio.CancelScope()
            self._nursery.start_soon(self._within, scope, name, self._tellers[name])

    async def _within(self, scope: trio.CancelScope, name: str, teller: Teller) -> None:
        with scope:
            await Supervised(name, teller.run, lambda cause: None).run()


def tellers(
    settings: schema.Settings, status: Callable[[], Mapping[str, Any]], read: Read, there: Mapping[str, Teller]
) -> Iterator[tuple[str, Teller]]:
    """Each that is wanted and not `there`, with its name."""
    if settings.metrics is not None and "metrics" not in there:
        try:
            from kioskd.health.metrics import Metrics
        except ImportError as error:
            _lacking("metrics", error)
        else:
            yield "metrics", Metrics(Path(settings.metrics.textfile), settings.metrics.interval_s, status)
    if settings.webhook is not None and "webhook" not in there:
        try:
            from kioskd.health.webhook import WebhookTeller
        except ImportError as error:
            _lacking("webhook", error)
        else:
            yield "webhook", WebhookTeller(settings.webhook, read=read)


def _lacking(section: str, error: ImportError) -> None:
    extra = {"metrics": "metrics", "webhook": "http"}[section]
    log.warning("%s: a package is missing (%s); install kioskd[%s], or delete the section", section, error.name, extra)
