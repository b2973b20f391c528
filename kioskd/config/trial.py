"""How a new version of the settings is judged, and what becomes of one that the kiosk finds when it starts. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import frozen

MAX_STARTS = 1  # of the daemon under a version that is on trial: the second one is taken for the first one's failure
STABLE_S = 5.0  # so long on end, and it is no moment of luck
LONGEST_TURN_S = 600.0  # a change waits for the visitor to finish

LEVELS = ("down", "unhealthy", "degraded", "healthy")


@frozen
class Health:
    """The kiosk at a moment: `level`, and what it `lacks`, by fixed words."""

    level: str = "down"
    lacks: frozenset[str] = frozenset()
    troubles: tuple[str, ...] = ()
    settings: str = ""
    """Which settings it goes by (`settings_version`)."""
    busy: bool = False
    """A visitor is using it."""
    pid: int | None = None
    refusal: str = ""
    """Why it did not take over the settings that it read last."""

    def as_good_as(self, before: Health) -> bool:
        """Whether nothing is worse: what it lacked before, it may lack now, but nothing else."""
        unknown = before.level == "down" or "answers" in before.lacks  # nobody could say what it lacked then
        return LEVELS.index(self.level) >= LEVELS.index(before.level) and (unknown or self.lacks <= before.lacks)

    def as_dict(self) -> dict[str, Any]:
        """What `before` has to be remembered by."""
        return {"level": self.level, "lacks": sorted(self.lacks), "troubles": list(self.troubles)}


def read_health(known: Mapping[str, Any]) -> Health:
    """What `as_dict` wrote."""
    level, lacks, troubles = known.get("level"), known.get("lacks"), known.get("troubles")
    return Health(
        level if level in LEVELS else "down",
        frozenset(map(str, lacks)) if isinstance(lacks, list) else frozenset(),
        tuple(map(str, troubles)) if isinstance(troubles, list) else (),
    )


def health_of(status: Mapping[str, Any] | None, first: str = "") -> Health:
    """The health in a kiosk's status; None: it doesn't run. `first`: the endpoint that should answer."""
    if status is None:
        return Health()
    lacks = {f"fault {fault.get('fault')}" for fault in _list(status, "faults")}
    lacks |= {f"vital {vital.get('name')}" for vital in _list(status, "vitals") if vital.get("fresh") is False}
    link = status.get("link")
    link = link if isinstance(link, dict) else {}
    if link.get("state") != "up":
        lacks.add("link")
        if link.get("state") == "refused":
            lacks.add("endpoint's consent")
    elif first and link.get("endpoint") != first:
        lacks.add("first endpoint")
    state, known, level = status.get("state"), status.get("settings"), status.get("health")
    known = known if isinstance(known, dict) else {}
    if state in ("starting", "stopped"):
        lacks.add("readiness")
    troubles, pid = status.get("troubles"), status.get("pid")
    return Health(
        level if level in LEVELS else "unhealthy",
        frozenset(lacks),
        tuple(map(str, troubles)) if isinstance(troubles, list) else (),
        str(known.get("version", "")),
        state in ("listening", "thinking", "speaking"),
        pid if isinstance(pid, int) else None,
        str(known.get("trouble") or ""),
    )


def _list(status: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = status.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


class Judgement(Enum):
    """What is to be done about a version on trial."""

    WAIT = "wait"
    KEEP = "keep"
    REVERT = "revert"


@frozen
class Looked:
    """What was seen of a trial until now. Times in seconds."""

    good_for_s: float | None
    """How long it has been as good as before, under the new settings, in one process; None: it isn't."""
    since_s: float
    """How long the trial has lasted."""
    busy_s: float = 0.0
    """How long of that a visitor was using the kiosk: a change may have waited for that, and has its time after it."""


def judge(looked: Looked, probation_s: float) -> Judgement:
    """Kept as soon as it has been good for a while; else, when its time is over, not."""
    if looked.good_for_s is not None and looked.good_for_s >= STABLE_S:
        return Judgement.KEEP
    tried_s = looked.since_s - min(looked.busy_s, LONGEST_TURN_S)
    longest_s = probation_s if looked.good_for_s is None else probation_s + STABLE_S
    return Judgement.WAIT if tried_s < longest_s else Judgement.REVERT


class Start(Enum):
    """What is done before the daemon starts."""

    GO = "go"
    TAKE_OVER = "take over"
    """The owner edited the file, and it is right: it counts."""
    FORGET_TRIAL = "forget trial"
    """The file never became the version on trial, or was edited since, or is settled."""
    TRY = "try"
    """The version is on trial, and may be: with the timer set anew."""
    REVERT = "revert"
    """The daemon can't start under the version on trial."""
    RESTORE = "restore"
    """The owner's edit can't be read: the last version that could be counts."""
    LEAVE = "leave"
    """The file is wrong, and there is nothing to go back to."""


@frozen
class Found:
    """The settings file and its store, as they are when the daemon is about to start."""

    valid: bool
    is_current: bool
    on_trial: bool
    is_trial: bool
    settled: bool
    """The version on trial is the current one already: only its mark is left."""
    starts: int
    has_current: bool


def at_start(found: Found) -> Start:
    """Whatever a power cut or an editor left behind: what is to be done with it."""
    if found.on_trial and found.is_trial and not found.settled:
        return Start.TRY if found.valid and found.starts < MAX_STARTS else Start.REVERT
    if found.on_trial:
        return Start.FORGET_TRIAL
    if found.is_current:
        return Start.GO if found.valid else Start.LEAVE
    if found.valid:
        return Start.TAKE_OVER
    return Start.RESTORE if found.has_current else Start.LEAVE
