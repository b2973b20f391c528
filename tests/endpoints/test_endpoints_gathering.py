"""When sound is left to gather on the wire, and when each piece counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kioskd.endpoints.gathering import AHEAD_S, BYTES_PER_S, NAP_S, Gathering

DELTA = BYTES_PER_S // 10  # 100 ms of sound


def test_an_answer_that_comes_as_it_is_heard_is_never_left_waiting() -> None:
    wire = Gathering()
    for number in range(100):
        wire.came(DELTA, number * 0.1)
        assert wire.nap_s(number * 0.1) == 0


def test_an_answer_that_is_well_ahead_is_left_to_gather() -> None:
    wire, naps = Gathering(), []
    for number in range(20):
        wire.came(DELTA, number * 0.02)
        naps.append(wire.nap_s(number * 0.02))
    assert naps[:5] == [0] * 5, "its first half second counts"
    assert naps[-1] == NAP_S


def test_what_is_no_sound_may_be_waited_for() -> None:
    wire = Gathering()
    for _ in range(20):
        wire.came(DELTA, 1.0)
    wire.came(200, 1.0)
    assert wire.nap_s(1.0) == 0


def test_more_than_a_read_holds_is_read_at_once() -> None:
    wire = Gathering()
    wire.came(DELTA * 20, 1.0)
    assert wire.nap_s(1.0) == 0


def test_the_next_answer_begins_with_nothing_in_store() -> None:
    """A minute of the one before had come when the visitor broke it off."""
    wire = Gathering()
    for _ in range(600):
        wire.came(DELTA, 1.0)
    wire.came(DELTA, 1.5)
    assert wire.nap_s(1.5) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 65536)), max_size=60))
def test_the_speaker_always_has_several_naps_in_store(reads: list[tuple[float, int]]) -> None:
    """Against the plain sum: what has come since the last pause, less the time since then."""
    wire, now, came, since = Gathering(), 0.0, 0, 0.0
    for waited, size in reads:
        now += waited
        if waited > 0.3:
            came, since = 0, now
        wire.came(size, now)
        came += size
        if wire.nap_s(now):
            assert came / BYTES_PER_S - (now - since) <= wire._heard_at - now + 1e-6
            assert came / BYTES_PER_S >= AHEAD_S - 1e-6 >= 4 * NAP_S
