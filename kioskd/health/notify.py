"""What the service manager is told: sd_notify(3) and sd_watchdog_enabled(3), without a library. It never raises."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

LONGEST_VALUE = 400  # characters; a status is one line for a person


def notify(environ: Mapping[str, str] | None = None, **assignments: object) -> bool:
    """Send `NAME=value` for each assignment, as one message; True if somebody took it.

    Without $NOTIFY_SOCKET nothing is done. `environ`: instead of the process's own.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    message = "\n".join(f"{name}={_one_line(value)}" for name, value in assignments.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # a manager that doesn't read must not hold the kiosk up
            channel.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except (OSError, ValueError) as error:
        log.debug("the service manager can't be told: %s", error)
        return False
    return True


def watchdog_s(environ: Mapping[str, str] | None = None) -> float | None:
    """Within how many seconds the service manager wants to hear WATCHDOG=1; None: it doesn't wait for it."""
    variables = os.environ if environ is None else environ
    if variables.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for our parent
    try:
        within_us = int(variables.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return within_us / 1e6 if within_us > 0 else None


def _one_line(value: object) -> str:
    """As it may stand in a message, whose lines are assignments."""
    return "".join(character if character.isprintable() else " " for character in str(value))[:LONGEST_VALUE]
