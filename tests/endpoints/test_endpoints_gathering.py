"""When sound is left to gather on the wire, when each piece counts, and how it goes on from there."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kioskd.dialogue.events import AnswerAudio
from kioskd.endpoints.gathering import AHEAD_S, BYTES_PER_S, NAP_MAX_S, Gathering, with_sound_joined
from kioskd.realtime.events import Oddity, Saying, SessionEvent

DELTA = BYTES_PER_S // 10  # 100 ms of sound
SIZE = st.integers(1, 8)


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
    assert naps[:5] == [0] * 5, "its first sound counts"
    assert 0 < naps[6] < naps[8] < naps[10] < NAP_MAX_S
    assert naps[-1] == NAP_MAX_S


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
        if nap_s := wire.nap_s(now):
            assert came / BYTES_PER_S - (now - since) <= wire._heard_at - now + 1e-6
            assert came / BYTES_PER_S >= max(AHEAD_S, 4 * nap_s) - 1e-6


SOUND = st.builds(lambda turn, size: AnswerAudio(turn, bytes([size]) * size, size / 2), st.integers(1, 2), SIZE)
OTHERS = st.one_of(st.builds(Saying, st.integers(1, 2), st.text(max_size=3)), st.builds(Oddity, st.text(max_size=3)))


@given(st.lists(st.one_of(SOUND, OTHERS), max_size=30))
def test_joined_sound_is_the_same_and_nothing_but_text_overtakes_it(events: list[SessionEvent]) -> None:
    joined = list(with_sound_joined(events))
    assert [event for event in joined if isinstance(event, Saying)] == [e for e in events if isinstance(e, Saying)]
    assert spelled(joined) == spelled(events)
    rest = [event for event in joined if not isinstance(event, Saying)]
    assert not [
        (one, next_one)
        for one, next_one in pairwise(rest)
        if isinstance(one, AnswerAudio) and isinstance(next_one, AnswerAudio) and one.turn == next_one.turn
    ], "neighbours that could have been one"


def spelled(events: Iterable[SessionEvent]) -> list[object]:
    """All but the text, with sound byte by byte; each byte knows its turn."""
    said: list[object] = []
    for event in events:
        if isinstance(event, AnswerAudio):
            assert event.duration_ms == len(event.pcm) / 2
            said += [(event.turn, byte) for byte in event.pcm]
        elif not isinstance(event, Saying):
            said.append(event)
    return said
