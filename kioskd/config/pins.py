"""The pins of a Raspberry Pi's 40-pin header, by the names that gpiozero takes."""

from __future__ import annotations

import re

HIGHEST_GPIO = 27  # the header carries GPIO0 to GPIO27 (BCM numbers)

# Position on the header (J8) -> BCM number; the rest is power and ground. Source: pinout.xyz, held against gpiozero.
_HEADER = {
    **{3: 2, 5: 3, 7: 4, 8: 14, 10: 15, 11: 17, 12: 18, 13: 27, 15: 22, 16: 23, 18: 24, 19: 10, 21: 9, 22: 25},
    **{23: 11, 24: 8, 26: 7, 27: 0, 28: 1, 29: 5, 31: 6, 32: 12, 33: 13, 35: 19, 36: 16, 37: 26, 38: 20, 40: 21},
}
_NAME = re.compile(r"(GPIO|BCM|BOARD|J8:|)(0|[1-9][0-9]?)")

ALLOWED_PINS = f"a BCM number from 0 to {HIGHEST_GPIO}, or a name such as GPIO17 or BOARD11"


def bcm_number(pin: int | str) -> int | None:
    """The BCM number of a pin, or None where the header has no GPIO of this number or name."""
    if isinstance(pin, int):
        return pin if 0 <= pin <= HIGHEST_GPIO else None
    if not (match := _NAME.fullmatch(pin)):
        return None
    number = int(match[2])
    if match[1] in ("BOARD", "J8:"):
        return _HEADER.get(number)
    return number if number <= HIGHEST_GPIO else None
