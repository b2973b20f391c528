"""`kioskd spend`: today, month, forecast, by model, elsewhere, and why a cap moved the kiosk."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spend_parts import at, booking, endpoint

from kioskd.__main__ import main
from kioskd.config.schema import Endpoint, EndpointKind, Settings
from kioskd.spend.forecast import forecast, translated
from kioskd.spend.ledger import NAME, Ledger
from kioskd.spend.lines import Line, Moment, Note
from kioskd.spend.prices import NANO, Amounts
from kioskd.spend.report import figures, text

NOW = datetime(2026, 11, 21, 12, 0).astimezone()
SETTINGS = Settings((endpoint("lobby", text_output=1), endpoint("spare", text_output=2)))


def ago(days: float) -> Moment:
    return Moment((NOW - timedelta(days=days)).timestamp(), 0.0, "boot")


def lines() -> list[Line]:
    tokens = Amounts(output_text=1_000_000)
    return [
        booking(9 * NANO, ago(40), number=1, amounts=tokens),
        booking(NANO, ago(1), number=2, amounts=tokens, endpoint="spare"),
        booking(NANO, ago(0), number=3, amounts=tokens),
        booking(5 * NANO, ago(0), number=4, amounts=tokens, turn=2, estimated=True),
        booking(2 * NANO, ago(0), number=5, amounts=tokens, turn=2, reverses=5 * NANO),
        booking(7 * NANO, ago(0), number=6, currency="EUR"),
        Note(7, ago(0), "lobby is left: spend cap reached"),
    ]


def test_the_sums_are_those_of_the_owners_currency_each_turn_once() -> None:
    found = figures(lines(), SETTINGS, NOW)
    assert found["today"] == {"cost": 3.0, "turns": 2, "estimated": 0}
    assert found["month"] == {"cost": 4.0, "turns": 3, "estimated": 0}
    by_model = {row["endpoint"]: (row["cost"], row["turns"], row["tokens"]) for row in found["by_model"]}
    assert by_model == {"lobby": (3.0, 2, 2_000_000), "spare": (1.0, 1, 1_000_000)}
    assert {row["endpoint"]: row["cost"] for row in found["elsewhere"]} == {"lobby": 3.0, "spare": 6.0}
    assert found["notes"][0]["text"].startswith("lobby is left") and len(found["turns"]) == 5
    json.dumps(found)
    assert any("spend cap reached" in line for line in text(found)) and max(map(len, text(found))) < 120


def test_an_empty_ledger_is_no_trouble() -> None:
    found = figures([], Settings((Endpoint("a", "wss://a/", "m"),)), NOW)
    assert found["forecast"] is None and found["month"]["turns"] == 0 and found["unpriced"] == ["a"]
    assert text(found)


def test_a_month_goes_on_as_it_did() -> None:
    assert forecast([10] * 10 + [5], 10.5, 30) == 105 + 195
    assert forecast([], 10.5, 30) is None and forecast([3], 0.1, 30) is None
    assert forecast([1000, 10, 5], 1.5, 30) is not None


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=60), st.floats(0, 30.9), st.integers(28, 31))
def test_a_forecast_is_never_less_than_what_is_spent(by_day: list[int], gone: float, days: int) -> None:
    ahead = forecast(by_day, gone, days)
    assert ahead is None or ahead >= sum(by_day[-min(len(by_day), int(gone) + 1) :])


def test_elsewhere_sound_becomes_words_and_words_sound() -> None:
    talk, chat = endpoint("talk"), endpoint("chat", EndpointKind.CHAT)
    spoken = Amounts(input_text=100, input_audio=30, output_audio=60, heard_ms=3000, spoken_ms=3000)
    assert translated(spoken, talk, talk) == spoken
    read = translated(spoken, talk, chat)
    assert (read.input_audio, read.output_audio, read.input_text, read.output_text) == (0, 0, 110, 10)
    back = translated(read, chat, talk)
    assert (back.input_audio, back.output_audio) == (30, 60)


def test_the_command_reads_the_ledger_of_a_kiosk_that_runs_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    settings = tmp_path / "kioskd.yaml"
    settings.write_text(
        "endpoints: [{name: lobby, url: wss://a.example/, model: m, key: {environment: K}, prices: {text_output: 1}}]\n"
    )
    ledger = Ledger(tmp_path / NAME)
    ledger.open()
    ledger.append(booking(NANO // 2, at(0)), Note(0, at(0), "lobby is left: spend cap reached: 0.50 USD"))
    assert main(["spend", "--config", str(settings)]) == 0
    assert "lobby is left: spend cap reached" in capsys.readouterr().out
    assert main(["spend", "--json", "--config", str(settings)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["currency"] == "USD" and found["turns"][0]["cost"] == 0.5
