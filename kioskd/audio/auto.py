"""`auto` for a microphone or speaker: the best card that is there at this moment, by a fixed order.

1. USB. 2. A sound HAT or anything else on I2S (and a PC's own sound chip). 3. The Pi's own jack. 4. HDMI.
5. Loopback and dummy cards. Where there is no card at all: ALSA's `default`, a sound server's.
Between two of a kind the one that the kernel found first. A card that can't be opened (another program holds it) is
passed over for the next. A card that works is kept, also where a better one is plugged in: a kiosk that changes its
voice by itself would surprise, and the next start, or the loss of this card, takes the better one.
"""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from kioskd.audio.errors import DeviceMissingError, Direction
from kioskd.value import Value

AUTO = "auto"
NO_CARD = "default"

_WORDS = {Direction.CAPTURE: "capture", Direction.PLAYBACK: "playback"}
_KINDS = ("USB", "HAT, I2S or built-in", "headphone jack", "HDMI", "no hardware")
# by the card's driver and names in /proc/asound/cards; what none of these matches is of the second kind
_PATTERNS = {0: r"usb", 2: r"bcm2835.*headphones|bcm2835.*alsa", 3: r"hdmi|displayport", 4: r"loopback|dummy"}


@frozen(eq=False, repr=False)
class Choice(Value):
    """What `auto` would open."""

    name: str
    """Its ALSA name, such as plughw:CARD=Device,DEV=0."""
    kind: str


def resolve(device: str, direction: Direction, proc: Path = Path("/proc")) -> str:
    """The ALSA name to open for a device of the settings: `auto` becomes a card's, all else stays as it is."""
    if device != AUTO:
        return device
    choice = choose(direction, proc)
    return choice.name if choice else NO_CARD


def names_to_try(device: str, direction: Direction, proc: Path = Path("/proc")) -> list[str]:
    """The ALSA names to open for a device of the settings, until one can be: `auto` is each card, the best first."""
    if device != AUTO:
        return [device]
    return [choice.name for choice in choices(direction, proc)] or [NO_CARD]


def choose(direction: Direction, proc: Path = Path("/proc")) -> Choice | None:
    """The best card for this direction; None if there is none. Never raises."""
    return next(iter(choices(direction, proc)), None)


def choices(direction: Direction, proc: Path = Path("/proc")) -> list[Choice]:
    """All cards for this direction, the best first. Never raises."""
    asound = proc / "asound"
    pcms = _read(asound / "pcm")  # a line each: "01-00: USB Audio : USB Audio : playback 1 : capture 1"
    cards = _read(asound / "cards")  # " 1 [Device         ]: USB-Audio - USB Audio Device\n    C-Media ..."
    found: list[tuple[int, int, int]] = []
    for line in pcms.splitlines():
        number = re.match(r"(\d+)-(\d+): ", line)
        if number and re.search(rf": {_WORDS[direction]} \d+", line):
            card, pcm = int(number[1]), int(number[2])
            described = re.search(rf"^ *{card} \[.*", cards, re.MULTILINE)
            found.append((_kind(described[0] if described else "", line), card, pcm))
    return [
        Choice(f"plughw:CARD={_read(asound / f'card{card}' / 'id').strip() or card},DEV={pcm}", _KINDS[kind])
        for kind, card, pcm in sorted(found)
    ]


def nothing_there(direction: Direction) -> DeviceMissingError:
    """What to say when there is neither a card nor a default."""
    return DeviceMissingError(
        AUTO, direction, "there is no sound card for it", remedy="plug one in; kioskd finds it by itself"
    )


def _kind(card: str, pcm: str) -> int:
    """Its place in the order. A card of several PCMs, such as a PC's, may have HDMI beside the jack."""
    text = f"{card} {pcm}".lower()
    return next((kind for kind, pattern in _PATTERNS.items() if re.search(pattern, text)), 1)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # a machine without sound cards, or one that is just being unplugged
