"""Looks at the credits that endpoints still hold, where they tell them, and warns before there are none."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from kioskd.config import schema

log = logging.getLogger(__name__)

LOOK_S = 3600.0

KeyOf = Callable[[schema.Endpoint], str]


class CreditWatch:
    """`left`: by endpoint, what each told last, in its seller's unit. `note` gets a line for the ledger."""

    def __init__(
        self, settings: Callable[[], schema.Settings], key_of: KeyOf | None, note: Callable[[str], None]
    ) -> None:
        self.left: dict[str, float] = {}
        self._settings, self._key_of, self._note = settings, key_of, note
        self._told: dict[str, float] = {}  # by endpoint, below which figure it was told to be
        self._wanted = trio.Event()

    async def run(self) -> None:
        """Look once an hour, until cancelled."""
        while True:
            settings = self._settings()
            least = settings.spend.credits_warn_below
            if least is not None and self._key_of is not None:
                for endpoint in settings.endpoints:
                    if endpoint.kind is not schema.EndpointKind.LOCAL:
                        await self._look(endpoint, least, self._key_of)
            with trio.move_on_after(LOOK_S):
                await self._wanted.wait()
            self._wanted = trio.Event()

    def look_at_once(self) -> None:
        """The figure below which it warns is another one."""
        self._wanted.set()

    async def _look(self, endpoint: schema.Endpoint, least: float, key_of: KeyOf) -> None:
        try:
            from kioskd.endpoints.credits import credits_of

            left = await credits_of(endpoint, key_of(endpoint))
        except (ImportError, OSError, ValueError, ArithmeticError) as error:
            log.debug("%s: its credits can't be asked for: %s", endpoint.name, type(error).__name__)
            return
        if left is None or not math.isfinite(left):
            return
        self.left[endpoint.name] = left
        if left >= least:
            self._told.pop(endpoint.name, None)
        elif self._told.get(endpoint.name) != least:
            self._told[endpoint.name] = least
            log.warning("%s: %g credits are left, less than %g; buy more", endpoint.name, left, least)
            self._note(f"{endpoint.name}: credits run low, {left:g} are left")
