"""gpiozero's pin factory: opened without noise, given up cleanly, its failures told in the owner's words."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pwd
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_FACTORY_VARIABLE = "GPIOZERO_PIN_FACTORY"
_LGPIO_FOLDER_VARIABLE = "LG_WD"
LOCAL_FACTORIES = ("", "lgpio", "rpigpio", "native")


class PanelError(Exception):
    """The board can't be used: one line that says what, where, and what to do."""


def ensure_pin_factory() -> bool:
    """Let gpiozero choose its pin factory, as GPIOZERO_PIN_FACTORY says; True if it had none before.

    Raises PanelError where there is none that works.
    """
    try:
        from gpiozero import Device
    except ImportError as error:
        raise PanelError(f"panel: gpiozero cannot be loaded ({error}); install kioskd with its dependencies") from None
    if Device.pin_factory is not None:
        return False
    reasons: list[str] = []
    try:
        # gpiozero warns of every backend that it tries in vain; the reasons belong into the one line.
        with warnings.catch_warnings(record=True) as caught, _lgpio_folder():
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)  # swig's, of lgpio's types, on Python 3.13
            try:
                Device.ensure_pin_factory()
            finally:
                reasons = [str(warning.message) for warning in caught]
    except Exception as error:  # backends are third-party: each raises classes of its own
        raise PanelError(no_pin_factory(str(error), reasons, _chips())) from None
    for reason in reasons:
        logger.warning("panel: %s", reason)
    return True


def discard_pin_factory() -> None:
    """Give up gpiozero's pin factory, so that the next one opens the hardware anew. Never raises."""
    from gpiozero import Device

    factory: Any = Device.pin_factory
    Device.pin_factory = None
    if factory is None:
        return
    try:
        factory.close()
    except Exception as error:  # the chip is gone: its pins can't be reset, but its handle must still be closed
        logger.debug("Closing the pin factory: %s: %s", type(error).__name__, error)
        factory.pins.clear()
        with contextlib.suppress(Exception):
            factory.close()


def no_pin_factory(error: str, reasons: Sequence[str], chips: Sequence[tuple[Path, bool]]) -> str:
    """Why no pins can be had: gpiozero's error and warnings, the GPIO devices and whether we may use them."""
    name = os.environ.get(_FACTORY_VARIABLE, "")
    if name.lower() not in LOCAL_FACTORIES:
        return f"panel: the pin factory {_FACTORY_VARIABLE}={name} does not work ({error}); unset it to use lgpio"
    if not chips:
        return "panel: this machine has no GPIO (there is no /dev/gpiochip*); kioskd's panel needs a Raspberry Pi"
    if not any(usable for _, usable in chips):
        return (
            f"panel: no permission to use {chips[0][0]}; add the user to its group: "
            f"usermod -aG gpio {_user()}, then restart kioskd"
        )
    return f"panel: no pin factory works here ({'; '.join(reasons) or error}); install lgpio, then restart kioskd"


def _chips() -> list[tuple[Path, bool]]:
    """The GPIO devices of this machine, and whether this process may read and write them."""
    return [(chip, os.access(chip, os.R_OK | os.W_OK)) for chip in sorted(Path("/dev").glob("gpiochip*"))]


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a dynamic user of systemd's
        return str(os.geteuid())


@contextlib.contextmanager
def _lgpio_folder() -> Iterator[None]:
    """Give lgpio a folder of our own for its FIFO, and take its hands off our working directory.

    lgpio (0.2.2) makes `.lgd-nfy0` in the folder named by LG_WD, or else in the working directory, which a daemon
    can't write; two processes in one folder would take each other's edges. On import it *changes the process's
    working directory* to that folder.
    """
    name = os.environ.get(_FACTORY_VARIABLE, "").lower()
    if name not in ("", "lgpio") or "lgpio" in sys.modules:
        yield
        return
    if not os.environ.get(_LGPIO_FOLDER_VARIABLE):
        os.environ[_LGPIO_FOLDER_VARIABLE] = _private_folder()
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _private_folder() -> str:
    """systemd's runtime directory, which it empties and removes; elsewhere a temporary folder of our own."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if runtime and os.access(runtime, os.W_OK):
        return runtime
    folder = tempfile.mkdtemp(prefix="kioskd-gpio-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
