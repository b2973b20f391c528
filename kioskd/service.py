"""The daemon as a service: signals, settings that are reloaded, and what the service manager is told.

Settings that are read anew count when `config.effect` says: some at once, the rest as soon as nobody is talking.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable

import trio

from kioskd.config import schema
from kioskd.config.effect import When, changes, counting_at_once
from kioskd.config.problems import SettingsError
from kioskd.config.secrets import mask_keys
from kioskd.daemon import Daemon
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, State
from kioskd.dialogue.events import Event, Link
from kioskd.health.notify import notify
from kioskd.health.vitals import STOP_BOUND_S, STOP_OVERDUE, Verdict
from kioskd.health.watchdog import Leave, Watchdog, leave
from kioskd.landmarks import RELOADED, STOPPED
from kioskd.supervision import describe

log = logging.getLogger(__name__)

STATUS_EVERY_S = 1.0  # at most: nobody reads faster, and a turn has four states

Adopted = Callable[[schema.Settings, list[str], str], object]
"""Is told of the settings that count from now on, the keys that still wait, and what is wrong with a reload."""


class Service:
    """Runs the daemon until SIGTERM or SIGINT. `load` reads the settings anew at SIGHUP, in a thread.

    `note` is told of each rung of the ladder, before it is taken.
    """

    def __init__(
        self,
        settings: schema.Settings,
        daemon: Daemon,
        load: Callable[[], schema.Settings] | None = None,
        *,
        adopted: Adopted = lambda settings, waiting, trouble: None,
        note: Callable[[str], object] = lambda words: None,
        tell: Callable[..., object] = notify,
        leave: Leave = leave,
    ) -> None:
        self.daemon = daemon
        self._settings = settings  # that count
        self._wanted = settings  # that were read last
        self._load = load
        self._adopted = adopted
        self._note_down = note
        self._tell = tell
        self._leave = leave
        self._note = ""  # for the owner, about the settings
        self._faults: dict[e.Fault, str] = {}  # causes
        self._verdict = Verdict()
        self._stopping = False
        self._overdue: threading.Timer | None = None
        self._changed = trio.Event()
        self._shown = trio.Event()
        self._told = ""
        daemon.observe(self._see)

    async def run(self) -> None:
        """Be a kiosk until asked to stop. READY is told first: whoever can be reached from outside is so by now."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._take_signals)
            nursery.start_soon(Watchdog(lambda: self.daemon.parts, self._take_verdict, self._leave, self._tell).run)
            self._told = self.status
            self._tell(READY=1, STATUS=self._told)
            nursery.start_soon(self._keep_up)
            nursery.start_soon(self._adopt_when_idle)
            await self.daemon.run()
            nursery.cancel_scope.cancel()
        if self._overdue is not None:
            self._overdue.cancel()
        log.info("stopped", extra=STOPPED)

    @property
    def settings(self) -> schema.Settings:
        """Those that count."""
        return self._settings

    @property
    def status(self) -> str:
        """The kiosk in one line, for its owner."""
        return self._status()

    def _status(self, *raised: e.Fault) -> str:
        """The same, where `raised` is news that the dialogue hasn't taken in yet."""
        view, link = self.daemon.view, self.daemon.link
        words = ["stopping" if self._stopping else view.state.value]
        if link.link is Link.UP:
            words.append(f"connected to {link.endpoint}")
        else:
            words.append(link.cause or f"{link.endpoint} {link.link.value}")
        words += [reading.complaint for reading in self._verdict.stale]
        faults = view.faults.union(raised)
        words += [self._faults.get(fault) or f"{fault.value}: trouble" for fault in e.Fault if fault in faults]
        if self._note:
            words.insert(1, self._note)
        return mask_keys("; ".join(words))

    def _see(self, what: Event | Effect, now: float) -> None:
        match what:
            case e.FaultRaised(fault, cause):
                self._faults[fault] = cause
                self._tell_status(fault)  # at once: what a lost device brings about may stop all of Python
            case f.Show():
                self._changed.set()
                self._shown.set()
            case e.LinkChanged():
                self._changed.set()

    async def _keep_up(self) -> None:
        """Tell how things are."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            self._tell_status()
            await trio.sleep(STATUS_EVERY_S)

    def _tell_status(self, *raised: e.Fault) -> None:
        status = self._status(*raised)
        if status != self._told:
            self._told = status
            self._tell(STATUS=status)

    # The vitals

    def _take_verdict(self, verdict: Verdict) -> None:
        news = [r.name for r in verdict.stale] != [r.name for r in self._verdict.stale]
        self._verdict = verdict
        for step in verdict.steps:
            self._note_down(f"{step.rung.value}: {step.reading.complaint}")
        if news:
            self._tell_status()

    # Signals

    async def _take_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    await self._reload()
                else:
                    self._stop(signal.Signals(number).name)

    def _stop(self, why: str) -> None:
        """The answer that is being spoken may finish; a second signal ends it at once."""
        log.info("%s: stopping", why)
        if not self._stopping:
            self._stopping = True
            longest_s = self._settings.conversation.stop_grace_s + STOP_BOUND_S
            self._tell(STOPPING=1, STATUS="stopping", EXTEND_TIMEOUT_USEC=int((longest_s + 1) * 1e6))
            late = f"stopping took longer than {longest_s:g} s"
            self._overdue = threading.Timer(longest_s, self._leave, (STOP_OVERDUE, late))
            self._overdue.daemon = True
            self._overdue.start()
        self.daemon.post(e.StopRequested())

    # The settings

    async def _reload(self) -> None:
        """SIGHUP: settings that are wrong change nothing."""
        if self._load is None or self._stopping:
            return
        self._tell(RELOADING=1, MONOTONIC_USEC=_monotonic_us())
        try:
            settings = await trio.to_thread.run_sync(self._load)
        except SettingsError as error:
            self._note = f"settings not reloaded: {_first_line(error)}"
            log.error("settings not reloaded, the old ones stay: %s", error)
        except Exception as error:  # whatever is wrong with a file must not end the kiosk
            self._note = f"settings not reloaded: {describe(error)}"
            log.exception("settings not reloaded, the old ones stay")
        else:
            self._take(settings)
        self._tell_adopted()
        self._tell(READY=1)
        self._changed.set()

    def _take(self, settings: schema.Settings) -> None:
        self._note, self._wanted = "", settings
        changed = changes(self._settings, settings)
        if not changed:
            log.info("settings reloaded: nothing has changed")
            return
        for when in When:
            if keys := [change.key for change in changed if change.when is when]:
                log.info("settings reloaded: %s: %s", when.value, ", ".join(keys))
        self._adopt(counting_at_once(self._settings, settings))
        self._shown.set()  # perhaps nobody is talking

    async def _adopt_when_idle(self) -> None:
        """Let the rest of the new settings count once nobody would notice."""
        while True:
            await self._shown.wait()
            self._shown = trio.Event()
            view = self.daemon.view
            idle = view.state is State.READY and view.sign is None and not self._stopping
            if idle and self._wanted != self._settings:
                self._adopt(self._wanted)
                self._tell_adopted()
                self._changed.set()

    def _adopt(self, settings: schema.Settings) -> None:
        """They count from now on. Settings that pass every check and still break something are taken back."""
        before = self._settings
        if settings == before:
            return
        try:
            self.daemon.adjust(settings)
        except Exception as error:
            self._note = f"the new settings can't be used: {describe(error)}"
            log.exception("%s; the old ones stay", self._note)
            self._wanted = before
            self.daemon.adjust(before)
            return
        self._settings = settings
        if settings.log.level is not before.log.level:
            logging.getLogger().setLevel(settings.log.level.value.upper())
            log.warning("log level: %s", settings.log.level.value)
        if settings == self._wanted:
            log.info("the new settings count from now on", extra=RELOADED)

    def _tell_adopted(self) -> None:
        waiting = [change.key for change in changes(self._settings, self._wanted)]
        self._adopted(self._settings, waiting, self._note)


def _first_line(error: SettingsError) -> str:
    return str(error).splitlines()[0]


def _monotonic_us() -> int:
    """CLOCK_MONOTONIC, as the service manager wants it of RELOADING."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
