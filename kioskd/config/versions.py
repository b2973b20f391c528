"""What is known of a version of the settings: who made it, when, which keys it changed, what came of it. PURE."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from kioskd.config.schema import Settings
from kioskd.value import Value

KEPT = 20
MAX_CHANGED = 40  # keys that are named; more is another file altogether
MORE = "..."  # instead of the others

BY_HAND, AS_FOUND = "edited by hand", "as it was found"


@frozen(eq=False, repr=False)
class Trial(Value):
    """On what terms a version is tried. `before`: the kiosk's health until then, as `trial.Health` writes it."""

    probation_s: float
    confirm: bool
    probe: bool
    before: Mapping[str, Any]


@frozen(eq=False, repr=False)
class About(Value):
    """A version, without its text. `at`: UTC, as good as the clock was. `base`: what is gone back to."""

    how: str
    who: str
    at: str
    changed: tuple[str, ...] = ()
    base: int | None = None
    valid: bool = True
    trial: Trial | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        trial = self.trial
        return {
            "how": self.how,
            "who": self.who,
            "at": self.at,
            "changed": list(self.changed),
            "base": self.base,
            "valid": self.valid,
            "trial": trial
            and {
                "probation_s": trial.probation_s,
                "confirm": trial.confirm,
                "probe": trial.probe,
                "before": dict(trial.before),
            },
        }


def read_about(known: Any) -> About:
    """The same from JSON; what is missing or strange counts as unknown, since a history must not stop a kiosk."""
    if not isinstance(known, dict):
        return About("unknown", "unknown", "")
    base, trial, changed = known.get("base"), known.get("trial"), known.get("changed")
    return About(
        how=str(known.get("how", "unknown")),
        who=str(known.get("who", "unknown")),
        at=str(known.get("at", "")),
        changed=tuple(map(str, changed)) if isinstance(changed, list) else (),
        base=base if isinstance(base, int) else None,
        valid=known.get("valid") is not False,
        trial=_read_trial(trial) if isinstance(trial, dict) else None,
    )


def _read_trial(known: Mapping[str, Any]) -> Trial:
    probation, before = known.get("probation_s"), known.get("before")
    return Trial(
        float(probation) if isinstance(probation, int | float) else 30.0,
        known.get("confirm") is True,
        known.get("probe") is True,
        before if isinstance(before, dict) else {},
    )


def changed_keys(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The keys whose values differ, by name only: a value may be nobody's business."""
    if old is None or new is None:
        return ()
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key, MORE) != new.get(key, MORE)]
    return tuple(keys) if len(keys) <= MAX_CHANGED else (*keys[: MAX_CHANGED - 1], MORE)


def next_number(known: Iterable[int]) -> int:
    """The number of the next version."""
    return max(known, default=0) + 1


def superfluous(known: Iterable[int], needed: Iterable[int | None]) -> list[int]:
    """Which versions go: all but the latest `KEPT`, and those that are still needed."""
    return sorted(set(sorted(known)[:-KEPT]) - set(needed))


def settings_version(settings: Settings) -> str:
    """Eight characters that change whenever a setting that counts does (and not with a comment)."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


def one_word(text: str, longest: int = 64) -> str:
    """Text from the outside world, fit for a log and a terminal."""
    return re.sub(r"[^A-Za-z0-9_.:@%+-]", "?", text[:longest])
