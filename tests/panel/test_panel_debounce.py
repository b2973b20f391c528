"""A contact bounces; a visitor presses once."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kioskd.dialogue.events import Pressed, Released
from kioskd.panel.debounce import Debounce

WINDOW_MS = 30
UNIT_S = 1 / 1024  # binary fractions, so that model and code agree to the last bit
WINDOWS = {0: 0, 125: 128, 250: 256, 500: 512}  # ms -> units


def play(window_ms: int, edges: list[tuple[float, bool]], end: float) -> list[tuple[float, Pressed | Released]]:
    """Feed the edges, ticking at every deadline, as the panel does."""
    debounce = Debounce(window_ms)
    told: list[tuple[float, Pressed | Released]] = []

    def tick_until(limit: float) -> None:
        while (deadline := debounce.deadline) is not None and deadline <= limit:
            if (event := debounce.tick(deadline)) is not None:
                told.append((deadline, event))

    for at, down in edges:
        tick_until(at)
        if (event := debounce.feed(down, at)) is not None:
            told.append((at, event))
    tick_until(end)
    return told


def model(window: int, edges: list[tuple[int, bool]], end: int) -> list[tuple[int, bool]]:
    """The same by brute force: at each unit of time, has the level been the other one for the whole window?"""
    told: list[tuple[int, bool]] = []
    level = settled = False
    held_for = 0
    waiting = list(edges)
    for now in range(end + 1):
        if held_for >= window and level != settled:
            settled = level
            told.append((now, settled))
        while waiting and waiting[0][0] == now:
            _, new = waiting.pop(0)
            if new != level:
                level, held_for = new, 0
            if held_for >= window and level != settled:
                settled = level
                told.append((now, settled))
        held_for += 1
    return told


@given(
    window_ms=st.sampled_from(sorted(WINDOWS)),
    steps=st.lists(st.tuples(st.integers(0, 700), st.booleans()), max_size=20),
)
@example(window_ms=125, steps=[(1, True), (128, False)])
@example(window_ms=125, steps=[(1, True), (127, False)])
@example(window_ms=0, steps=[(5, True), (0, False), (0, True)])
def test_debounce_agrees_with_a_brute_force_model(window_ms: int, steps: list[tuple[int, bool]]) -> None:
    edges: list[tuple[int, bool]] = []
    at = 0
    for gap, down in steps:
        at += gap
        edges.append((at, down))
    end = at + 1000
    told = play(window_ms, [(time * UNIT_S, down) for time, down in edges], end * UNIT_S)
    expected = model(WINDOWS[window_ms], edges, end)
    assert [(time / UNIT_S, isinstance(event, Pressed)) for time, event in told] == expected


@given(st.lists(st.tuples(st.floats(0, 2, allow_nan=False), st.booleans()), max_size=40), st.integers(0, 500))
def test_presses_and_releases_alternate_with_any_timing(steps: list[tuple[float, bool]], window_ms: int) -> None:
    edges: list[tuple[float, bool]] = []
    at = 0.0
    for gap, down in steps:
        at += gap
        edges.append((at, down))
    told = [event for _, event in play(window_ms, edges, at + 10)]
    assert told == [Pressed() if index % 2 == 0 else Released() for index in range(len(told))]


def test_a_bouncing_press_and_release_are_one_of_each() -> None:
    bounce = [0.0, 0.002, 0.003, 0.007, 0.0075, 0.012, 0.013]
    edges = [(at, index % 2 == 0) for index, at in enumerate(bounce)]
    edges += [(1 + at, index % 2 == 1) for index, at in enumerate(bounce)]
    told = play(WINDOW_MS, edges, 2)
    assert [type(event) for _, event in told] == [Pressed, Released]
    assert [at for at, _ in told] == pytest.approx([0.043, 1.043])


@pytest.mark.parametrize("held", [False, True])
def test_a_glitch_vanishes(held: bool) -> None:
    start = [(0.0, True)] if held else []
    told = play(WINDOW_MS, [*start, (1.0, not held), (1.001, held)], 2)
    assert [type(event) for _, event in told] == ([Pressed] if held else [])


def test_a_press_that_was_long_enough_is_told_even_if_its_release_is_read_first() -> None:
    debounce = Debounce(WINDOW_MS)
    assert debounce.feed(True, 0.0) is None
    # The caller was busy and ticked at no deadline.
    assert debounce.feed(False, 0.5) == Pressed()
    assert debounce.deadline == pytest.approx(0.53)
    assert debounce.tick(0.53) == Released()


def test_no_deadline_while_nothing_is_pending() -> None:
    debounce = Debounce(WINDOW_MS)
    assert debounce.deadline is None
    debounce.feed(True, 1.0)
    assert debounce.deadline == pytest.approx(1.03)
    debounce.feed(False, 1.01)
    assert debounce.deadline is None
    assert not debounce.down
