"""The screen of `kioskd status`: within 80 by 24 whatever happened, and nothing of it moves a cursor."""

from __future__ import annotations

from typing import Any

import pytest

from kioskd.control.screen import HEIGHT, WIDTH, duration, level_bar, one_line, screen, sparkline

CAUSE = "\x1b[2J\r\n" + "certificate of the endpoint is not valid before tomorrow; set the clock, " * 9
TURN = {
    "turn": 99, "utterance_ms": 60_000, "asked_ms": 12_345, "answered_ms": 23_456, "sounded_ms": 34_567,
    "heard_ms": 987_654, "interrupted": True, "ending": "failed", "sign": "sorry", "reason": CAUSE, "tokens": 9999,
    "outcome": "limit-reached", "ago_s": 1e6,
}  # fmt: skip


def status(worst: bool) -> dict[str, Any]:
    device = {"device": "plughw:CARD=Device,DEV=0" + "x" * 80 * worst, "present": not worst, "xruns": 10**9 * worst,
              "level": 0.1, "lost": 9999 * worst}  # fmt: skip
    vitals = [
        {"name": name, "age_s": 99_999.0 if worst else 0.1, "limit_s": 5.0, "excuse": "", "fresh": not worst}
        for name in ("loop", "capture", "playback", "link", "panel")
    ]
    return {
        "kioskd": "0.1.0", "name": "lobby" + "y" * 90 * worst, "pid": 4_194_304, "uptime_s": 9e8, "log_level": "info",
        "settings": {"version": "0123abcd", "loaded_s": 9e8},
        "health": "unhealthy" if worst else "healthy", "troubles": [], "state": "listening",
        "sign": "connection-lost" if worst else None,
        "link": {"endpoint": "e" * 64 * worst + "openai", "state": "refused" if worst else "up", "cause": CAUSE * worst,
                 "since_s": 9e8, "next_try_s": 599.0 if worst else None, "losses": 12345 * worst,
                 "breakers": {f"endpoint-{number}": "half-open" for number in range(16 * worst)}},
        "turns": {"outcomes": {f"outcome-{number}": 10**7 for number in range(12 * worst)},
                  "last": TURN if worst else None,
                  "sounded_ms": [15_000] * 32 * worst, "median_ms": 15_000, "p95_ms": 15_000},
        "sound": {"microphone": device, "speaker": device},
        "self_test": {"verdict": "speaker dead", "reason": CAUSE, "tail_ms": 1000.0} if worst else None,
        "vitals": vitals,
        "faults": [{"fault": "button-stuck", "since_s": 9e8, "cause": CAUSE} for _ in range(4 * worst)],
    }  # fmt: skip


@pytest.mark.parametrize("worst", [False, True])
def test_it_fits_on_a_small_terminal(worst: bool) -> None:
    lines = screen(status(worst))
    assert len(lines) <= HEIGHT and all(len(line) <= WIDTH and line.isprintable() for line in lines)
    assert lines[0].endswith(" UNHEALTHY" if worst else " HEALTHY")
    text = "\n".join(lines)
    for label in ("state", "link", "turns", "microphone", "speaker", "vitals", "settings"):
        assert f"\n{label}" in text
    assert ("loop STALE" in text and "NOT THERE" in text and text.count("\nfault ") == 4) is worst


def test_it_tells_how_long_the_room_goes_on() -> None:
    test = {"verdict": "speaker and microphone work", "reason": "the microphone hears the speaker", "tail_ms": 183.6}
    for tail_ms in (183.6, None):
        text = " ".join(" ".join(screen(status(False) | {"self_test": test | {"tail_ms": tail_ms}})).split())
        assert ("; the room is quiet 184 ms after the kiosk's last sound" in text) is (tail_ms is not None)


def test_a_line_tells_what_changes_seldom() -> None:
    assert one_line(status(False)) == "healthy, listening, link up, 0 turns"
    assert "loop stale" in one_line(status(True)) and "button-stuck" in one_line(status(True))


def test_durations_bars_and_lines() -> None:
    told = [duration(seconds) for seconds in (0, 0.9, 59, 60, 3661, 90_000, 86_400 * 400)]
    assert told == ["0 s", "0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h", "400 d"]
    assert sparkline([]) == "" and sparkline([0, 0]) == "▁▁" and sparkline([1, 500, 1000]) == "▁▅█"
    assert level_bar(0.0) == "·" * 10 and level_bar(1.0) == "█" * 10 and level_bar(0.0316) == "█████·····"
