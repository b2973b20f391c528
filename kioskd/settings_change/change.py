"""A change of the settings, from the text to the trial: checked, put in place, and watched."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen

from kioskd.config.disk import WriteError
from kioskd.config.load import parse
from kioskd.config.lock import BusyError
from kioskd.config.schema import Settings, in_order
from kioskd.config.trial import Health
from kioskd.config.versions import MORE, About, Trial
from kioskd.config.yaml_text import decode
from kioskd.settings_change.device import complaints, environment_of, pins_of
from kioskd.settings_change.texts import keys_between, settings_in, trouble_in
from kioskd.settings_change.trials import ChangeError, Outcome, Result, Trials, now_utc


@frozen
class Terms:
    """How a change is tried. Times in seconds."""

    probation_s: float = 30.0
    confirm: bool = False
    probe: bool = False
    anyway: bool = False
    """Also where this machine seems not to be able to do it."""


@define
class Changer:
    """Changes the settings of one kiosk. All raise SettingsError, ChangeError, lock.BusyError, disk.WriteError,
    timer.TimerError; then nothing is changed.
    """

    trials: Trials
    probe: Callable[[Settings], list[str]] = field(default=lambda settings: [])
    """Why no session comes up on what these settings name."""
    beyond: Callable[[Settings | None, Settings], str] = field(default=lambda old, new: "")
    """Why whoever asks can't make this change; "" where he can."""

    def apply(self, text: str, how: str, terms: Terms, seen: bytes | None) -> Outcome:
        """Make `text` the settings. `seen`: the settings that the change was made from."""
        trials, store, content = self.trials, self.trials.store, text.encode()
        settings, old = parse(text, "the new settings"), settings_in(seen) or self._counted()
        if content == seen:
            return Outcome(Result.UNCHANGED)
        if why := self.beyond(old, settings):
            raise ChangeError(why)
        changed = keys_between(old, settings)
        before = trials.kiosk.health(in_order(old.endpoints)[0].name if old else "")
        self._check(settings, old, changed, before, terms)
        with trials.hold():
            self._refuse_while_tried()
            if store.in_force() != seen:
                raise BusyError("the settings were changed by somebody else meanwhile; look at them, and try again")
            trial = Trial(terms.probation_s, terms.confirm, terms.probe, before.as_dict())
            number = store.add(content, About(how, trials.who, now_utc(), changed, self._base(seen), trial=trial))
            if before.level != "down" or trials.kiosk.unit_state() in ("failed", "activating"):
                trials.arm(number, terms.probation_s)
            try:
                store.begin_trial(number)
            except WriteError:  # a full disk, or an /etc that is read-only
                trials.timer.disarm()
                store.end_trial()
                store.note(number, "dropped", "could not be put in place")
                raise
            # Still held: a start of systemd's own in between would count as the one under which it was tried.
            told = trials.kiosk.reload()
        if not told:
            trials.timer.disarm()
            return Outcome(Result.UNTRIED, number, changed, "kioskd is not running: it is tried at its next start")
        if terms.confirm:
            return Outcome(Result.ON_TRIAL, number, changed)
        return trials.watch(number, terms.probation_s)

    def rollback(self, wanted: int | None, terms: Terms) -> Outcome:
        """Back to a version, or the one before. A version on trial is taken back without another trial."""
        store = self.trials.store
        pending = store.pending
        if wanted is None and pending is not None:
            return self.trials.take_back(pending, f"rolled back by {self.trials.who}")
        number = self._before_current() if wanted is None else wanted
        if number not in store.numbers():
            known = ", ".join(map(str, store.numbers())) or "none"
            raise ChangeError(f"there is no version {number} any more; there is {known} (kioskd config history)")
        text = decode(store.content(number), f"version {number}")
        return self.apply(text, f"rollback to {number}", terms, store.in_force())

    def _before_current(self) -> int:
        """The last one that was kept and is not what counts now."""
        store = self.trials.store
        current, content = store.current, store.in_force()
        for number in reversed(store.numbers()):
            kept = store.outcome(number)[0] == "kept"
            if current is not None and number <= current and kept and not store.is_version(content, number):
                return number
        raise ChangeError("there is no version before this one (kioskd config history)")

    def _check(
        self, settings: Settings, old: Settings | None, changed: tuple[str, ...], before: Health, terms: Terms
    ) -> None:
        """Raises ChangeError."""
        held = pins_of(old) if old is not None and before.pid is not None else set()
        judged = None if old is None or MORE in changed else changed
        found = complaints(settings, judged, held, environ=environment_of(before.pid) if before.pid else None)
        if found and not terms.anyway:
            lines = "\n".join(map(str, found))
            raise ChangeError(f"this machine can't do that, and nothing was changed (--anyway: try it):\n{lines}")
        for complaint in found:
            self.trials.say(f"warning: {complaint}")
        if terms.probe and (troubles := self.probe(settings)):
            lines = "\n".join(troubles)
            raise ChangeError(f"no session comes up, and nothing was changed:\n{lines}")

    def _refuse_while_tried(self) -> None:
        """Two changes on trial at once could not be told apart."""
        number = self.trials.store.pending
        if number is not None and self.trials.timer.armed():
            about = self.trials.store.about(number)
            raise BusyError(
                f"version {number} of {about.who} is still on trial (since {about.at}): wait for its end, or: "
                "sudo kioskd config confirm, sudo kioskd config rollback"
            )

    def _counted(self) -> Settings | None:
        """The settings that counted last, where the file is none: the daemon still goes by them."""
        current = self.trials.store.current
        return None if current is None else settings_in(self.trials.store.content(current))

    def _base(self, seen: bytes | None) -> int | None:
        """The version to go back to: the settings file as it is now, made one if it was edited by hand.

        Where that is none that a kiosk can go by: the last version that counted.
        """
        store = self.trials.store
        pending, current = store.pending, store.current
        if pending is not None:  # nobody will try it any more
            store.note(pending, "replaced", "before it was tried")
            if store.is_version(seen, pending):
                return store.about(pending).base
        if seen is None:
            return current
        if store.is_version(seen, current):
            return current
        trouble = trouble_in(seen, str(store.settings))
        number = self.trials.add_by_hand(seen, valid=not trouble)
        if trouble:
            store.note(number, "refused", trouble)
            return number if current is None else current
        store.keep(number)
        return number
