"""From settings to a running kiosk: which parts there are, and who is introduced to whom."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial

import trio

from kioskd import __version__
from kioskd.audio.last_answer import LONGEST_MS
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.sign_sounds import SignSounds
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config import schema
from kioskd.config.secrets import endpoint_key, printable_url
from kioskd.daemon import Daemon, stop_on_signals
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.endpoints.breaker import Breaker
from kioskd.endpoints.failover import Failover, Member
from kioskd.endpoints.history import History
from kioskd.endpoints.netlink import watch_network
from kioskd.endpoints.realtime import RealtimeEndpoint
from kioskd.health.turns import TurnReport, TurnWatch, log_turn
from kioskd.owner import announcement
from kioskd.panel.lamp import Light
from kioskd.panel.panel import Panel

log = logging.getLogger(__name__)


def build_endpoint(endpoints: Sequence[schema.Endpoint], conversation: schema.Conversation) -> Failover:
    """Who answers, in the order of preference; each one's key is read anew at each connection."""
    history = History(conversation)
    return Failover(
        [
            Member(
                endpoint.name,
                RealtimeEndpoint(endpoint, conversation, partial(endpoint_key, endpoint, os.environ), history=history),
                Breaker(endpoint.breaker),
            )
            for endpoint in endpoints
        ],
        watch_network,
    )


def build_daemon(settings: schema.Settings, on_light: Callable[[Light], None] | None = None) -> Daemon:
    """The whole kiosk on this machine's sound card and pins."""
    talk = settings.conversation
    daemon: Daemon
    panel = Panel(settings.panel, lambda: daemon.level, *([on_light] if on_light else []))
    daemon = Daemon(
        talk,
        AlsaMicrophone(settings.audio, talk.pre_roll_ms, int(talk.max_utterance_s * 1000)),
        AlsaSpeaker(settings.audio, sound_of=SignSounds(settings.audio.sounds, talk.language).of),
        panel,
        build_endpoint(settings.endpoints, talk),
        audio=settings.audio,
        answer_kept_ms=LONGEST_MS if settings.panel.button.double_press is schema.DoublePress.REPEAT else 0,
        announce=lambda: announcement(daemon.view, daemon.link),
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
    for endpoint in settings.endpoints:
        log.info("kioskd %s: endpoint %s, %s", __version__, endpoint.name, printable_url(endpoint.url))
    daemon = build_daemon(settings)
    daemon.observe(TurnLog(settings.log))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, daemon)
        await daemon.run()
        nursery.cancel_scope.cancel()
    log.info("stopped")
