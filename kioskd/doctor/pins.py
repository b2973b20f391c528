"""Button and lamp: is there a GPIO chip, are the lines free, and may the kiosk's user have them?"""

from __future__ import annotations

import grp
import os
import pwd

import trio

from kioskd.config.schema import LampKind
from kioskd.doctor.finding import Look, failed, passed, skipped, warned
from kioskd.doctor.patient import MUTE, Patient
from kioskd.panel.gpio import Board
from kioskd.panel.pin_factory import LOCAL_FACTORIES, PanelError

_GROUPS = {"audio": "/dev/snd", "gpio": "/dev/gpiochip0"}


async def lines(patient: Patient) -> Look:
    """Are the lines of button and lamp free?"""
    if patient.silence:
        return skipped(MUTE)
    if patient.runs:
        assert patient.status is not None
        for fault in patient.status.get("faults", ()):
            if fault.get("fault") == "panel":
                return failed(fault.get("cause") or "the running kiosk has lost its panel", "gpioinfo")
            if fault.get("fault") == "button-stuck":
                return failed("the button is down all the time", "pinctrl get; check the button's wiring")
        return passed("the running kiosk has them")
    elsewhere = patient.environ.get("GPIOZERO_PIN_FACTORY", "lgpio") not in LOCAL_FACTORIES
    if not elsewhere and not any(patient.path("/dev").glob("gpiochip*")):
        return failed(
            "this machine has no GPIO (no /dev/gpiochip*)", "ls /dev/gpiochip*   # a kiosk needs a Raspberry Pi"
        )
    return await trio.to_thread.run_sync(_open, patient, abandon_on_cancel=True)


def _open(patient: Patient) -> Look:
    try:
        board = Board(patient.panel, lambda: None)
        try:
            down = board.down
        finally:
            board.close()
    except PanelError as error:
        return failed(str(error), "gpioinfo")
    lamp = patient.panel.lamp
    shown = f"button {patient.panel.button.pin}" + (
        f", lamp {', '.join(map(str, lamp.pins))}" if lamp.kind is not LampKind.NONE else ""
    )
    if down:
        return warned(f"{shown}: the button is down now; is nobody pressing it?", "pinctrl get")
    return passed(f"{shown}: free")


async def groups(patient: Patient) -> Look:
    """May the kiosk's user use sound card and pins?"""
    try:
        user = pwd.getpwnam(patient.user)
    except KeyError:
        if os.geteuid() == 0:
            return warned(
                f"there is no user {patient.user}: kioskd isn't installed as a service", "sudo scripts/install"
            )
        user = pwd.getpwuid(os.geteuid())
    missing = []
    for name, node in _GROUPS.items():
        if not patient.path(node).exists():
            continue  # a machine without sound card or pins: told in another line
        try:
            group = grp.getgrnam(name)
        except KeyError:
            continue
        if user.pw_name not in group.gr_mem and user.pw_gid != group.gr_gid and user.pw_uid != 0:
            missing.append(name)
    if missing:
        into = ",".join(missing)
        return failed(
            f"{user.pw_name} is not in the group {' and '.join(missing)}",
            f"sudo usermod -aG {into} {user.pw_name} && sudo systemctl restart {patient.unit}",
        )
    needed = [name for name, node in _GROUPS.items() if patient.path(node).exists()]
    return (
        passed(f"{user.pw_name} has {' and '.join(needed)}") if needed else skipped("there is no device to be allowed")
    )
