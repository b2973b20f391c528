"""Every client in its own process, with a sound card: the same conversation, or no comparison."""

from __future__ import annotations

import pytest

from kioskd.bench.lab import BrokenError, Lab
from kioskd.bench.rows import KINDS

pytestmark = pytest.mark.sound


def test_all_clients_have_the_same_conversation_and_tell_what_it_cost() -> None:
    with Lab() as lab:
        assert not lab.no_sound
        lab.control.weather(answer_ms=500, speed=5)
        for kind in KINDS.values():
            for sound in (True, False):
                with lab.client(kind, sound=sound) as client:
                    spent = client.order("turn", 1.0)
                    assert spent["talk_s"] == pytest.approx(1.0, abs=0.3), kind
                    assert spent["answer_s"] == pytest.approx(0.5), kind
                    assert spent["talk_ms"] > 0 and spent["answer_ms"] > 0, kind
                    assert client.order("rss")["rss_mb"] > 5, kind


def test_an_interrupted_turn_is_timed_in_order_and_an_outage_ends() -> None:
    with Lab() as lab:
        lab.control.weather(answer_ms=4000, speed=5)
        with lab.client("stamped") as kiosk:
            delays = kiosk.order("delays")
            assert set(delays) == {"press", "release", "last_sound", "first_sound", "barge_in"}
            assert all(ms > 0 for name, ms in delays.items() if name != "release")
            assert kiosk.order("outage", 0.2)["back_to_ready"] > 0


def test_a_client_that_dies_is_told() -> None:
    dies = pytest.raises(BrokenError, match="floor has ended")
    with Lab() as lab, lab.client("floor", sound=False) as client, dies:
        client.order("turn", "not-a-number")
