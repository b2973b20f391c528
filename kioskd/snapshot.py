"""A kiosk at this moment, as JSON has it: for the control socket, and whoever else looks at all of it at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from kioskd.audio.verdict import Report, Verdict
from kioskd.config import schema
from kioskd.config.secrets import mask_keys
from kioskd.daemon import Daemon
from kioskd.dialogue.effects import State
from kioskd.dialogue.events import Fault, Link
from kioskd.health.status import Chronicle, outcome
from kioskd.health.turns import TurnReport
from kioskd.health.vitals import Reading

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"


def snapshot(daemon: Daemon, settings: schema.Settings, chronicle: Chronicle, now: float) -> dict[str, Any]:
    """State, link, turns, sound, vitals and faults; all ages in seconds. Nothing of what was said, and no secrets."""
    view = daemon.view
    readings, around = daemon.readings(now), daemon.memory[0].around
    health, troubles = judge(daemon, chronicle, readings)
    return {
        "health": health,
        "troubles": troubles,
        "state": view.state.value,
        "sign": view.sign.value if view.sign else None,
        "link": _link(daemon, chronicle, now),
        "turns": _turns(chronicle, now),
        "sound": {
            "microphone": _device(settings.audio.microphone, Fault.MICROPHONE, daemon.microphone, chronicle),
            "speaker": _device(settings.audio.speaker, Fault.SPEAKER, daemon.speaker, chronicle),
        },
        "self_test": test_figures(daemon.last_test.report) | {"at": daemon.last_test.at} if daemon.last_test else None,
        "echo_tail_ms": around.echo_tail_ms if around.audio.echo is schema.Echo.GATE else None,
        "vitals": [_vital(reading) for reading in readings],
        "faults": [
            {"fault": fault.value, "since_s": round(now - note.since, 1), "cause": mask_keys(chronicle.trouble(fault))}
            for fault, note in chronicle.faults.items()
        ],
    }


def judge(daemon: Daemon, chronicle: Chronicle, readings: Iterable[Reading]) -> tuple[str, list[str]]:
    """How the kiosk is, in a word, and why, a line for each trouble: what it lives without makes it degraded only."""
    stale = [
        f"{reading.name} hasn't moved for {reading.age_s:.0f} s ({reading.limit_s:.0f} s at most)"
        for reading in readings
        if not reading.fresh
    ]
    lacking = [mask_keys(chronicle.trouble(fault)) for fault in chronicle.faults]
    link = daemon.link
    if link.link is not Link.UP:
        lacking.append(f"link {link.link.value}: {mask_keys(link.cause) or 'no trouble known'}")
    if daemon.view.limited and link.breakers and link.breakers[0][0] != link.endpoint:
        lacking.append(f"only the few questions of {link.endpoint} can be answered: none of the others can be reached")
    if daemon.view.state in (State.STARTING, State.STOPPED):
        lacking.append(daemon.view.state.value)
    return UNHEALTHY if stale else DEGRADED if lacking else HEALTHY, stale + lacking


def figures(report: TurnReport) -> dict[str, Any]:
    """A turn's figures; times in ms after the release of the button, None where it did not come to that."""
    return {
        "turn": report.turn,
        "utterance_ms": report.utterance_ms,
        "asked_ms": report.asked_ms,
        "answered_ms": report.answered_ms,
        "sounded_ms": report.sounded_ms,
        "heard_ms": report.heard_ms,
        "interrupted": report.interrupted,
        "ending": report.ending.value if report.ending else None,
        "sign": report.sign.value if report.sign else None,
        "reason": mask_keys(report.reason),
        "tokens": report.usage.total if report.usage else None,
    }


def test_figures(report: Report) -> dict[str, Any]:
    """What a self-test of the sound found; `latency_ms` and `tail_ms` None unless measured."""
    return {
        "verdict": report.verdict.value,
        "fine": report.verdict is Verdict.FINE,
        "reason": report.reason,
        "latency_ms": report.latency_ms,
        "tail_ms": report.tail_ms,
        "level_db": report.level_db,
        "room_db": report.room_db,
    }


def _link(daemon: Daemon, chronicle: Chronicle, now: float) -> dict[str, Any]:
    link = daemon.link
    return {
        "endpoint": link.endpoint,
        "state": link.link.value,
        "cause": mask_keys(link.cause),
        "kind": link.kind,
        "since_s": round(max(0.0, now - link.since), 1),
        "next_try_s": None if link.next_try_at is None else round(max(0.0, link.next_try_at - now), 1),
        "breakers": dict(link.breakers),
        "losses": chronicle.link_losses,
    }


def _turns(chronicle: Chronicle, now: float) -> dict[str, Any]:
    latencies = chronicle.latencies_ms
    last = chronicle.last[-1] if chronicle.last else None
    answered = next(
        (turn for turn in reversed(chronicle.last) if outcome(turn.report) in ("answered", "interrupted")), None
    )
    return {
        "outcomes": dict(chronicle.turns),
        "last": {**figures(last.report), "outcome": outcome(last.report), "ago_s": round(now - last.at, 1)}
        if last
        else None,
        "answered_ago_s": round(now - answered.at, 1) if answered else None,
        "sounded_ms": latencies,
        "median_ms": _quantile(latencies, 0.5),
        "p95_ms": _quantile(latencies, 0.95),
    }


def _quantile(values: list[int], share: float) -> int | None:
    """The smallest value that so large a share of them doesn't exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _device(name: str, fault: Fault, part: object, chronicle: Chronicle) -> dict[str, Any]:
    """A stand-in (a WAV file) doesn't know of xruns, and is there."""
    return {
        "device": name,
        "present": bool(getattr(part, "present", fault not in chronicle.faults)),
        "xruns": int(getattr(part, "xruns", 0)),
        "level": round(float(getattr(part, "level", 0.0)), 4),
        "lost": chronicle.fault_counts[fault],
    }


def _vital(reading: Reading) -> dict[str, Any]:
    return {
        "name": reading.name,
        "age_s": round(reading.age_s, 2),
        "limit_s": reading.limit_s,
        "excuse": mask_keys(reading.excuse),
        "fresh": reading.fresh,
    }
