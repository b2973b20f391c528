"""Tells a server of the owner's that something is wrong, and that it is over: for a kiosk behind NAT.

Only with the setting `webhook` is this module, and with it httpx, loaded.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import trio
from attrs import define

from kioskd import __version__
from kioskd.config.schema import KeySource, Webhook
from kioskd.config.secrets import mask_keys, read_key
from kioskd.dialogue.effects import Effect, Show
from kioskd.dialogue.events import Event, FaultRaised, Link, LinkChanged

log = logging.getLogger(__name__)
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)  # below it they tell every address, which here is a secret

KEPT = 100  # of what couldn't be told yet: who reads more than that looks at the journal
TIMEOUT_S = 20.0
LONGEST_PAUSE_S = 3600.0  # between two attempts at a server that doesn't take it
LINK = "link"


@define
class _News:
    event: str  # "fault" or "recovered"
    fault: str
    cause: str
    at: str


class WebhookTeller:
    """An observer of the daemon, and of each one that follows it; `run` tells."""

    def __init__(
        self,
        settings: Webhook,
        environ: Mapping[str, str] = os.environ,
        client: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(timeout=TIMEOUT_S),
        read: Callable[[KeySource], str] | None = None,
    ) -> None:
        """`read` finds the address; without it, it is looked for where `environ` says."""
        self._settings = settings
        self._read = read or (lambda source: read_key(source, environ))
        self._client = client
        self._there: set[str] = set()
        self._causes: dict[str, str] = {}
        self._news: deque[_News] = deque(maxlen=KEPT)
        self._some = trio.Event()
        self._failures = 0

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        match what:
            case FaultRaised(fault, cause):
                self._causes[fault.value] = cause
            case Show(view):
                faults = {fault.value for fault in view.faults}
                for name in sorted(faults - self._there - {LINK}):
                    self._note("fault", name)
                for name in sorted(self._there - faults - {LINK}):
                    self._note("recovered", name)
            case LinkChanged(Link.REFUSED, cause):
                self._causes[LINK] = cause
                if LINK not in self._there:
                    self._note("fault", LINK)
            case LinkChanged(Link.UP) if LINK in self._there:
                self._note("recovered", LINK)

    async def run(self) -> None:
        """Tell what has come up, not too often, until cancelled. A server that is away is tried again."""
        async with self._client() as client:
            while True:
                await self._some.wait()
                told = len(self._news)
                why_not = await self._post(client, list(self._news))
                if why_not:
                    self._complain(why_not)
                    await trio.sleep(min(self._settings.at_most_every_s * 2.0**self._failures, LONGEST_PAUSE_S))
                    continue
                if self._failures:
                    log.info("webhook: it takes what it is told again, after %d failures", self._failures)
                self._failures = 0
                for _ in range(min(told, len(self._news))):
                    self._news.popleft()
                if not self._news:
                    self._some = trio.Event()
                await trio.sleep(self._settings.at_most_every_s)

    def _note(self, event: str, name: str) -> None:
        (self._there.add if event == "fault" else self._there.discard)(name)
        cause = mask_keys(self._causes.get(name, "")) if event == "fault" else ""
        self._news.append(_News(event, name, cause, datetime.now(UTC).isoformat(timespec="seconds")))
        self._some.set()

    async def _post(self, client: httpx.AsyncClient, news: list[_News]) -> str:
        """Why it couldn't be told, or nothing. The address is in no text."""
        try:
            address = self._read(self._settings.address)
        except ValueError as error:
            return str(error)
        if not address.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
            return "the address doesn't begin with https://"
        body: dict[str, Any] = {
            "kiosk": socket.gethostname(),
            "kioskd": __version__,
            "events": [{"event": n.event, "fault": n.fault, "cause": n.cause, "at": n.at} for n in news],
        }
        try:
            answer = await client.post(address, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__  # its text may hold the address
        return "" if answer.is_success else f"it answers with HTTP {answer.status_code}"

    def _complain(self, why: str) -> None:
        level = logging.DEBUG if self._failures else logging.WARNING
        log.log(level, "webhook: nothing could be told (%s); look at webhook.address in the settings", why)
        self._failures = min(self._failures + 1, 16)
