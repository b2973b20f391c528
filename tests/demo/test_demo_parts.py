"""The demo's own pure parts: the space bar as a button, and the verdict by correlation."""

from __future__ import annotations

import numpy as np

from kioskd.demo.terminal import FIRST_REPEAT_S, NEXT_REPEAT_S, SpaceBar
from kioskd.demo.verdict import find, was_heard

RNG = np.random.default_rng(7)
ANSWER = RNG.normal(0, 3000, 24 * 4000).astype("<i2").tobytes()  # 4 s
SILENCE = bytes(48 * 500)


def test_a_held_bar_is_one_press_until_it_stops_repeating() -> None:
    bar = SpaceBar()
    assert bar.strike(10.0) is True
    assert bar.let_go_at is None
    at = 10.0 + FIRST_REPEAT_S - 0.1
    for _ in range(50):
        assert bar.strike(at) is None
        at += 0.033
    assert bar.let_go_at == at - 0.033 + NEXT_REPEAT_S
    bar.let_go()
    assert bar.strike(at + 5) is True


def test_a_tapped_bar_is_pressed_until_the_next_tap() -> None:
    bar = SpaceBar()
    assert bar.strike(10.0) is True
    assert bar.let_go_at is None
    assert bar.strike(13.0) is False
    assert bar.strike(14.0) is True


def test_an_answer_is_found_where_it_stands() -> None:
    sighting = find(ANSWER[: 48 * 1000], SILENCE + ANSWER)
    assert abs(sighting.at_ms - 500) < 1 and sighting.correlation > 0.99


def test_an_answer_with_a_hole_or_without_its_end_was_not_heard() -> None:
    half = len(ANSWER) // 2
    assert was_heard(ANSWER, 4000, SILENCE + ANSWER + SILENCE)
    assert was_heard(ANSWER, 2000, SILENCE + ANSWER[:half])
    assert not was_heard(ANSWER, 4000, SILENCE + ANSWER[:half])
    assert not was_heard(ANSWER, 4000, SILENCE + ANSWER[:half] + bytes(48 * 200) + ANSWER[half:])
    assert not was_heard(ANSWER, 0, SILENCE + ANSWER)
    assert not was_heard(ANSWER, 4000, SILENCE * 20)
