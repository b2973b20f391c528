"""The panel by other settings while it runs: another lamp at once, other buttons on a board that is opened anew."""

from __future__ import annotations

from attrs import evolve
from gpiozero import Device
from test_panel_board import LISTENING, PWM, READY, running
from trio.testing import MockClock

from kioskd.config import schema
from kioskd.config.schema import LampKind
from kioskd.dialogue.events import FaultCleared, FaultRaised, Pressed, Released


def settings(panel: schema.Panel) -> schema.Settings:
    return schema.Settings((schema.Endpoint("lobby", "wss://a/", "m"),), panel=panel)


def level(pin: int) -> float:
    return float(Device.pin_factory.pin(f"GPIO{pin}").state)


async def test_another_lamp_lights_up_at_once_and_the_press_goes_on(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        assert level(27) > 0
        rig.board.press()
        await rig.until(2.0)
        rig.panel.show(LISTENING)
        rig.panel.adjust(settings(evolve(PWM, lamp=schema.Lamp(LampKind.LED, (22,)))))
        await rig.until(2.2)
        assert level(22) > 0 and level(27) == 0
        await rig.until(3.0)
        assert rig.events == [Pressed()], "the visitor is still speaking"
        rig.board.release()
        await rig.until(4.0)
        assert rig.events == [Pressed(), Released(late_ms=50)]


async def test_a_lamp_that_was_soldered_the_other_way_round(autojump_clock: MockClock) -> None:
    led = evolve(PWM, lamp=schema.Lamp(LampKind.LED, (27,)))
    async with running(led) as rig:
        rig.panel.show(READY)
        await rig.until(1.0)
        assert level(27) == 1
        rig.panel.adjust(settings(evolve(led, lamp=evolve(led.lamp, active_high=False))))
        await rig.until(2.0)
        assert level(27) == 0
        assert not rig.events


async def test_another_pin_of_the_button_is_the_one_that_counts(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        rig.panel.adjust(settings(evolve(PWM, button=schema.Button(pin=5))))
        await rig.until(2.0)
        rig.board.press()
        await rig.until(3.0)
        assert not rig.events, "on the old pin"
        rig.board.release()
        pin = Device.pin_factory.pin("GPIO5")
        pin.drive_low()
        await rig.until(4.0)
        pin.drive_high()
        await rig.until(5.0)
        assert rig.events == [Pressed(), Released(late_ms=50)]


async def test_a_button_that_is_down_meanwhile_is_let_go(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        rig.board.press()
        await rig.until(2.0)
        rig.panel.adjust(settings(evolve(PWM, button=schema.Button(debounce_ms=10))))
        await rig.until(3.0)
        assert [type(event).__name__ for event in rig.events] == ["Pressed", "Released", "FoundHeld"]


async def test_pins_that_are_none_are_told_and_right_ones_count_at_once(autojump_clock: MockClock) -> None:
    async with running(PWM) as rig:
        await rig.until(1.0)
        rig.panel.adjust(settings(evolve(PWM, button=schema.Button(pin=27))))
        await rig.until(20.0)
        (raised,) = rig.events
        assert isinstance(raised, FaultRaised) and "pin 27 is used twice" in raised.cause
        rig.panel.adjust(settings(PWM))
        await rig.until(20.1)
        assert isinstance(rig.events[1], FaultCleared), "without the rest of the back-off"
        rig.board.press()
        await rig.until(21.0)
        assert rig.events[2:] == [Pressed()]
