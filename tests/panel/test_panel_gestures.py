"""What a finger does, and what was meant: every ambiguity is resolved by time."""

from __future__ import annotations

import pickle

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from kioskd.config.schema import Button, DoublePress, OwnerButton
from kioskd.config.schema import Gestures as Use
from kioskd.dialogue.events import DoublePressed, FoundHeld, OwnerHeld, OwnerPressed, Pressed, Released, Tapped
from kioskd.panel.debounce import Debounce
from kioskd.panel.gestures import ButtonEvent, Gestures, OwnerEvent, OwnerGestures

Edges = list[tuple[float, bool]]
HOLD = Button(debounce_ms=0, tap_ms=250, slip_ms=50, double_press_ms=350)
TAP = evolve(HOLD, gestures=Use.TAP)
BOTH = evolve(HOLD, gestures=Use.BOTH)
TWICE = {"double_press": DoublePress.REPEAT}
STATE_BYTES = 2048


def play(settings: Button, edges: Edges, end: float, ticks: bool = True) -> list[tuple[float, ButtonEvent]]:
    """Feed the edges, and, with `ticks`, come at every deadline, as the panel does."""
    gestures = Gestures(settings)
    told: list[tuple[float, ButtonEvent]] = []
    level = False

    def feed(down: bool, at: float) -> None:
        told.extend((at, event) for event in gestures.feed(down, at))
        assert len(pickle.dumps(gestures)) < STATE_BYTES

    for at, down in [*edges, (end, None)]:
        while ticks and (deadline := gestures.deadline) is not None and deadline < at:
            feed(level, deadline)
        level = level if down is None else down
        feed(level, at)
    return told


def fingers(*times: float) -> Edges:
    """Down and up in turns, from an open contact."""
    return [(0.0, False), *((at, index % 2 == 0) for index, at in enumerate(times))]


@pytest.mark.parametrize(
    ("settings", "times", "expected"),
    [
        # hold to talk
        (HOLD, (1, 2), [(1, Pressed()), (2.05, Released(50))]),
        (HOLD, (1, 1.1), [(1, Pressed()), (1.15, Released(50))]),
        (HOLD, (1, 2, 2.04, 3), [(1, Pressed()), (3.05, Released(50))]),  # the finger slipped
        (HOLD, (1, 2, 2.02, 2.03), [(1, Pressed()), (2.08, Released(50))]),  # release, press, release within 50 ms
        (HOLD, (1, 2, 2.06, 3), [(1, Pressed()), (2.05, Released(50)), (2.06, Pressed()), (3.05, Released(50))]),
        (evolve(HOLD, slip_ms=0), (1, 2), [(1, Pressed()), (2, Released(0))]),
        # tap to talk
        (TAP, (1, 1.1), [(1, Pressed()), (1.15, Tapped())]),
        (TAP, (1, 3), [(1, Pressed()), (3.05, Tapped())]),
        (TAP, (1, 1.1, 1.3, 1.4), [(1, Pressed()), (1.15, Tapped()), (1.3, Pressed()), (1.45, Tapped())]),
        # both
        (BOTH, (1, 1.24), [(1, Pressed()), (1.29, Tapped())]),
        (BOTH, (1, 1.26), [(1, Pressed()), (1.31, Released(50))]),
        (BOTH, (1, 1.1, 1.13, 1.3), [(1, Pressed()), (1.35, Released(50))]),  # a slip does not make two taps of it
        # twice: while a second press may come, nobody is told that the first was too short
        (evolve(HOLD, **TWICE), (1, 1.1), [(1, Pressed()), (1.45, Released(350))]),
        (evolve(HOLD, **TWICE), (1, 2), [(1, Pressed()), (2.05, Released(50))]),
        (evolve(HOLD, **TWICE), (1, 1.1, 1.4, 1.5), [(1, Pressed()), (1.4, DoublePressed()), (1.55, Released(50))]),
        (
            evolve(HOLD, **TWICE),
            (1, 1.1, 1.46, 2),
            [(1, Pressed()), (1.45, Released(350)), (1.46, Pressed()), (2.05, Released(50))],
        ),
        (
            evolve(BOTH, **TWICE),
            (1, 1.1, 1.3, 2.3),
            [(1, Pressed()), (1.15, Tapped()), (1.3, DoublePressed()), (2.35, Released(50))],
        ),
        (
            evolve(TAP, **TWICE),
            (1, 1.1, 1.46, 1.5),
            [(1, Pressed()), (1.15, Tapped()), (1.46, Pressed()), (1.55, Tapped())],
        ),
        (  # three times: the third is a press of its own
            evolve(HOLD, **TWICE),
            (1, 1.1, 1.2, 1.3, 1.4, 2),
            [
                *((1, Pressed()), (1.2, DoublePressed()), (1.35, Released(50))),
                *((1.4, Pressed()), (2.05, Released(50))),
            ],
        ),
    ],
)
def test_the_table(settings: Button, times: tuple[float, ...], expected: list[tuple[float, ButtonEvent]]) -> None:
    told = play(settings, fingers(*times), 10)
    assert [event for _, event in told] == [event for _, event in expected]
    assert [at for at, _ in told] == pytest.approx([at for at, _ in expected])


def test_a_button_found_held_presses_only_after_it_was_up() -> None:
    assert play(HOLD, [(0.0, True), (500.0, False), (501.0, True), (502.0, False)], 510) == [
        *((0.0, FoundHeld()), (500.0, Released())),
        *((501.0, Pressed()), (pytest.approx(502.05), Released(50))),
    ]


def test_a_glitch_at_the_start_is_no_held_button_and_no_press() -> None:
    settings = evolve(HOLD, debounce_ms=30)
    edges = [(0.0, True), (0.001, False), (1.0, True), (2.0, False)]
    assert [event for _, event in play(settings, edges, 10)] == [Pressed(), Released(50)]


@pytest.mark.parametrize("settings", [HOLD, TAP, BOTH, evolve(HOLD, **TWICE)])
def test_a_panel_that_is_lost_leaves_nobody_pressing(settings: Button) -> None:
    for at in (1.1, 2.0):
        gestures = Gestures(settings)
        gestures.feed(False, 0.0)
        assert gestures.feed(True, 1.0) == [Pressed()]
        [end] = gestures.lost(at)
        assert isinstance(end, Released | Tapped)
        assert gestures.deadline is None and gestures.lost(at) == []
    gestures = Gestures(settings)
    assert gestures.feed(True, 0.0) == [FoundHeld()] and gestures.lost(1.0) == [Released()]
    assert gestures.deadline is None


BUTTONS = st.builds(
    Button,
    debounce_ms=st.sampled_from([0, 30, 100]),
    gestures=st.sampled_from(Use),
    tap_ms=st.sampled_from([100, 250, 1000]),
    slip_ms=st.sampled_from([0, 50, 100]),
    double_press=st.sampled_from(DoublePress),
    double_press_ms=st.sampled_from([150, 350, 1000]),
)
STEPS = st.lists(st.tuples(st.floats(0, 1.5) | st.floats(0, 0.12), st.booleans()), min_size=1, max_size=40)


def edges_of(steps: list[tuple[float, bool]]) -> Edges:
    at, edges = 0.0, [(0.0, False)]
    for gap, down in steps:
        at += gap
        edges.append((at, down))
    return edges


def presses(settings: Button, edges: Edges, end: float) -> list[float]:
    """When somebody pressed, by the rules: down for the debounce, and not back within the slip."""
    debounce, settled = Debounce(settings.debounce_ms), []
    for at, down in [*edges, (end, False)]:
        while (deadline := debounce.deadline) is not None and deadline <= at:
            settled.append((deadline, debounce.tick(deadline)))
        if (edge := debounce.feed(down, at)) is not None:
            settled.append((at, edge))
    found, up_at = [], -1000.0
    for at, edge in settled:
        if not isinstance(edge, Pressed):
            up_at = at
        elif at >= up_at + settings.slip_ms / 1000:
            found.append(at)
    return found


@given(BUTTONS, STEPS, st.booleans())
@example(HOLD, [(0.0, True), (1.0, False)], True)
def test_any_edges_at_any_time(settings: Button, steps: list[tuple[float, bool]], ticks: bool) -> None:
    edges = edges_of(steps)
    end = edges[-1][0] + 10
    edges.append((end - 5, False))
    told = play(settings, edges, end, ticks)
    down = False
    for _, event in told:
        goes_down = isinstance(event, Pressed | DoublePressed | FoundHeld)
        assert goes_down != down or isinstance(event, DoublePressed)
        down = goes_down
    assert not down
    begun = [at for at, event in told if isinstance(event, Pressed | DoublePressed | FoundHeld)]
    assert len(begun) == len(presses(settings, edges, end)), "no press is lost, and none is made up"
    if ticks:
        assert begun == presses(settings, edges, end)
    kinds = {type(event) for _, event in told}
    assert Tapped not in kinds or settings.gestures is not Use.HOLD
    assert DoublePressed not in kinds or settings.double_press is DoublePress.REPEAT


@given(BUTTONS, STEPS)
def test_a_caller_who_comes_late_is_told_the_same(settings: Button, steps: list[tuple[float, bool]]) -> None:
    edges = edges_of(steps)
    end = edges[-1][0] + 10
    on_time, late = (play(settings, edges, end, ticks) for ticks in (True, False))
    assert [type(event) for _, event in on_time] == [type(event) for _, event in late]
    for (at, event), (late_at, late_event) in zip(on_time, late, strict=True):
        if isinstance(event, Released) and isinstance(late_event, Released):  # it says itself when it was
            assert at - event.late_ms / 1000 == pytest.approx(late_at - late_event.late_ms / 1000, abs=0.002)


# -- the owner's button


def play_owner(edges: Edges, end: float) -> list[tuple[float, OwnerEvent]]:
    gestures = OwnerGestures(OwnerButton(pin=23, debounce_ms=30, long_press_s=3))
    told, level = [], False
    for at, down in [*edges, (end, None)]:
        while (deadline := gestures.deadline) is not None and deadline < at:
            told += [(deadline, event) for event in gestures.feed(level, deadline)]
        level = level if down is None else down
        told += [(at, event) for event in gestures.feed(level, at)]
    return told


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (fingers(1, 1.5), [(1.53, OwnerPressed())]),
        (fingers(1, 10), [(4.03, OwnerHeld())]),
        (fingers(1, 1.001), []),
        ([(0.0, True), (20.0, False)], []),
        ([(0.0, True), (20.0, False), (21.0, True), (22.0, False)], [(22.03, OwnerPressed())]),
    ],
)
def test_the_owners_button(edges: Edges, expected: list[tuple[float, OwnerEvent]]) -> None:
    told = play_owner(edges, 100)
    assert [event for _, event in told] == [event for _, event in expected]
    assert [at for at, _ in told] == pytest.approx([at for at, _ in expected])
