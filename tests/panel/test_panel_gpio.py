"""What the owner is told when the pins can't be had."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from gpiozero import Device, PinFactoryFallback
from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin

from kioskd.config import schema
from kioskd.config.schema import LampKind
from kioskd.panel.gpio import Board
from kioskd.panel.lamp import Light
from kioskd.panel.pin_factory import PanelError, no_pin_factory

PANEL = schema.Panel(lamp=schema.Lamp(LampKind.PWM, (27,)))
CHIP = Path("/dev/gpiochip0")


def no_edge() -> None:
    raise AssertionError("there was no edge")


@pytest.fixture
def factory() -> Iterator[MockFactory]:
    before = Device.pin_factory
    Device.pin_factory = MockFactory(pin_class=MockPWMPin)
    yield Device.pin_factory
    Device.pin_factory = before


def refusal(settings: schema.Panel) -> str:
    with pytest.raises(PanelError) as caught:
        Board(settings, no_edge)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("pin", [28, 99, -1, "GPIO99", "BOARD1", "nonsense", ""])
def test_a_wrong_pin_is_named_and_the_right_ones_are_told(factory: MockFactory, pin: int | str) -> None:
    message = refusal(evolve(PANEL, button=schema.Button(pin=pin)))
    assert message.startswith(f"panel.button.pin: {pin!r} is not a GPIO pin")
    assert "0 to 27" in message
    message = refusal(evolve(PANEL, lamp=schema.Lamp(LampKind.LED, (pin,))))
    assert message.startswith(f"panel.lamp.pins: {pin!r} is not a GPIO pin")


@pytest.mark.parametrize("pin", [17, "GPIO17", "BOARD11"])
def test_a_pin_used_twice_is_named_by_whatever_name(factory: MockFactory, pin: int | str) -> None:
    assert refusal(evolve(PANEL, lamp=schema.Lamp(LampKind.PWM, (pin,)))).startswith(
        f"panel.lamp.pins: pin {pin!r} is used twice"
    )


def test_a_refused_board_leaves_nothing_open(factory: MockFactory) -> None:
    refusal(evolve(PANEL, lamp=schema.Lamp(LampKind.RGB, (22, 23, 23))))
    board = Board(evolve(PANEL, lamp=schema.Lamp(LampKind.RGB, (22, 23, 24))), no_edge)
    board.show(Light(1.0, 0.5, 0.0))
    assert [factory.pin(pin).state for pin in (22, 23, 24)] == [1.0, 0.5, 0.0]
    board.close()
    board.close()
    assert [factory.pin(pin).function for pin in (17, 22, 23, 24)] == ["input"] * 4


@pytest.mark.parametrize(("kind", "pins"), [(LampKind.NONE, (27,)), (LampKind.PWM, ()), (LampKind.RGB, (1, 2))])
def test_a_lamp_with_the_wrong_number_of_pins(factory: MockFactory, kind: LampKind, pins: tuple[int, ...]) -> None:
    assert refusal(evolve(PANEL, lamp=schema.Lamp(kind, pins))).startswith(
        f"panel.lamp.pins: a lamp of kind {kind.value}"
    )


def test_a_factory_that_cannot_dim(factory: MockFactory) -> None:
    factory.pin_class = MockPin
    assert "panel.lamp.kind" in refusal(PANEL)
    Board(evolve(PANEL, lamp=schema.Lamp(LampKind.LED, (27,))), no_edge).close()


def test_a_pin_with_a_fixed_resistor(factory: MockFactory) -> None:
    # GPIO2 and GPIO3 have pull-ups of 1.8 kOhm on the board, for I2C.
    assert refusal(evolve(PANEL, button=schema.Button(pin=2, pull_up=False))).startswith("panel.button.pull_up: pin 2")


@pytest.mark.parametrize("active_high", [True, False])
def test_closing_switches_the_lamp_off(factory: MockFactory, active_high: bool) -> None:
    factory.pin_class = MockPin  # one that leaves the level alone when it is closed
    board = Board(evolve(PANEL, lamp=schema.Lamp(LampKind.LED, (27,), active_high)), no_edge)
    board.show(Light(1.0, 1.0, 1.0))
    assert factory.pin(27).state == active_high
    board.close()
    assert factory.pin(27).state != active_high


def test_a_backend_that_is_only_a_fallback_is_told_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fallback() -> MockFactory:
        warnings.warn(PinFactoryFallback("Falling back from lgpio: no such chip"), stacklevel=1)
        return MockFactory(pin_class=MockPWMPin)

    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setattr(Device, "_default_pin_factory", staticmethod(fallback))
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Board(PANEL, no_edge).close()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "panel: Falling back from lgpio: no such chip")
    ]


class SomebodyElse(MockPWMPin):
    """A pin that the kernel has given to another program (lgpio raises a class of its own for it)."""

    busy = True

    def __init__(self, factory: MockFactory, info: object) -> None:
        if SomebodyElse.busy:
            raise type("error", (Exception,), {})("'GPIO busy'")
        super().__init__(factory, info)


def test_a_busy_pin_is_told_and_can_be_opened_later(factory: MockFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    factory.pin_class = SomebodyElse
    message = refusal(PANEL)
    assert message.startswith("panel.button.pin: pin 17 is busy")
    monkeypatch.setattr(SomebodyElse, "busy", False)
    Board(PANEL, no_edge).close()


def test_any_other_error_is_told_with_its_class(factory: MockFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("smoke")

    monkeypatch.setattr(factory, "pin", broken)
    assert re.search(r"panel\.button\.pin: pin 17 .*RuntimeError: smoke", refusal(PANEL))


def test_no_gpio_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    message = no_pin_factory("Unable to load any default pin factory!", ["Falling back from lgpio: ..."], [])
    assert "no GPIO" in message
    assert "/dev/gpiochip*" in message


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio")
    message = no_pin_factory("can not open gpiochip", [], [(CHIP, False)])
    assert str(CHIP) in message
    assert "usermod -aG gpio" in message


def test_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    message = no_pin_factory("Unable to load", ["Falling back from lgpio: No module named 'lgpio'"], [(CHIP, True)])
    assert "No module named 'lgpio'" in message


def test_an_unknown_factory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "abacus")
    assert "GPIOZERO_PIN_FACTORY=abacus" in refusal(PANEL)


def test_gpiozero_is_told_which_factory_and_it_is_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    board = Board(evolve(PANEL, lamp=schema.Lamp(LampKind.LED, (27,))), no_edge)
    assert isinstance(Device.pin_factory, MockFactory)
    assert not board.down
    board.close()
    assert Device.pin_factory is None


PROBE = """
import os
from kioskd.config.schema import Panel
from kioskd.panel.gpio import Board
from kioskd.panel.pin_factory import PanelError
try:
    Board(Panel(), print)
except PanelError as error:
    print(error)
print(os.getcwd(), os.environ["LG_WD"])
"""


@pytest.mark.skipif(bool(list(Path("/dev").glob("gpiochip*"))), reason="this machine has GPIO")
@pytest.mark.parametrize("runtime", [True, False])
def test_a_machine_without_gpio_says_so_in_one_line_and_keeps_its_folders_clean(tmp_path: Path, runtime: bool) -> None:
    here, run, temp = (tmp_path / name for name in ("here", "run", "temp"))
    for folder in (here, run, temp):
        folder.mkdir()
    environ = {name: value for name, value in os.environ.items() if name not in ("LG_WD", "GPIOZERO_PIN_FACTORY")}
    environ |= {"TMPDIR": str(temp), "PYTHONPATH": str(Path(__file__).parents[2])}
    if runtime:
        environ["RUNTIME_DIRECTORY"] = f"{run}:/nowhere"
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=here, env=environ, capture_output=True, text=True, check=True
    )
    told, folders = done.stdout.splitlines()
    assert "no GPIO" in told
    assert done.stderr == ""
    cwd, lgpio_folder = folders.split()
    assert cwd == str(here)
    assert Path(lgpio_folder).is_relative_to(run if runtime else temp)
    assert list(here.iterdir()) == []
    assert list(temp.iterdir()) == []
