"""The lamp's patterns: told apart by rhythm alone, never flashing too fast."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.dialogue.effects import Sign, State, View
from kioskd.dialogue.events import Fault, Link
from kioskd.dialogue.surroundings import FOR_THE_EAR
from kioskd.panel.lamp import (
    FLASHES_PER_SECOND,
    RULES,
    UPDATES_PER_SECOND,
    FlashLimit,
    Light,
    lamp,
    next_change,
    pattern_of,
)

STEP_S = 0.05
WATCHED_S = 24.0  # its half is three rounds of the longest pattern at least
EVERY_FAULT = [frozenset(some) for size in range(5) for some in itertools.combinations(Fault, size)]


def every_view() -> Iterator[View]:
    for state, link, faults, sign in itertools.product(State, Link, EVERY_FAULT, [None, *Sign]):
        for limited in (False, True):
            yield View(state, link, faults, sign, limited)


def changes(view: View, levels: Iterator[float], until: float) -> Iterator[tuple[float, Light]]:
    """The lights of a view as they come, when only `next_change` says when to look."""
    at: float | None = 0.0
    while at is not None and at < until:
        yield at, lamp(view, next(levels), at)
        following = next_change(view, at)
        assert following is None or following > at
        at = following


def rhythm(view: View) -> list[bool]:
    return [lamp(view, 0.5, index * STEP_S + STEP_S / 2).lit for index in range(round(WATCHED_S / STEP_S))]


def meaning(view: View) -> tuple[str, object]:
    """What somebody before the kiosk has to learn from its lamp: written down apart from the lamp's own table."""
    if view.sign is not None and view.sign not in FOR_THE_EAR:
        return ("sign", view.sign)
    if view.state is not State.READY:
        return ("state", view.state)
    if view.link is Link.REFUSED:
        return ("link", view.link)
    for fault in (Fault.BUTTON_STUCK, Fault.MICROPHONE, Fault.SPEAKER, Fault.PANEL):
        if fault in view.faults:
            return ("fault", fault)
    for doubt, fault in ((Fault.MICROPHONE_DEAF, Fault.MICROPHONE), (Fault.SPEAKER_DEAD, Fault.SPEAKER)):
        if view.link is Link.UP and doubt in view.faults:
            return ("fault", fault)
    if view.link is Link.UP and view.limited:
        return ("link", "limited")
    return ("link", view.link)


MEANINGS = {meaning(view): view for view in every_view()}
NAMES = [" ".join(map(str, told)) for told in MEANINGS]


def test_every_situation_has_a_meaning_of_its_own() -> None:
    # 5 signs, 5 states beside ready, 4 faults, and ready with 4 links, one of them also for few questions only.
    assert len(MEANINGS) == 19 == len({rule.pattern.name for rule in RULES})


def test_equal_meanings_look_equal() -> None:
    for view, at in itertools.product(every_view(), (0.0, 0.15, 0.5, 1.7)):
        same = MEANINGS[meaning(view)]
        assert lamp(view, 0.3, at) == lamp(same, 0.3, at), view
        assert next_change(view, at) == next_change(same, at), view


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(MEANINGS, 2)), ids=str)
def test_situations_differ_on_a_lamp_that_is_only_on_or_off(one: tuple[str, object], other: tuple[str, object]) -> None:
    seen, compared = rhythm(MEANINGS[one]), rhythm(MEANINGS[other])
    half = len(seen) // 2
    # Whoever looks doesn't know when the pattern began: try every phase.
    least = min(
        sum(a != b for a, b in zip(seen[:half], compared[shift : shift + half], strict=True)) for shift in range(half)
    )
    assert least / half >= 0.1


def flashes(lit: list[tuple[float, bool]]) -> list[float]:
    """When the lamp went from dark to lit."""
    before = [False, *(value for _, value in lit)]
    return [at for (at, value), was in zip(lit, before, strict=False) if value and not was]


@pytest.mark.parametrize("view", list(MEANINGS.values()), ids=NAMES)
def test_no_pattern_flashes_more_than_three_times_a_second(view: View) -> None:
    seen = [(at, light.lit) for at, light in changes(view, itertools.repeat(0.5), WATCHED_S)]
    starts = flashes(seen)
    for start in starts:
        assert sum(start <= other < start + 1.0 - 1e-9 for other in starts) <= FLASHES_PER_SECOND


@given(st.sampled_from(list(MEANINGS.values())), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_no_loudness_makes_the_lamp_flicker(view: View, levels: list[float]) -> None:
    seen = [(at, light.brightness) for at, light in changes(view, itertools.cycle(levels), 4.0)]
    # WCAG: a flash is a pair of opposing changes of a tenth of full brightness or more.
    turns: list[float] = []
    extreme, rising = 0.0, False
    for at, brightness in seen:
        if (brightness > extreme) == rising:
            extreme = brightness
        elif abs(brightness - extreme) >= 0.1:
            turns.append(at)
            extreme, rising = brightness, not rising
    for start in turns:
        assert sum(start <= other < start + 1.0 - 1e-9 for other in turns) <= 2 * FLASHES_PER_SECOND


@pytest.mark.parametrize("view", list(MEANINGS.values()), ids=NAMES)
def test_updates_are_never_closer_than_twenty_a_second(view: View) -> None:
    times = [at for at, _ in changes(view, itertools.repeat(0.5), WATCHED_S)]
    assert all(b - a >= 1 / UPDATES_PER_SECOND - 1e-9 for a, b in itertools.pairwise(times))


@given(st.sampled_from(list(MEANINGS.values())), st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_nothing_changes_between_the_told_changes(view: View, at: float, level: float, fraction: float) -> None:
    following = next_change(view, at)
    later = at + fraction * ((following if following is not None else at + 60) - at)
    if following is None or later < following - 1e-3:
        assert lamp(view, level, later) == lamp(view, level, at)
        assert next_change(view, later) == following


@given(
    st.sampled_from(list(MEANINGS.values())),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-10, 1e9),
)
def test_the_same_question_has_the_same_answer_and_it_can_be_shown(view: View, level: float, at: float) -> None:
    light = lamp(view, level, at)
    assert light == lamp(view, level, at)
    assert all(0.0 <= part <= 1.0 for part in (light.red, light.green, light.blue))


@given(st.sampled_from(list(MEANINGS.values())), st.floats(0, 1e6), st.floats(0, 1))
def test_a_lamp_that_is_only_on_or_off_is_lit_when_one_that_dims_is(view: View, at: float, level: float) -> None:
    assert lamp(view, level, at, dims=False).lit == lamp(view, level, at).lit
    following = next_change(view, at, dims=False)
    if following is not None and following - at > 1e-3:
        assert lamp(view, 1.0, following - 5e-4, dims=False) == lamp(view, 0.0, at, dims=False)
        assert lamp(view, 0.0, following + 5e-4, dims=False).lit != lamp(view, 0.0, at, dims=False).lit


def test_loud_is_brighter_than_quiet_and_both_are_lit() -> None:
    for state in (State.LISTENING, State.SPEAKING):
        quiet, loud = (lamp(View(state, Link.UP), level, 0.0) for level in (0.0, 1.0))
        assert quiet.lit
        assert loud.brightness == 1.0
        assert quiet.brightness < loud.brightness


def test_a_press_is_answered_at_once() -> None:
    for state in (State.LISTENING, State.THINKING, State.SPEAKING):
        assert lamp(View(state, Link.UP), 0.0, 0.0).lit


def test_stopped_is_dark_and_ready_is_steady() -> None:
    stopped, ready = View(State.STOPPED, Link.DOWN), View(State.READY, Link.UP)
    assert lamp(stopped, 1.0, 0.3).brightness == 0.0
    assert lamp(ready, 1.0, 0.3).brightness == 1.0
    assert next_change(stopped, 5.0) is None
    assert next_change(ready, 5.0) is None


def test_thinking_breathes_half_lit() -> None:
    thinking = View(State.THINKING, Link.UP)
    steps = pattern_of(thinking).steps
    assert sum(step.brightness >= 0.5 for step in steps) * 2 == len(steps)
    ring = [step.brightness for step in (*steps, steps[0])]
    assert max(abs(b - a) for a, b in itertools.pairwise(ring)) < 0.1


WHITE = Light(1.0, 1.0, 1.0)
DARK = Light(0.0, 0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0.001, 1.2), st.booleans()), max_size=60))
def test_however_views_change_the_lamp_flashes_three_times_a_second_at_most(wishes: list[tuple[float, bool]]) -> None:
    limit = FlashLimit()
    now, shown = 0.0, []
    for gap, lit in wishes:
        now += gap
        light, retry_at = limit.limit(WHITE if lit else DARK, now)
        shown.append((now, light.lit))
        if retry_at is None:
            assert light == (WHITE if lit else DARK)
        else:
            assert lit
            assert now < retry_at < now + 1.0
    starts = flashes(shown)
    for start in starts:
        assert sum(start <= other < start + 1.0 for other in starts) <= FLASHES_PER_SECOND


def test_a_light_that_was_held_back_comes_when_it_was_promised() -> None:
    limit = FlashLimit()
    for index in range(FLASHES_PER_SECOND):
        assert limit.limit(WHITE, index * 0.2) == (WHITE, None)
        limit.limit(DARK, index * 0.2 + 0.1)
    held, retry_at = limit.limit(WHITE, 0.6)
    assert held == DARK
    assert retry_at == pytest.approx(1.0)
    assert not math.isinf(retry_at)
    assert limit.limit(WHITE, retry_at) == (WHITE, None)
