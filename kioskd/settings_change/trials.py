"""A version of the settings on trial: watched, then kept or taken back, by whoever comes to it first.

Whatever ends the command that began it (a lost line, a power cut) leaves the version behind, and one of two others to
decide about it: the timer (`revert`), or the next start of the daemon (`settling`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import Enum

from attrs import define, frozen

from kioskd.config.lock import WAIT_S
from kioskd.config.schema import in_order
from kioskd.config.store import Store
from kioskd.config.trial import Health, Judgement, Looked, judge, read_health
from kioskd.config.versions import AS_FOUND, BY_HAND, About, settings_version
from kioskd.settings_change.kiosk import Kiosk
from kioskd.settings_change.texts import keys_between, settings_in
from kioskd.settings_change.timer import Timer

LOOK_EVERY_S = 0.5
REVERT_GRACE_S = 10.0  # the timer looks for so long, so that a moment's trouble doesn't count
CONFIRM_GRACE_S = 10.0  # a slow Pi takes new settings over, and connects anew, within that


class ChangeError(Exception):
    """Nothing was changed; the text says why, and what to do."""


class Result(Enum):
    """What came of a change."""

    UNCHANGED = "unchanged"
    KEPT = "kept"
    REVERTED = "reverted"
    ON_TRIAL = "on trial"
    """Until it is confirmed, or its time is over."""
    UNTRIED = "untried"
    """There is no running kiosk to try it: that happens at its next start."""


@frozen
class Outcome:
    """The end of a change. `version`: its number, 0 if there is none."""

    result: Result
    version: int = 0
    changed: tuple[str, ...] = ()
    why: str = ""


@define
class Trials:
    """Of one kiosk's settings. `options`: the words that tell the timer's command which kiosk's."""

    store: Store
    kiosk: Kiosk
    timer: Timer
    who: str
    options: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    patience_s: float = WAIT_S
    """How long to wait for somebody else's change to be written."""
    say: Callable[[str], object] = lambda words: None
    """Told what is under way, for whoever waits."""

    def hold(self) -> AbstractContextManager[None]:
        """Nobody else changes anything meanwhile. Raises lock.BusyError, disk.WriteError."""
        return self.store.hold(self.who, self.patience_s)

    def arm(self, number: int, after_s: float) -> None:
        """Have `revert` called by a timer. Raises TimerError."""
        command = [sys.executable, "-m", "kioskd", "config", "revert", str(number), *self.options]
        self.timer.arm(after_s, command)

    def add_by_hand(self, content: bytes, *, valid: bool = True) -> int:
        """The version that an edit of the settings file made."""
        current = self.store.current
        old = settings_in(self.store.content(current)) if current is not None else None
        changed = keys_between(old, settings_in(content))
        how = BY_HAND if self.store.numbers() else AS_FOUND
        return self.store.add(content, About(how, "unknown", now_utc(), changed, current, valid))

    def watch(self, number: int, probation_s: float) -> Outcome:
        """Look at the kiosk until the version has shown what it is worth, or somebody else has decided."""
        about = self.store.about(number)
        before = read_health(about.trial.before) if about.trial else Health()
        wanted = self._wanted(number)
        needed = {"link", "first endpoint"} if about.trial and about.trial.probe else set()
        self.say(f"version {number} is on trial, for {probation_s:g} s at most")
        begun = looked_at = self.clock()
        busy_s = 0.0
        good_since: float | None = None
        pid: int | None = None
        while self.store.pending == number:
            health, now = self.health(number), self.clock()
            good = health.settings == wanted and health.as_good_as(before) and not needed & health.lacks
            if not good or health.pid != pid:  # another process: the one before died of it
                good_since = None
            if good and good_since is None:
                good_since = now
            busy_s += now - looked_at if health.busy else 0.0
            pid, looked_at = health.pid, now
            good_for_s = None if good_since is None else now - good_since
            match judge(Looked(good_for_s, now - begun, busy_s), probation_s):
                case Judgement.KEEP:
                    return self.keep(number, "")
                case Judgement.REVERT:
                    return self.take_back(number, _why(health, wanted, before))
            self.sleep(LOOK_EVERY_S)
        return self._decided(number)

    def confirm(self, anyway: bool = False) -> Outcome:
        """The version on trial counts.

        Raises ChangeError where there is none, or where the kiosk doesn't go by it or is worse by it, which it is given
        `CONFIRM_GRACE_S` to mend.
        """
        number = self.store.pending
        if number is None:
            raise ChangeError("no settings are on trial: nothing to be confirmed (kioskd config history)")
        trial, wanted = self.store.about(number).trial, self._wanted(number)
        before = read_health(trial.before) if trial is not None else Health()
        ends = self.clock() + CONFIRM_GRACE_S
        while not anyway and self.store.pending == number:
            health = self.health(number)
            if health.settings == wanted and health.as_good_as(before):
                break
            if self.clock() >= ends:
                raise ChangeError(f"not confirmed: {_unconfirmed(health, wanted, before)}")
            self.sleep(LOOK_EVERY_S)
        return self.keep(number, f"confirmed by {self.who}")

    def revert(self, number: int) -> Outcome | None:
        """What the timer does: the version goes, unless the kiosk is as well as before. None: nothing to decide."""
        if self.store.pending != number:
            return None
        if self.store.current == number:  # kept, but for the mark: its keeper was killed there
            return self.keep(number, "")
        trial = self.store.about(number).trial
        if trial is None or trial.confirm:
            return self.take_back(number, "not confirmed in time")
        return self.watch(number, REVERT_GRACE_S)

    def keep(self, number: int, why: str) -> Outcome:
        """The version counts, unless somebody else was faster."""
        with self.hold():
            if self.store.pending == number:
                self.store.keep(number, why)
                self.timer.disarm()  # held, so that it is not the next one's
        return self._decided(number)

    def take_back(self, number: int, why: str) -> Outcome:
        """What was before counts again, unless somebody else was faster."""
        with self.hold():
            if self.store.pending != number:
                return self._decided(number)
            try:
                self.store.put_back(number)
            finally:  # before the mark goes: who dies in between leaves a trial that somebody else ends
                self.kiosk.reload()
            self.store.end_reverted(number, why)
            self.timer.disarm()  # held, as above
        return self._decided(number)

    def health(self, number: int) -> Health:
        """How the kiosk is, by the standards of this version."""
        settings = settings_in(self.store.content(number))
        return self.kiosk.health(in_order(settings.endpoints)[0].name if settings else "")

    def _wanted(self, number: int) -> str:
        """The `settings_version` of a kiosk that goes by this version."""
        settings = settings_in(self.store.content(number))
        return settings_version(settings) if settings else ""

    def _decided(self, number: int) -> Outcome:
        outcome, why = self.store.outcome(number)
        result = Result.KEPT if outcome == "kept" else Result.REVERTED
        return Outcome(result, number, self.store.about(number).changed, why)


def now_utc() -> str:
    """For the history."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _why(health: Health, wanted: str, before: Health) -> str:
    if health.level == "down":
        return "kioskd does not run any more (journalctl -u kioskd)"
    if health.settings != wanted:
        return f"kioskd did not take it over: {health.refusal or 'see journalctl -u kioskd'}"
    return _worse(health, before)


def _unconfirmed(health: Health, wanted: str, before: Health) -> str:
    nonetheless = "keep it nonetheless: kioskd config confirm --anyway; take it back: kioskd config rollback"
    if health.level == "down":
        return f"kioskd does not run, so nobody has tried it (journalctl -u kioskd); {nonetheless}"
    if health.settings == wanted:
        return f"{_worse(health, before)}; {nonetheless}"
    if health.refusal:
        return f"kioskd did not take it over: {health.refusal}; {nonetheless}"
    if "answers" in health.lacks:
        return f"kioskd does not answer: {'; '.join(health.troubles)}; {nonetheless}"
    return f"not taken over yet{' (a visitor is waited for)' if health.busy else ''}; try again in a moment"


def _worse(health: Health, before: Health) -> str:
    news = [trouble for trouble in health.troubles if trouble not in before.troubles]
    lacking = sorted(health.lacks - before.lacks)
    words = "; ".join([*news, *([f"lacking: {', '.join(lacking)}"] if lacking else [])])
    return f"the kiosk is {health.level}, which is worse than before{f': {words}' if words else ''}"
