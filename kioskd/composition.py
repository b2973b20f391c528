"""From settings to a running kiosk: which parts there are, and who is introduced to whom."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial

import trio

from kioskd import __version__
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config import schema
from kioskd.config.secrets import read_key
from kioskd.daemon import Daemon, stop_on_signals
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.health.turns import TurnReport, TurnWatch, log_turn
from kioskd.panel.lamp import Light
from kioskd.panel.panel import Panel

log = logging.getLogger(__name__)


def build_endpoint(endpoint: schema.Endpoint, conversation: schema.Conversation) -> RealtimeEndpoint:
    """The endpoint of these settings; its key is read anew at each connection."""
    return RealtimeEndpoint(endpoint, conversation, partial(read_key, endpoint.key, os.environ))


def build_daemon(settings: schema.Settings, on_light: Callable[[Light], None] | None = None) -> Daemon:
    """The whole kiosk on this machine's sound card and pins."""
    talk = settings.conversation
    daemon: Daemon
    panel = Panel(settings.panel, lambda: daemon.level, *([on_light] if on_light else []))
    daemon = Daemon(
        talk,
        AlsaMicrophone(settings.audio, talk.pre_roll_ms, int(talk.max_utterance_s * 1000)),
        AlsaSpeaker(settings.audio),
        panel,
        build_endpoint(settings.endpoints[0], talk),
    )
    return daemon


class TurnLog:
    """Logs each turn; with `transcripts`, also what was said, as its owner wished."""

    def __init__(self, settings: schema.Log) -> None:
        self._transcripts = settings.transcripts
        self._watch = TurnWatch(self._report)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """An observer of the daemon."""
        self._watch(what, now)

    def _report(self, report: TurnReport) -> None:
        log_turn(report)
        if self._transcripts:
            log.info("turn %d: visitor: %s | kiosk: %s", report.turn, report.question, report.answer)


async def serve(settings: schema.Settings) -> None:
    """Be a kiosk until SIGTERM or SIGINT."""
    log.info("kioskd %s: endpoint %s, %s", __version__, settings.endpoints[0].name, settings.endpoints[0].url)
    daemon = build_daemon(settings)
    daemon.observe(TurnLog(settings.log))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, daemon)
        await daemon.run()
        nursery.cancel_scope.cancel()
    log.info("stopped")
