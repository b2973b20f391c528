"""The virtual board: gpiozero's own mock pins, a button that can be pressed and a lamp that can be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin

from kioskd.config.schema import Panel

_STATES_KEPT = 256  # gpiozero keeps every state a mock pin ever had; this is plenty for looking at one


class _Pin(MockPWMPin):  # type: ignore[misc]  # gpiozero has no types
    """A mock pin that something may be wired to, on a chip that may be unplugged."""

    def __init__(self, factory: _Factory, info: Any) -> None:
        self._wired_high: bool | None = None
        self._watched = False
        super().__init__(factory, info)

    def close(self) -> None:
        """As lgpio's pins do in gpiozero 2.0.1: edges end, but the pin believes that they are still detected."""
        self.frequency = None
        self.function = "input"
        self._watched = False

    def wire(self, high: bool | None) -> None:
        """Connect it to 3.3 V or to ground, or to nothing (None): then its pull resistor decides."""
        self._wired_high = high
        self.settle()

    def settle(self) -> None:
        """Take the level that the wiring or the pull resistor gives; an unplugged input takes it once plugged in."""
        if self._function != "input" or not self._factory.plugged:
            return
        high = self._wired_high
        if high is None:
            high = self._pull == "up"
        (self.drive_high if high else self.drive_low)()

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        self.settle()

    def _enable_event_detect(self) -> None:
        self._watched = True

    def _disable_event_detect(self) -> None:
        self._watched = False

    def _call_when_changed(self) -> None:
        if self._watched:
            super()._call_when_changed()

    def _get_state(self) -> Any:
        self._factory.check_plugged()
        return super()._get_state()

    def _set_state(self, value: float) -> None:
        self._factory.check_plugged()
        super()._set_state(value)

    def _change_state(self, value: float) -> Any:
        changed = super()._change_state(value)
        del self.states[:-_STATES_KEPT]
        return changed


class _Factory(MockFactory):  # type: ignore[misc]  # gpiozero has no types
    """Mock pins that can be taken away, as the kernel can unbind a GPIO chip."""

    def __init__(self) -> None:
        super().__init__(pin_class=_Pin)
        self.plugged = True

    def check_plugged(self) -> None:
        """Raises OSError where the board was unplugged."""
        if not self.plugged:
            raise OSError("the virtual board is unplugged")

    def pin(self, name: int | str, pin_class: Any = None, **kwargs: Any) -> Any:
        """As gpiozero's; raises OSError while unplugged."""
        self.check_plugged()
        return super().pin(name, pin_class, **kwargs)


class VirtualBoard:
    """A button and a lamp, wired as these settings say, on a machine without hardware.

    While `installed`, every gpiozero device that is opened sits on it. `press` and `release` run the callbacks of
    the button's edges in the calling thread. Raises gpiozero's PinInvalidPin for a pin that no board has.
    """

    def __init__(self, settings: Panel) -> None:
        self._factory = _Factory()
        self._pressed_is_high = not settings.button.pull_up
        self._active_high = settings.lamp.active_high
        self._button = self._factory.pin(settings.button.pin)
        self._lamp = tuple(self._factory.pin(pin) for pin in settings.lamp.pins)

    @contextmanager
    def installed(self) -> Iterator[VirtualBoard]:
        """Be gpiozero's default pin factory for a while."""
        before = Device.pin_factory
        Device.pin_factory = self._factory
        try:
            yield self
        finally:
            Device.pin_factory = before

    def press(self) -> None:
        """Close the button's contact."""
        self._button.wire(self._pressed_is_high)

    def release(self) -> None:
        """Open the button's contact."""
        self._button.wire(None)

    @property
    def pressed(self) -> bool:
        """True while the contact is closed."""
        return self._button._wired_high is not None

    @property
    def lamp(self) -> tuple[float, ...]:
        """The light of each of the lamp's pins, in their order: 0.0 is dark, 1.0 full; dark where nobody drives it."""
        return tuple(self._brightness(pin) for pin in self._lamp)

    @property
    def open_pins(self) -> tuple[str, ...]:
        """The names of the pins that some device has opened, sorted."""
        held = (info.name for info, users in self._factory._reservations.items() if any(user() for user in users))
        return tuple(sorted(held))

    def lose_edges(self) -> None:
        """Tell no edge any more until the pins are opened again, as when the kernel's queue ran over."""
        self._button.when_changed = None

    def unplug(self) -> None:
        """Take the GPIO chip away: from now on every use of it fails, and no edge is told."""
        self._factory.plugged = False

    def plug(self) -> None:
        """Bring the GPIO chip back."""
        self._factory.plugged = True
        self._button.settle()

    def _brightness(self, pin: _Pin) -> float:
        if pin._function != "output":
            return 0.0
        state = float(pin._state)
        return state if self._active_high else 1.0 - state
