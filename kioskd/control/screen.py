"""A status as an owner reads it: one screen of 80 by 24 characters. Takes what the control socket gave."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 80, 24

_LABEL = 11
_BARS = "▁▂▃▄▅▆▇█"
_FLOOR_DB = -60.0  # what a level's bar begins at
_LEVEL_BARS = 10

Status = Mapping[str, Any]


def screen(status: Status) -> list[str]:
    """The lines, none longer than WIDTH; at most HEIGHT."""
    for rows_a_cause in (2, 1):  # with many troubles at once, a line for each
        lines = [_cut(line) for line in _lines(status, rows_a_cause)]
        if len(lines) <= HEIGHT:
            break
    return lines[:HEIGHT]


def one_line(status: Status) -> str:
    """What changes seldom and matters: state, link, faults; for a log of changes."""
    parts = [status["health"], status["state"], f"link {status['link']['state']}"]
    parts += [fault["fault"] for fault in status["faults"]]
    parts += [f"{vital['name']} stale" for vital in status["vitals"] if not vital["fresh"]]
    turns = sum(status["turns"]["outcomes"].values())
    return ", ".join([*parts, f"{turns} turns"])


def duration(seconds: float) -> str:
    """An age in its two largest units: 3 d 4 h, 12 min 5 s, 7 s."""
    left = int(seconds)
    parts: list[tuple[int, str]] = []
    for name, unit_s in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, unit_s)
        if count or parts or unit_s == 1:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count or len(parts) == 1)


def sparkline(values: Sequence[float]) -> str:
    """The values as bars, oldest first; the highest bar is the largest of them."""
    top = max(values, default=0) or 1
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in values)


def level_bar(level: float) -> str:
    """A loudness of 0.0 to 1.0 as a bar of dB."""
    db = 20 * math.log10(level) if level > 0 else _FLOOR_DB
    full = round(max(0.0, 1 - db / _FLOOR_DB) * _LEVEL_BARS)
    return "█" * full + "·" * (_LEVEL_BARS - full)


def _spend(spend: Status) -> str:
    day, month = spend["spent"]["day"], spend["spent"]["month"]
    said = [f"{day:.2f} {spend['currency']} in 24 h, {month:.2f} in 31 days"]
    said += [f"{name}: {cause}" for name, cause in spend["barred"].items()]
    return "; ".join(said)


def _lines(status: Status, rows: int) -> Iterator[str]:
    health = str(status["health"]).upper()
    head = f"kioskd {status['kioskd']} on {status['name']}"
    room = WIDTH - len(health) - 1
    yield f"{head[:room]:<{room}} {health}"
    yield _row("state", _state(status))
    link = status["link"]
    yield _row("link", _link(link))
    if link["cause"]:
        yield from _wrapped(rows, "", link["cause"])
    if len(link["breakers"]) > 1:
        yield from _wrapped(rows, "breakers", ", ".join(f"{name} {state}" for name, state in link["breakers"].items()))
    yield from _turns(status["turns"], rows)
    if spend := status.get("spend"):
        yield from _wrapped(rows, "spend", _spend(spend))
    for name, device in status["sound"].items():
        yield _row(name, _device(device))
    if test := status["self_test"]:
        yield from _wrapped(rows, "self-test", f"{test['verdict']}: {test['reason']}{_tail(test)}")
    yield from _wrapped(2, "vitals", ", ".join(map(_vital, status["vitals"])) or "none is watched")
    yield _row(
        "settings", f"version {status['settings']['version']}, loaded {duration(status['settings']['loaded_s'])} ago"
    )
    if not status["faults"]:
        yield _row("faults", "none")
    for fault in status["faults"]:
        yield from _wrapped(rows, "fault", f"for {duration(fault['since_s'])}: {fault['cause']}")


def _tail(test: Status) -> str:
    ms = test.get("tail_ms")
    return "" if ms is None else f"; the room is quiet {ms:.0f} ms after the kiosk's last sound"


def _state(status: Status) -> str:
    sign = f" ({status['sign']})" if status["sign"] else ""
    process = f"process {status['pid']}, up for {duration(status['uptime_s'])}"
    return f"{status['state']}{sign}, {process}, log {status['log_level']}"


def _link(link: Status) -> str:
    parts = [f"{link['state']} for {duration(link['since_s'])}, endpoint {link['endpoint']}"]
    if link["next_try_s"] is not None:
        parts.append(f"next try in {duration(link['next_try_s'])}")
    if link["losses"]:
        parts.append(f"lost {_times(link['losses'])}")
    return ", ".join(parts)


def _turns(turns: Status, rows: int) -> Iterator[str]:
    outcomes = ", ".join(
        f"{count} {name}" for name, count in sorted(turns["outcomes"].items(), key=lambda pair: -pair[1])
    )
    yield from _wrapped(rows, "turns", outcomes or "none yet")
    last = turns["last"]
    if last:
        times = ("asked_ms", "answered_ms", "sounded_ms")
        took = [f"{name.removesuffix('_ms')} {last[name]}" for name in times if last[name] is not None]
        took += [f"heard {last['heard_ms']} ms"] if last["heard_ms"] is not None else []
        why = f" ({last['reason']})" if last["reason"] else ""
        yield from _wrapped(
            rows, "last turn", f"{last['outcome']} {duration(last['ago_s'])} ago{why}: {', '.join(took) or 'nothing'}"
        )
    if turns["sounded_ms"]:
        figures = f"median {turns['median_ms']} ms, p95 {turns['p95_ms']} ms"
        yield _row("to sound", f"{figures}  {sparkline(turns['sounded_ms'])}")


def _device(device: Status) -> str:
    there = "" if device["present"] else "NOT THERE, "
    lost = f", lost {_times(device['lost'])}" if device["lost"] else ""
    return f"{level_bar(device['level'])} {there}{device['xruns']} xruns{lost}, {device['device']}"


def _vital(vital: Status) -> str:
    if not vital["fresh"]:
        return f"{vital['name']} STALE {vital['age_s']:.0f} s"
    return f"{vital['name']} " + ("absent" if vital["excuse"] else f"{vital['age_s']:.1f} s")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"


def _wrapped(rows: int, label: str, text: str) -> Iterator[str]:
    """A text that may take so many rows."""
    lines = textwrap.wrap(_printable(text), WIDTH - _LABEL, max_lines=rows, placeholder=" …") or [""]
    for number, line in enumerate(lines):
        yield _row("" if number else label, line)


def _cut(line: str) -> str:
    line = _printable(line)
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _printable(text: str) -> str:
    """Nothing that comes from a network moves a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)
