"""The panel on the virtual board: gpiozero's own code on mock pins, trio's clock on autojump."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, evolve, field
from gpiozero import Device
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from kioskd.config import schema
from kioskd.config.schema import LampKind
from kioskd.dialogue.effects import Sign, State, View
from kioskd.dialogue.events import (
    DoublePressed,
    Fault,
    FaultCleared,
    FaultRaised,
    FoundHeld,
    Link,
    OwnerHeld,
    OwnerPressed,
    Pressed,
    Released,
    Tapped,
)
from kioskd.panel.gpio import Board
from kioskd.panel.lamp import Light
from kioskd.panel.panel import Panel
from kioskd.simulator.board import VirtualBoard

PWM = schema.Panel(lamp=schema.Lamp(LampKind.PWM, (27,)))
RGB = schema.Panel(lamp=schema.Lamp(LampKind.RGB, (22, 23, 24)))
LED = schema.Panel()
READY = View(State.READY, Link.UP)
LISTENING = View(State.LISTENING, Link.UP)
THINKING = View(State.THINKING, Link.UP)


@define
class Rig:
    """A running panel on a virtual board, and everything that it told, with trio's time."""

    board: VirtualBoard
    panel: Panel
    scope: trio.CancelScope
    told: list[tuple[float, object]] = field(factory=list)
    lights: list[tuple[float, Light]] = field(factory=list)
    start: float = field(factory=trio.current_time)

    @property
    def events(self) -> list[object]:
        return [event for _, event in self.told]

    async def until(self, seconds: float) -> None:
        await trio.sleep_until(self.start + seconds)


@asynccontextmanager
async def running(settings: schema.Panel, level: Callable[[], float] = lambda: 0.0) -> AsyncIterator[Rig]:
    board = VirtualBoard(settings)
    with board.installed():
        async with trio.open_nursery() as nursery:
            panel = Panel(settings, level, lambda light: rig.lights.append((trio.current_time() - rig.start, light)))
            rig = Rig(board, panel, nursery.cancel_scope)
            nursery.start_soon(panel.run, lambda event: rig.told.append((trio.current_time() - rig.start, event)))
            try:
                yield rig
            finally:
                nursery.cancel_scope.cancel()


async def test_a_press_and_a_release_are_told_after_the_window(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        rig.board.press()
        await rig.until(2.0)
        rig.board.release()
        await rig.until(3.0)
        assert rig.events == [Pressed(), Released(late_ms=50)]
        assert [at for at, _ in rig.told] == pytest.approx([1.03, 2.08])


@pytest.mark.parametrize("pull_up", [True, False])
async def test_the_button_may_be_wired_to_ground_or_to_power(autojump_clock: MockClock, pull_up: bool) -> None:
    async with running(evolve(PWM, button=schema.Button(pull_up=pull_up))) as rig:
        await rig.until(1.0)
        assert rig.events == []
        rig.board.press()
        await rig.until(2.0)
        assert rig.events == [Pressed()]


async def test_a_bouncing_contact_presses_once(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        for at in (1.0, 2.0):
            for index in range(5):
                await rig.until(at + index * 0.004)
                first, last = (rig.board.press, rig.board.release)[:: 1 if at == 1.0 else -1]
                first()
                await rig.until(at + index * 0.004 + 0.001)
                if index < 4:
                    last()
        await rig.until(3.0)
        assert rig.events == [Pressed(), Released(late_ms=50)]


async def test_a_glitch_is_nothing(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        rig.board.press()
        await rig.until(1.001)
        rig.board.release()
        await rig.until(3.0)
        assert rig.events == []


async def test_a_button_held_at_the_start_is_no_press_until_it_was_let_go(autojump_clock: MockClock) -> None:
    board = VirtualBoard(PWM)
    board.press()
    told: list[object] = []
    with board.installed():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Panel(PWM).run, told.append)
            await trio.sleep(100)
            assert told == [FoundHeld()]
            board.release()
            await trio.sleep(1)
            board.press()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    assert told == [FoundHeld(), Released(), Pressed()]


async def test_a_finger_that_slips_off_costs_nothing(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        for at in (1.0, 2.04):
            await rig.until(at)
            rig.board.press()
            await rig.until(2.0 if at == 1.0 else 3.0)
            rig.board.release()
        await rig.until(4.0)
        assert rig.events == [Pressed(), Released(late_ms=50)]
        assert [at for at, _ in rig.told] == pytest.approx([1.03, 3.08])


async def test_gestures_are_told_in_their_time(autojump_clock: MockClock) -> None:
    button = schema.Button(gestures=schema.Gestures.BOTH, double_press=schema.DoublePress.REPEAT)
    async with running(evolve(PWM, button=button)) as rig:
        for down, up in ((1.0, 1.1), (1.3, 1.4), (3.0, 4.0)):
            await rig.until(down)
            rig.board.press()
            await rig.until(up)
            rig.board.release()
        await rig.until(5.0)
        assert rig.events == [
            *(Pressed(), Tapped(), DoublePressed(), Released(late_ms=50)),
            *(Pressed(), Released(late_ms=50)),
        ]
        assert [at for at, _ in rig.told] == pytest.approx([1.03, 1.18, 1.33, 1.48, 3.03, 4.08])


async def test_the_owners_button_is_told_apart_short_and_long(autojump_clock: MockClock) -> None:
    settings = evolve(PWM, owner_button=schema.OwnerButton(pin=23))
    async with running(settings) as rig:
        contact = Device.pin_factory.pin(23)
        await rig.until(1.0)
        contact.wire(False)
        await rig.until(1.5)
        contact.wire(None)
        await rig.until(2.0)
        assert rig.events == [OwnerPressed()]
        contact.wire(False)
        await rig.until(6.0)
        contact.wire(None)
        await rig.until(7.0)
        assert rig.events == [OwnerPressed(), OwnerHeld()]
        assert rig.told[-1][0] == pytest.approx(5.03)
    assert rig.board.open_pins == ()


async def test_edges_from_another_thread_arrive(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        thread = threading.Thread(target=rig.board.press)
        thread.start()
        thread.join()
        await rig.until(1.5)
        assert rig.events == [Pressed()]


async def test_a_lost_edge_is_noticed(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.5)
        rig.board.lose_edges()
        rig.board.press()
        await rig.until(5.0)
        assert rig.events == [Pressed()]
        await rig.until(10.1)
        rig.board.release()
        await rig.until(11.3)  # somebody may be recorded: a release is noticed sooner than a press
        assert rig.events == [Pressed(), Released(late_ms=50)]


@pytest.mark.parametrize("pressed", [False, True])
async def test_a_lamp_that_blinks_has_no_button_read(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, pressed: bool
) -> None:
    reads, down = [], Board.down
    monkeypatch.setattr(Board, "down", property(lambda board: (reads.append(1), down.__get__(board))[1]))
    async with running(LED) as rig:
        rig.panel.show(LISTENING)
        if pressed:
            rig.board.press()
        await rig.until(30.0)
        assert len(rig.lights) > 100
        assert len(reads) <= (34 if pressed else 11)


async def test_no_edge_after_the_end(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
    rig.board.press()
    assert rig.events == []


async def test_a_view_is_shown_at_once_and_from_its_beginning(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        rig.panel.show(READY)
        await rig.until(10.0)
        assert rig.board.lamp == (1.0,)
        rig.lights.clear()
        rig.panel.show(LISTENING)
        await rig.until(11.0 - 0.001)
        assert [at for at, _ in rig.lights] == pytest.approx([10.0, 10.3, 10.5, 10.8])
        assert [light.lit for _, light in rig.lights] == [True, False, True, False]


async def test_the_lamp_follows_the_level(autojump_clock: MockClock) -> None:
    levels = iter([0.0, 1.0, 0.25, 0.25, 0.0])
    async with running(PWM, lambda: next(levels, 0.0)) as rig:
        rig.panel.show(View(State.SPEAKING, Link.UP))
        await rig.until(0.9)
        seen = [light.brightness for _, light in rig.lights]
        assert seen == pytest.approx([0.5, 1.0, 0.75, 0.0])


async def test_nothing_is_updated_while_nothing_changes(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        rig.lights.clear()
        await rig.until(600.0)
        assert rig.lights == []


async def test_a_view_with_the_same_pattern_does_not_begin_it_again(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        rig.panel.show(LISTENING)
        await rig.until(0.2)
        rig.panel.show(evolve(LISTENING, faults=frozenset({Fault.SPEAKER})))
        await rig.until(0.4)
        assert [at for at, _ in rig.lights] == pytest.approx([0.0, 0.3])


async def test_the_level_is_not_followed_in_the_middle_of_a_step(autojump_clock: MockClock) -> None:
    async with running(PWM, itertools.cycle([0.0, 1.0]).__next__) as rig:
        rig.panel.show(View(State.SPEAKING, Link.UP))
        for index in range(10):
            await rig.until(0.005 + index * 0.011)
            (rig.board.release if index % 2 else rig.board.press)()
        await rig.until(0.15)
        assert [at for at, _ in rig.lights] == [0.0]


async def test_hasty_views_wait_for_the_next_update(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        for index in range(20):
            rig.panel.show(READY if index % 2 else View(State.SPEAKING, Link.UP))
            await rig.until(0.01 * (index + 1))
        times = [at for at, _ in rig.lights]
        assert len(times) >= 3
        assert all(later - earlier >= 0.05 - 1e-9 for earlier, later in itertools.pairwise(times))


async def test_a_plain_led_shows_the_rhythm(autojump_clock: MockClock) -> None:
    async with running(LED) as rig:
        rig.panel.show(THINKING)
        seen = []
        for index in range(8):
            await rig.until(0.25 + index * 0.5)
            seen.append(rig.board.lamp)
        assert seen == [(1.0,), (1.0,), (0.0,), (0.0,)] * 2


async def test_an_rgb_lamp_shows_the_colour(autojump_clock: MockClock) -> None:
    async with running(RGB) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        assert rig.board.lamp == (0.0, 1.0, 0.0)
        rig.panel.show(View(State.READY, Link.REFUSED))
        await rig.until(2.0)
        assert rig.board.lamp == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", [LampKind.LED, LampKind.PWM])
async def test_a_lamp_may_be_lit_by_a_low_pin(autojump_clock: MockClock, kind: LampKind) -> None:
    async with running(evolve(PWM, lamp=schema.Lamp(kind, (27,), active_high=False))) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        assert rig.board.lamp == (1.0,)
        rig.panel.show(View(State.STOPPED, Link.UP))
        await rig.until(2.0)
        assert rig.board.lamp == (0.0,)


async def test_a_kiosk_without_a_lamp_has_a_button(autojump_clock: MockClock) -> None:
    async with running(evolve(PWM, lamp=schema.Lamp(LampKind.NONE, ()))) as rig:
        rig.panel.show(READY)
        await rig.until(0.5)
        rig.board.press()
        await rig.until(1.0)
        assert rig.events == [Pressed()]
        assert rig.board.lamp == ()


VIEWS = st.builds(
    View,
    st.sampled_from(State),
    st.sampled_from(Link),
    st.frozensets(st.sampled_from(Fault)),
    st.none() | st.sampled_from(Sign),
)


@given(st.lists(st.tuples(VIEWS, st.floats(0, 0.4)), max_size=30), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_any_storm_of_views_is_calm_on_the_lamp(storm: list[tuple[View, float]], loud: float) -> None:
    async def main() -> list[tuple[float, Light]]:
        async with running(PWM, itertools.cycle([0.0, loud]).__next__) as rig:
            for view, pause in storm:
                rig.panel.show(view)
                await trio.sleep(pause)
            await trio.sleep(1)
        return rig.lights

    lights = trio.run(main, clock=MockClock(autojump_threshold=0))
    times = [at for at, _ in lights]
    for at in times:
        assert sum(at <= other < at + 1.0 - 1e-6 for other in times) <= 20
    lit = [(at, light.lit) for at, light in lights]
    starts = [at for (at, now), was in zip(lit, [False, *(one for _, one in lit)], strict=False) if now and not was]
    for at in starts:
        assert sum(at <= other < at + 1.0 - 1e-6 for other in starts) <= 3


async def test_at_the_end_the_lamp_is_off_and_the_pins_are_given_back(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        assert rig.board.open_pins == ("GPIO17", "GPIO27")
        assert rig.board.lamp == (1.0,)
    assert rig.board.open_pins == ()
    assert rig.board.lamp == (0.0,)


async def test_a_panel_can_run_again_on_the_same_board(autojump_clock: MockClock) -> None:
    board = VirtualBoard(PWM)
    with board.installed():
        for _ in range(3):
            told: list[object] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Panel(PWM).run, told.append)
                await trio.sleep(0.1)
                board.press()
                await trio.sleep(0.2)  # by its edge: long before the next look at the level
                board.release()
                await trio.sleep(0.2)
                nursery.cancel_scope.cancel()
            assert told == [Pressed(), Released(late_ms=50)]


async def test_a_missing_board_is_told_once_and_opened_when_it_comes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    board = VirtualBoard(PWM)
    board.unplug()
    told: list[tuple[float, object]] = []
    start = trio.current_time()
    with board.installed():
        async with trio.open_nursery() as nursery:
            panel = Panel(PWM)
            nursery.start_soon(panel.run, lambda event: told.append((trio.current_time() - start, event)))
            panel.show(READY)
            await trio.sleep(100)
            [(_, raised)] = told
            assert isinstance(raised, FaultRaised)
            assert raised.fault is Fault.PANEL
            assert "unplugged" in raised.cause
            board.plug()
            await trio.sleep(31)
            assert told[1:] == [(pytest.approx(121.0), FaultCleared(Fault.PANEL))]  # 1+2+4+8+16+30+30+30
            assert board.lamp == (1.0,)
            board.press()
            await trio.sleep(0.2)
            assert told[-1][1] == Pressed()
            nursery.cancel_scope.cancel()
    ours = [record for record in caplog.records if record.name.startswith("kioskd")]
    assert [record.levelname for record in ours if record.levelname != "DEBUG"] == ["WARNING", "INFO"]
    assert "8 failures" in ours[-1].getMessage()


async def test_a_board_that_goes_away_while_pressed_lets_go_and_comes_back(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        rig.board.press()
        await rig.until(2.0)
        rig.board.unplug()
        await rig.until(3.5)
        assert [type(event) for event in rig.events] == [Pressed, Released, FaultRaised]
        assert rig.board.open_pins == ()
        rig.board.plug()
        await rig.until(10.0)
        # The visitor still holds the button, but nobody knows what happened meanwhile.
        assert [type(event) for event in rig.events[3:]] == [FaultCleared, FoundHeld]
        rig.board.release()
        await rig.until(11.0)
        assert rig.events[-1] == Released()


async def test_a_board_that_fails_as_soon_as_it_is_open_is_not_tried_every_second(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        for _ in range(100):
            await trio.sleep(1)
            # It opens, and is gone before the panel looks at it again.
            rig.board.plug()
            while not rig.board.open_pins:
                await trio.sleep(0.5)
            rig.board.unplug()
        raised = [at for at, event in rig.told if isinstance(event, FaultRaised)]
        assert raised[-1] - raised[-2] >= 30
