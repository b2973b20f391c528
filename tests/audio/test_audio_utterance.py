from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.audio.ring import PreRollRing
from kioskd.audio.utterance import Utterance
from kioskd.endpoints.port import Utterance as PortUtterance

blocks = st.lists(st.binary(max_size=40).map(lambda data: data[: len(data) // 2 * 2]), max_size=20)


def test_it_is_what_the_port_asks_for() -> None:
    utterance: PortUtterance = Utterance(3, 100)
    assert (utterance.turn, utterance.size, utterance.ended, utterance.since(0)) == (3, 0, False, b"")


@given(blocks=blocks, limit=st.integers(0, 300), cursor=st.integers(0, 400))
def test_it_holds_the_beginning_up_to_its_limit(blocks: list[bytes], limit: int, cursor: int) -> None:
    utterance = Utterance(1, limit)
    for block in blocks:
        utterance.append(block)
    kept = b"".join(blocks)[: limit // 2 * 2]
    assert utterance.since(0) == kept
    assert utterance.since(cursor) == kept[cursor:]
    assert utterance.size == len(kept)


def test_each_append_tells_the_newest_subscriber_and_no_other() -> None:
    utterance = Utterance(1, 100)
    told: list[str] = []
    utterance.subscribe(lambda: told.append("old"))
    utterance.append(b"ab")
    utterance.subscribe(lambda: told.append("new"))
    utterance.append(b"cd")
    utterance.append(b"")
    assert told == ["old", "new"]


def test_nothing_follows_its_end() -> None:
    utterance = Utterance(1, 100)
    utterance.append(b"ab")
    utterance.end()
    utterance.append(b"cd")
    assert (utterance.since(0), utterance.ended) == (b"ab", True)


def test_the_limit_is_told_once_and_then_nobody_is_woken(caplog: pytest.LogCaptureFixture) -> None:
    utterance = Utterance(7, 4)
    told: list[int] = []
    utterance.subscribe(lambda: told.append(utterance.size))
    with caplog.at_level(logging.DEBUG):
        for _ in range(4):
            utterance.append(b"abcd")
    assert told == [4]
    assert len(caplog.records) == 1
    assert "7" in caplog.text


@given(blocks=blocks, capacity=st.integers(0, 60), size=st.integers(-4, 100))
def test_the_ring_gives_the_newest_whole_frames_and_is_empty_then(
    blocks: list[bytes], capacity: int, size: int
) -> None:
    ring = PreRollRing(capacity)
    for block in blocks:
        ring.push(block)
    everything = b"".join(blocks)
    held = min(len(everything), capacity // 2 * 2)
    assert len(ring) == held
    wanted = min(max(0, size) // 2 * 2, held)
    assert ring.take(size) == everything[len(everything) - wanted :]
    assert len(ring) == 0
