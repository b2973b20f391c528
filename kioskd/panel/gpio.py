"""The buttons and the lamp on GPIO pins, through gpiozero and whichever pin factory it is configured with."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from kioskd.config.schema import Button, Lamp, LampKind, OwnerButton, Panel
from kioskd.panel.lamp import DARK, Light
from kioskd.panel.pin_factory import PanelError, discard_pin_factory, ensure_pin_factory

logger = logging.getLogger(__name__)

_PINS_OF = {LampKind.NONE: 0, LampKind.LED: 1, LampKind.PWM: 1, LampKind.RGB: 3}


class Board:
    """The open pins, to be used from one thread. Buttons are told raw, their bounces included.

    `on_edge` is called at every edge of a button, in a thread of gpiozero's; it must not raise. All raise
    PanelError. A pin factory that was there before (`Device.pin_factory`) is used and left as it is.
    """

    def __init__(self, settings: Panel, on_edge: Callable[[], None]) -> None:
        self._button: Any = None
        self._owner_button: Any = None
        self._leds: list[Any] = []
        self._take_kind(settings.lamp)
        self._owns_factory = ensure_pin_factory()
        try:
            with _pin_errors("panel.button", settings.button.pin):
                self._button = _open_button(settings.button, on_edge)
            if settings.owner_button is not None:
                with _pin_errors("panel.owner_button", settings.owner_button.pin):
                    self._owner_button = _open_button(settings.owner_button, on_edge)
            self._open_lamp(settings.lamp)
        except PanelError:
            self.close()
            raise

    def change_lamp(self, settings: Lamp) -> None:
        """Another lamp, dark at first; the buttons stay as they are."""
        self._close_lamp()
        self._take_kind(settings)
        self._open_lamp(settings)

    def _take_kind(self, settings: Lamp) -> None:
        self._kind = settings.kind
        self._shown = self._values(DARK)
        if len(settings.pins) != _PINS_OF[self._kind]:
            raise PanelError(
                f"panel.lamp.pins: a lamp of kind {self._kind.value} has {_PINS_OF[self._kind]} pins, "
                f"not {len(settings.pins)}"
            )

    def _open_lamp(self, settings: Lamp) -> None:
        for pin in settings.pins:
            with _pin_errors("panel.lamp", pin):
                self._leds.append(_open_led(settings, pin))

    def _close_lamp(self) -> None:
        for led in self._leds:
            with _ignored("switching the lamp off"):
                led.value = 0
            with _ignored("closing the lamp"):
                led.close()
        self._leds.clear()

    @property
    def dims(self) -> bool:
        """True for a lamp that can be more than on or off."""
        return self._kind in (LampKind.PWM, LampKind.RGB)

    @property
    def down(self) -> bool:
        """The level of the button: True while its contact is closed."""
        with _told("panel: the button cannot be read"):
            return bool(self._button.value)

    @property
    def owner_down(self) -> bool:
        """The level of the owner's button; False where there is none."""
        if self._owner_button is None:
            return False
        with _told("panel: the owner's button cannot be read"):
            return bool(self._owner_button.value)

    def show(self, light: Light) -> None:
        """Set the lamp, as well as its kind can show this light."""
        values = self._values(light)
        if values == self._shown:
            return
        with _told("panel: the lamp cannot be set"):
            for led, value in zip(self._leds, values, strict=True):
                led.value = value
        self._shown = values

    def close(self) -> None:
        """Lamp off, pins given back. Never raises; a second time does nothing."""
        self._close_lamp()
        for button in (self._button, self._owner_button):
            if button is None:
                continue
            with _ignored("ending the edge detection"):
                # gpiozero 2.0.1 leaves it on at close, and then won't start it when the pin is opened again.
                button.pin.when_changed = None
            with _ignored("closing a button"):
                button.close()
        self._button = self._owner_button = None
        if self._owns_factory:
            self._owns_factory = False
            discard_pin_factory()

    def _values(self, light: Light) -> tuple[float, ...]:
        if self._kind is LampKind.RGB:
            return (light.red, light.green, light.blue)
        if self._kind is LampKind.PWM:
            return (light.brightness,)
        return (float(light.lit),) * _PINS_OF[self._kind]


def _open_button(settings: Button | OwnerButton, on_edge: Callable[[], None]) -> Any:
    # Not gpiozero.Button: it runs a thread for its "held" event.
    from gpiozero import DigitalInputDevice

    button = DigitalInputDevice(settings.pin, pull_up=settings.pull_up)
    button.when_activated = on_edge
    button.when_deactivated = on_edge
    return button


def _open_led(settings: Lamp, pin: int | str) -> Any:
    # Not gpiozero.RGBLED: where its second pin fails, it leaves the first one open.
    from gpiozero import LED, PWMLED

    dimmable = settings.kind in (LampKind.PWM, LampKind.RGB)
    return (PWMLED if dimmable else LED)(pin, active_high=settings.active_high)


@contextlib.contextmanager
def _pin_errors(section: str, pin: int | str) -> Iterator[None]:
    """Opening one pin: gpiozero's and the backend's errors become a line for the owner."""
    try:
        yield
    except Exception as error:  # backends are third-party: each raises classes of its own
        # The half-made device in these frames would keep its pin reserved for as long as the error lives.
        traceback.clear_frames(error.__traceback__)
        raise PanelError(_explain(error, section, pin)) from None


def _explain(error: Exception, section: str, pin: int | str) -> str:
    from gpiozero import GPIOPinInUse, PinFixedPull, PinInvalidPin, PinPWMError

    key = f"{section}.pins" if section == "panel.lamp" else f"{section}.pin"
    match error:
        case PinInvalidPin():
            allowed = "use a BCM number from 0 to 27, or a name such as GPIO17 or BOARD11"
            return f"{key}: {pin!r} is not a GPIO pin of this board; {allowed}"
        case GPIOPinInUse():
            return f"{key}: pin {pin!r} is used twice; give each button and each lamp a pin of its own"
        case PinPWMError():
            return "panel.lamp.kind: this pin factory cannot dim a lamp; set it to led, or use the pin factory lgpio"
        case PinFixedPull():
            return f"{section}.pull_up: pin {pin!r} has a fixed resistor; set the other value, or use another pin"
        case _ if "busy" in str(error).lower():
            return f"{key}: pin {pin!r} is busy: stop the program or driver that `gpioinfo` names, or use another pin"
        case PermissionError():
            return f"{key}: no permission to use pin {pin!r}; add kioskd's user to the group gpio, then restart kioskd"
    return f"{key}: pin {pin!r} cannot be opened ({type(error).__name__}: {error}); check the wiring and the settings"


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Using an open pin: whatever goes wrong means that the board is gone."""
    try:
        yield
    except Exception as error:  # backends are third-party: each raises classes of its own
        reason = f"{type(error).__name__}: {error}"
        raise PanelError(f"{what} ({reason}); was the GPIO chip taken away? kioskd opens it again by itself") from None


@contextlib.contextmanager
def _ignored(what: str) -> Iterator[None]:
    """Closing: the board may be gone already, and the rest must be closed all the same."""
    try:
        yield
    except Exception as error:  # backends are third-party: each raises classes of its own
        logger.debug("Panel: %s: %s: %s", what, type(error).__name__, error)
