"""The figures for Prometheus: read back as its own parser reads them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import State, View
from kioskd.dialogue.events import Fault, Link, LinkChanged
from kioskd.health.metrics import Metrics

STATUS: dict[str, Any] = {
    "uptime_s": 12.5,
    "link": {"endpoint": "lobby", "state": "up", "kind": "connection lost"},
    "vitals": [{"name": "loop", "age_s": 0.5, "fresh": True}, {"name": "capture", "age_s": 9.0, "fresh": False}],
    "sound": {"microphone": {"xruns": 2}, "speaker": {"xruns": 0}},
    "spend": {
        "currency": "EUR",
        "spent": {"hour": 0.5, "day": 2.0, "month": 9.0},
        "caps": [
            {"endpoint": None, "span": "day", "cap": 4.0, "share": 0.5, "level": "far"},
            {"endpoint": "lobby", "span": "hour", "cap": 0.5, "share": 1.0, "level": "reached"},
        ],
        "barred": {"lobby": "the hour's cap"},
        "order": ["lobby", "relay", "local"],
        "credits": {"relay": 3.0, "lobby": 30.0},
        "credits_warn_below": 5.0,
    },
}
FLEET = Path(__file__).parents[2] / "scripts" / "fleet"


def figures(path: Path) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def turn(metrics: Metrics, number: int, waited_s: float, heard_ms: int) -> None:
    steps = [
        (f.BeginUtterance(number, 0), 0.0),
        (f.EndUtterance(number, 0), 1.0),
        (f.Ask(number), 1.0),
        (f.Play(number, b""), 1.0 + waited_s),
        (e.SpeakingStarted(number), 1.0 + waited_s),
        (e.Usage(number, output_audio=7), 2.0),
        (e.SpeakingFinished(number, heard_ms), 9.0),
        (f.Show(View(State.READY, Link.UP)), 9.0),
    ]
    for what, now in steps:
        metrics(what, now)


async def test_turns_states_and_vitals_are_there(tmp_path: Path, nursery: trio.Nursery) -> None:
    path = tmp_path / "kioskd.prom"
    metrics = Metrics(path, 15, lambda: STATUS)
    metrics(LinkChanged(Link.UP), 0.0)
    metrics(LinkChanged(Link.DOWN, "gone"), 0.0)
    metrics(LinkChanged(Link.DOWN, "gone"), 0.0)
    metrics(LinkChanged(Link.UP), 0.0)
    turn(metrics, 1, 0.6, 4000)
    turn(metrics, 2, 1.2, 500)
    metrics(f.Show(View(State.SPEAKING, Link.UP, frozenset({Fault.PANEL}))), 9.0)
    nursery.start_soon(metrics.run)
    await there(path)
    found = figures(path)
    assert found["kioskd_turns_total", "answered"] == 2
    assert found["kioskd_first_sound_seconds_count",] == 2
    assert found["kioskd_first_sound_seconds_bucket", "0.75"] == 1
    assert found["kioskd_answer_heard_seconds_sum",] == 4.5
    assert found["kioskd_tokens_total",] == 14
    assert found["kioskd_link_losses_total", "connection lost", "lobby"] == 1
    assert found["kioskd_link_up",] == 1
    assert found["kioskd_state", "speaking"] == 1 and found["kioskd_state", "ready"] == 0
    assert found["kioskd_fault", "panel"] == 1 and found["kioskd_fault", "speaker"] == 0
    assert found["kioskd_vital_fresh", "capture"] == 0
    assert found["kioskd_xruns", "microphone"] == 2
    assert found["kioskd_uptime_seconds",] == 12.5


async def test_what_is_spent_is_there(tmp_path: Path, nursery: trio.Nursery) -> None:
    path = tmp_path / "kioskd.prom"
    nursery.start_soon(Metrics(path, 15, lambda: STATUS).run)
    await there(path)
    found = figures(path)
    assert found["kioskd_spent", "EUR", "day"] == 2
    assert found["kioskd_cap_near", "all", "day"] == 0 and found["kioskd_cap_near", "lobby", "hour"] == 1
    assert found["kioskd_endpoint_barred", "lobby"] == 1 and found["kioskd_endpoint_barred", "relay"] == 0
    assert found["kioskd_credits_low", "relay"] == 1 and found["kioskd_credits_low", "lobby"] == 0


@pytest.mark.parametrize("file", ["alerts.yml", "grafana-dashboard.json"])
async def test_the_fleet_asks_for_figures_that_there_are(file: str, tmp_path: Path, nursery: trio.Nursery) -> None:
    path = tmp_path / "kioskd.prom"
    metrics = Metrics(path, 15, lambda: STATUS)
    metrics(LinkChanged(Link.UP), 0.0)
    metrics(LinkChanged(Link.DOWN, "gone"), 0.0)
    turn(metrics, 1, 0.6, 4000)
    nursery.start_soon(metrics.run)
    await there(path)
    asked = set(re.findall(r"\bkioskd_[a-z_]+", (FLEET / file).read_text()))
    assert asked > {"kioskd_link_up"}
    assert asked - {name for name, *_ in figures(path)} == set()


def test_an_answer_that_began_before_anybody_watched_may_be_interrupted(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "kioskd.prom", 15, lambda: STATUS)
    for what in (f.StopSpeaking(5), e.SpeakingStopped(5, 100), f.Interrupt(5, 100), f.Show(View(State.READY, Link.UP))):
        metrics(what, 1.0)


async def there(path: Path) -> None:
    while not path.exists():
        await trio.lowlevel.checkpoint()


async def test_at_the_end_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "kioskd.prom"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Metrics(path, 15, lambda: STATUS).run)
        await there(path)
        nursery.cancel_scope.cancel()
    assert list(tmp_path.iterdir()) == []


async def test_a_place_that_cannot_be_written_is_told_once(
    tmp_path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "missing" / "kioskd.prom"
    nursery.start_soon(Metrics(path, 0, lambda: STATUS).run)
    while len(caplog.records) < 3:
        await trio.lowlevel.checkpoint()
    path.parent.mkdir()
    while caplog.records[-1].levelno != logging.INFO:
        await trio.lowlevel.checkpoint()
    assert path.exists()
    assert [record.levelname for record in caplog.records if record.levelno > logging.DEBUG] == ["WARNING", "INFO"]
