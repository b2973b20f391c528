"""The idle day of the bench: an SD card is spared, and the bench would notice if it were not."""

from __future__ import annotations

import logging

import pytest

from kioskd.bench.day import idle_day
from kioskd.realtime import session

pytestmark = pytest.mark.long


def test_an_idle_day_writes_next_to_nothing() -> None:
    size, lines = idle_day()
    assert lines <= 30 and size <= 10_000


def test_a_line_at_each_renewal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    greet = session.Session.receive

    def talkative(self: session.Session, text: str | bytes) -> object:
        if "session.updated" in str(text):
            logging.getLogger("kioskd.test").info("one more session")
        return greet(self, text)

    monkeypatch.setattr(session.Session, "receive", talkative)
    assert 24 <= idle_day()[1] <= 27
