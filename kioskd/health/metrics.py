"""Figures for node_exporter's textfile collector: turns, latencies, reconnects, xruns, vitals, state.

Only with the setting `metrics` is this module, and with it prometheus-client, loaded. The file is replaced by a rename,
so that nobody reads half of it: https://github.com/prometheus/node_exporter#textfile-collector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, write_to_textfile

from kioskd import __version__
from kioskd.dialogue.effects import Effect, Show, State
from kioskd.dialogue.events import Event, Fault, Link, LinkChanged
from kioskd.health.status import outcome
from kioskd.health.turns import TurnReport, TurnWatch

log = logging.getLogger(__name__)

_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0)  # what a visitor waits
_SPEECH = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)


class Metrics:
    """An observer of the daemon, and of each one that follows it; `run` writes the file.

    `status` is what `kioskd status --json` shows; of it the vitals, the xruns, the spend and the link's cause are
    taken.
    """

    def __init__(self, path: Path, interval_s: float, status: Callable[[], Mapping[str, Any]]) -> None:
        self._path = path
        self._interval_s = interval_s
        self._status = status
        self._link = Link.DOWN
        self._watch = TurnWatch(self._turn_over)
        self._failed = False
        registry = self._registry = CollectorRegistry(auto_describe=False)
        Gauge("kioskd_info", "The running version.", ["version"], registry=registry).labels(__version__).set(1)
        self._turns = Counter("kioskd_turns", "Turns by outcome.", ["outcome"], registry=registry)
        self._tokens = Counter("kioskd_tokens", "Tokens that answers took.", registry=registry)
        self._wait = Histogram(
            "kioskd_first_sound_seconds", "From the button's release to the answer's first sound.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._heard = Histogram(
            "kioskd_answer_heard_seconds", "How much of an answer was heard.", buckets=_SPEECH, registry=registry
        )
        self._losses = Counter(
            "kioskd_link_losses", "Connections lost, by cause.", ["endpoint", "cause"], registry=registry
        )
        self._xruns = Gauge("kioskd_xruns", "Overruns and underruns since the start.", ["device"], registry=registry)
        self._ages = Gauge("kioskd_vital_age_seconds", "Since a part last moved.", ["vital"], registry=registry)
        self._fresh = Gauge("kioskd_vital_fresh", "1 while a part moves as it should.", ["vital"], registry=registry)
        self._state = Gauge("kioskd_state", "1 for the state that the kiosk is in.", ["state"], registry=registry)
        self._up = Gauge("kioskd_link_up", "1 while it is connected.", registry=registry)
        self._faults = Gauge("kioskd_fault", "1 while there is such a fault.", ["fault"], registry=registry)
        self._spent = Gauge(
            "kioskd_spent", "Spent in the last 60 minutes, 24 hours, 31 days.", ["span", "currency"], registry=registry
        )
        self._caps = Gauge("kioskd_cap_share", "Of a cap, spent.", ["endpoint", "span"], registry=registry)
        self._near = Gauge("kioskd_cap_near", "1 near a cap, or at it.", ["endpoint", "span"], registry=registry)
        self._barred = Gauge("kioskd_endpoint_barred", "1 while a cap keeps it out.", ["endpoint"], registry=registry)
        self._credits = Gauge("kioskd_credits", "That an account holds.", ["endpoint"], registry=registry)
        self._credits_low = Gauge(
            "kioskd_credits_low", "1 below spend.credits_warn_below.", ["endpoint"], registry=registry
        )
        self._uptime = Gauge("kioskd_uptime_seconds", "Since the start.", registry=registry)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        self._watch(what, now)
        match what:
            case LinkChanged(link):
                if self._link is Link.UP and link is not Link.UP:
                    lost = self._status()["link"]
                    self._losses.labels(lost["endpoint"], lost["kind"] or "a new session").inc()
                self._link = link
                self._up.set(link is Link.UP)
            case Show(view):
                _set_one_of(self._state, (state.value for state in State), {view.state.value})
                _set_one_of(self._faults, (fault.value for fault in Fault), {fault.value for fault in view.faults})

    async def run(self) -> None:
        """Write the file every so often, until cancelled; then it is taken away, as its figures are no longer true."""
        try:
            while True:
                self._gather()
                await trio.to_thread.run_sync(self._write)
                await trio.sleep(self._interval_s)
        finally:
            self._path.unlink(missing_ok=True)

    def _gather(self) -> None:
        status = self._status()
        self._uptime.set(status.get("uptime_s", 0.0))
        for vital in status["vitals"]:
            self._ages.labels(vital["name"]).set(vital["age_s"])
            self._fresh.labels(vital["name"]).set(vital["fresh"])
        for device, figures in status["sound"].items():
            self._xruns.labels(device).set(figures["xruns"])
        if spend := status.get("spend"):
            self._gather_spend(spend)

    def _gather_spend(self, spend: Mapping[str, Any]) -> None:
        for gauge in (self._spent, self._caps, self._near, self._barred):
            gauge.clear()
        for span, amount in spend["spent"].items():
            self._spent.labels(span, spend["currency"]).set(amount)
        for cap in spend["caps"]:
            of = cap["endpoint"] or "all", cap["span"]
            self._caps.labels(*of).set(cap["share"])
            self._near.labels(*of).set(cap["level"] != "far")
        for name in spend["order"]:
            self._barred.labels(name).set(name in spend["barred"])
        for name, left in spend["credits"].items():
            least = spend["credits_warn_below"]
            self._credits.labels(name).set(left)
            self._credits_low.labels(name).set(least is not None and left < least)

    def _write(self) -> None:
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            log.log(level, "metrics: %s can't be written (%s); correct metrics.textfile", self._path, error.strerror)
            self._failed = True
        else:
            if self._failed:
                log.info("metrics: %s is written again", self._path)
            self._failed = False

    def _turn_over(self, report: TurnReport) -> None:
        self._turns.labels(outcome(report)).inc()
        if report.own:
            return
        if report.sounded_ms is not None and not report.resumed:
            self._wait.observe(report.sounded_ms / 1000)
        if report.heard_ms:
            self._heard.observe(report.heard_ms / 1000)
        if report.usage is not None:
            self._tokens.inc(report.usage.total)


def _set_one_of(gauge: Gauge, names: Iterable[str], true: set[str]) -> None:
    for name in names:
        gauge.labels(name).set(name in true)
