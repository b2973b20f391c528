"""Before the daemon starts: whatever a power cut, a crash or an editor left behind is put right."""

from __future__ import annotations

import stat
from pathlib import Path

from attrs import evolve

from kioskd.config.trial import Found, Start, at_start
from kioskd.settings_change.texts import trouble_in
from kioskd.settings_change.timer import TimerError
from kioskd.settings_change.trials import Trials

USUAL_PROBATION_S = 30.0


def settle(trials: Trials) -> tuple[Start, str]:
    """What was found, and done, in words. Raises lock.BusyError, disk.WriteError."""
    store = trials.store
    with trials.hold():
        content, pending, current = store.in_force(), store.pending, store.current
        trouble = trouble_in(content, str(store.settings))
        found = Found(
            valid=not trouble,
            is_current=store.is_version(content, current),
            on_trial=pending is not None,
            is_trial=store.is_version(content, pending),
            settled=pending == current,
            starts=store.starts,
            has_current=current is not None,
        )
        mended = _let_daemon_read(store.settings)
        step = at_start(found)
        if step is Start.FORGET_TRIAL and pending is not None:
            store.end_trial()
            if found.settled:
                store.note(pending, "kept", "")
            elif not store.outcome(pending)[0]:
                store.note(pending, "dropped", "interrupted, or edited by hand since")
            found = evolve(found, on_trial=False, is_trial=False, settled=False)
            step = at_start(found)
        if step is Start.TAKE_OVER and content is not None:
            # Nobody would take it back: a file that only root can read must not count.
            trouble = trials.kiosk.trouble_with(content, store.settings)
            step = at_start(evolve(found, valid=not trouble))
        return step, "; ".join(filter(None, (mended, _do(trials, step, content, trouble))))


def _let_daemon_read(settings: Path) -> str:
    """Settings hold no secrets, and with a copy that only root may read the daemon would never start again."""
    try:
        found = settings.stat()
        for_others = found.st_mode & stat.S_IROTH or (found.st_mode & stat.S_IRGRP and found.st_gid)
        if found.st_uid or for_others:
            return ""
        settings.chmod(stat.S_IMODE(found.st_mode) | stat.S_IRGRP | stat.S_IROTH)
    except OSError:
        return ""
    return f"{settings} was for root alone: now all may read it"


def _do(trials: Trials, step: Start, content: bytes | None, trouble: str) -> str:
    store, pending, current = trials.store, trials.store.pending, trials.store.current
    match step:
        case Start.TAKE_OVER if content is not None:
            number = trials.add_by_hand(content)
            store.keep(number)
            return f"version {number}: the settings file as it is now"
        case Start.TRY if pending is not None:
            trial, without = store.about(pending).trial, ""
            if not trials.timer.armed():
                try:
                    trials.arm(pending, trial.probation_s if trial else USUAL_PROBATION_S)
                except TimerError as error:  # it is still taken back if kioskd can't start under it
                    without = f", without a timer: {error}"
            store.count_start()  # last: a disk that says no leaves a timer behind
            return f"version {pending} is on trial{without}"
        case Start.REVERT if pending is not None:
            why = f"kioskd did not come up under it{f': {trouble}' if trouble else ''}"
            store.go_back(pending, why)
            trials.timer.disarm()
            return f"version {pending} is taken back: {why}"
        case Start.RESTORE if current is not None:
            if content is not None:
                number = trials.add_by_hand(content, valid=False)
                store.note(number, "refused", trouble)
            store.restore(current)
            return f"the settings can't be read ({trouble}): version {current} counts instead (kioskd config history)"
        case Start.LEAVE:
            return f"the settings can't be read, and there is no version to go back to: {trouble}"
    return ""
