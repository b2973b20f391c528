"""When a microphone counts as deaf, or as too loud; what the owner reads of it."""

from __future__ import annotations

import logging

import pytest

from kioskd.audio.conditioning import Block
from kioskd.audio.hearing import CLEAN_AFTER, NOTHING, SHORTEST_FRAMES, Hearing
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised

SILENT, LOUD = NOTHING - 1, NOTHING + 1


def block(loudness: float, frames: int = 480, clipped: int = 0) -> Block:
    return Block(int(loudness).to_bytes(2, "little") * frames, clipped)


def press(hearing: Hearing, loudest: float, frames: int = SHORTEST_FRAMES, clipped: int = 0) -> FaultRaised | None:
    hearing.begin()
    hearing.heard(block(loudest, frames, clipped))
    return hearing.end()


def test_the_third_silent_press_in_a_row_is_told_once_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    hearing = Hearing("mic")
    with caplog.at_level(logging.INFO):
        told = [press(hearing, SILENT) for _ in range(6)]
        assert [event is not None for event in told] == [False, False, True, False, False, False]
        assert isinstance(told[2], FaultRaised) and told[2].fault is Fault.MICROPHONE
        for part in ("'mic'", "hears nothing for 3 presses", "kioskd devices --test"):
            assert part in told[2].cause
        assert hearing.heard(block(SILENT)) is None
        assert hearing.heard(block(LOUD)) == FaultCleared(Fault.MICROPHONE)
        assert hearing.heard(block(LOUD)) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


@pytest.mark.parametrize("between", [lambda it: press(it, LOUD), lambda it: it.heard(block(LOUD))])
def test_any_sound_between_silent_presses_begins_the_count_anew(between) -> None:  # type: ignore[no-untyped-def]
    hearing = Hearing("mic")
    for _ in range(5):
        assert press(hearing, SILENT) is press(hearing, SILENT) is None
        between(hearing)


def test_who_was_heard_is_not_measured_again_before_the_next_press() -> None:
    class Measured:
        frames, clipped, asked = 480, 0, 0

        @property
        def loudest(self) -> float:
            Measured.asked += 1
            return LOUD

    hearing = Hearing("mic")
    for presses in (1, 2):
        hearing.begin()
        for _ in range(5):
            hearing.heard(Measured())  # type: ignore[arg-type]
        assert Measured.asked == presses


def test_a_touch_is_no_press() -> None:
    hearing = Hearing("mic")
    assert all(press(hearing, SILENT, SHORTEST_FRAMES - 1) is None for _ in range(9))


def test_a_lost_device_is_judged_anew() -> None:
    hearing = Hearing("mic")
    for _ in range(2):
        press(hearing, SILENT)
    hearing.forget()
    assert [press(hearing, SILENT) is None for _ in range(3)] == [True, True, False]
    hearing.forget()
    assert hearing.heard(block(LOUD)) is None  # its fault is the lost device's now


def test_clipping_is_told_once_a_spell_and_its_end_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    hearing = Hearing("mic")
    with caplog.at_level(logging.INFO):
        press(hearing, LOUD, 48_000, clipped=48)  # one slammed door
        assert not caplog.records
        for _ in range(4):
            press(hearing, LOUD, 48_000, clipped=600)
        for _ in range(CLEAN_AFTER):
            press(hearing, LOUD, 48_000)
        press(hearing, LOUD, 48_000, clipped=600)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO, logging.WARNING]
    assert "1.2 %" in caplog.messages[0] and "gain down" in caplog.messages[0]
    assert "4 presses" in caplog.messages[1]
