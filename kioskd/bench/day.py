"""A day on which nobody comes, in virtual time: how much of it reaches the journal, and with it an SD card.

The session is renewed every hour, as the endpoint's limit wants it; the flight recorder's ring is in memory, and the
daily self-test writes a line.
"""

from __future__ import annotations

import logging
import random

import trio
import trio.testing
from attrs import evolve

from kioskd.chaos.devices import MemoryMicrophone, MemoryPanel, MemorySpeaker
from kioskd.chaos.network import MemoryGround
from kioskd.chaos.schedule import Coverage, Schedule
from kioskd.chaos.server import Server
from kioskd.chaos.trace import Trace
from kioskd.config.schema import Conversation, Dialect
from kioskd.daemon import Daemon
from kioskd.dialogue.events import Link
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.log import entry_of
from kioskd.simulator.settings import Pace

DAY_S = 86400.0
SESSION_S = 3600.0
SETTLING_S = 60.0  # the lines of the start belong to no day


class _Meter(logging.Handler):
    """Counts what the journal would be sent."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.size = 0
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        self.size += len(entry_of(record, record.getMessage()))
        self.lines += 1


def idle_day() -> tuple[int, int]:
    """Bytes and lines that the journal gets."""
    logger = logging.getLogger("kioskd")
    before, meter = logger.level, _Meter()
    logger.setLevel(logging.INFO)
    try:
        return trio.run(_live, logger, meter, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logger.removeHandler(meter)
        logger.setLevel(before)


async def _live(logger: logging.Logger, meter: _Meter) -> tuple[int, int]:
    trace, rng = Trace(), random.Random(1)
    panel = MemoryPanel(trace)
    quiet = Schedule(rng, Coverage(), lambda: panel.view, lambda at, call: None, lambda kind, at_connect: False)
    quiet.enabled = False
    server = Server(trace, rng, quiet, Dialect.GA, Pace(session_s=SESSION_S), lambda kind, wire: None)
    async with MemoryGround(1).laid(server, quiet, lambda kind, wire: None) as settings:
        talk = Conversation()
        endpoint = RealtimeEndpoint(evolve(settings, session_limit_s=SESSION_S), talk, lambda: "sk-of-nobody")
        daemon = Daemon(talk, MemoryMicrophone(trace), MemorySpeaker(trace, rng), panel, endpoint)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run)
            await trio.sleep(SETTLING_S)
            if daemon.view.link is not Link.UP:
                raise RuntimeError(f"the kiosk of the idle day did not connect: {daemon.link.cause}")
            logger.addHandler(meter)
            await trio.sleep(DAY_S)
            nursery.cancel_scope.cancel()
    return meter.size, meter.lines
