"""What can be wrong with a sound device, in words for its owner: which device, the cause, the remedy."""

from __future__ import annotations

import errno
import os
import re
from enum import Enum
from pathlib import Path

from kioskd.audio.pcm import RATE_HZ


class Direction(Enum):
    """Which way the sound goes. The value is the last letter of the kernel's device node, pcmC0D0c."""

    CAPTURE = "c"
    PLAYBACK = "p"

    @property
    def noun(self) -> str:
        """What the owner calls a device of this direction."""
        return "microphone" if self is Direction.CAPTURE else "speaker"


class DeviceError(Exception):
    """A sound device can't be used; its text names the device, the cause and the remedy, in one line."""

    remedy = "run `kioskd devices` to see what there is, and set audio.{noun}"

    def __init__(self, device: str, direction: Direction, cause: str, remedy: str | None = None) -> None:
        self.device = device
        self.direction = direction
        self.cause = cause
        remedy = (remedy or self.remedy).format(noun=direction.noun)
        super().__init__(f"{direction.noun} {device!r}: {cause}; {remedy}")


class DeviceMissingError(DeviceError):
    """No such device, or the sound server behind it isn't running."""

    remedy = "plug it in, or run `kioskd devices` and set audio.{noun} to one that is there"


class DeviceBusyError(DeviceError):
    """Another process holds it."""

    remedy = "stop that process, or run `kioskd devices` and set audio.{noun} to a shared device such as 'default'"


class DeviceForbiddenError(DeviceError):
    """The kernel's permissions keep kioskd from it."""

    remedy = "add the user that runs kioskd to the group 'audio' (`usermod -aG audio USER`)"


class WrongFormatError(DeviceError):
    """It can't do s16le mono at 24 kHz, and no converter stands between."""

    remedy = "set audio.{noun} to its name with 'plughw:' or 'plug:' in front (see `kioskd devices`)"


class DeviceLostError(DeviceError):
    """It was open and went away, or stopped moving sound."""

    remedy = "check its cable and power; kioskd tries again by itself (`kioskd devices` shows what is there)"


_MEANING: dict[int, type[DeviceError]] = {
    errno.ENOENT: DeviceMissingError,
    errno.ENODEV: DeviceMissingError,
    errno.ENXIO: DeviceMissingError,
    errno.ECONNREFUSED: DeviceMissingError,
    errno.ETIMEDOUT: DeviceMissingError,
    errno.EBUSY: DeviceBusyError,
    errno.EAGAIN: DeviceBusyError,
    errno.EACCES: DeviceForbiddenError,
    errno.EPERM: DeviceForbiddenError,
    errno.EINVAL: WrongFormatError,
}
# ALSAAudioError carries the text of the errno, never its number
_MEANING_OF_TEXT = {os.strerror(number): meaning for number, meaning in _MEANING.items()}


def error_of(error: Exception, device: str, direction: Direction, proc: Path = Path("/proc")) -> DeviceError:
    """What an ALSAAudioError at opening a device means."""
    text = text_of(error)
    meaning = _MEANING_OF_TEXT.get(text, DeviceError)
    if meaning is DeviceBusyError:
        holder = holder_of(device, direction, proc)
        return DeviceBusyError(
            device, direction, f"is in use by {holder}" if holder else "is in use by another process"
        )
    if meaning is WrongFormatError:
        return WrongFormatError(device, direction, f"can't do s16le mono at {RATE_HZ} Hz ({text})")
    if text == os.strerror(errno.ECONNREFUSED):
        return DeviceMissingError(
            device,
            direction,
            f"the sound server behind it isn't running ({text})",
            remedy="start the server, or set audio.{noun} to the card itself (see `kioskd devices`)",
        )
    if meaning is DeviceMissingError:
        return DeviceMissingError(device, direction, f"isn't there ({text})")
    return meaning(device, direction, f"can't be opened ({text})")


def text_of(error: Exception) -> str:
    """The errno's text out of "No such device [plughw:0,0]"."""
    return re.sub(r" \[.*\]$", "", str(error))


def holder_of(device: str, direction: Direction, proc: Path = Path("/proc")) -> str | None:
    """Who holds a device's card, as "name (pid 123)"; None where /proc doesn't tell. Never raises.

    A device without a card in its name (`default`) is looked for on all cards.
    """
    card = card_index(device, proc)
    return _holder_by_status(card, direction, proc) or _holder_by_descriptor(card, direction, proc)


def _holder_by_status(card: int | None, direction: Direction, proc: Path) -> str | None:
    """The kernel names the owner of each open stream, to everybody. The owner is a thread; its process is meant."""
    pattern = f"asound/card{'[0-9]*' if card is None else card}/pcm*{direction.value}/sub*/status"
    for status in sorted(proc.glob(pattern)):
        try:
            owner = re.search(r"^owner_pid\s*:\s*([0-9]+)", status.read_text(), re.MULTILINE)
            if owner is None:
                continue  # "closed"
            tgid = re.search(r"^Tgid:\s*([0-9]+)", (proc / owner[1] / "status").read_text(), re.MULTILINE)
            pid = tgid[1] if tgid else owner[1]
            return f"{(proc / pid / 'comm').read_text().strip()} (pid {pid})"
        except OSError:
            continue  # it ended meanwhile, or lives in another container
    return None


def _holder_by_descriptor(card: int | None, direction: Direction, proc: Path) -> str | None:
    """Who has the device's node open, as far as this user may see."""
    node = re.compile(rf"/dev/snd/pcmC{'[0-9]+' if card is None else card}D[0-9]+{direction.value}$")
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: path.name):
        try:
            if any(node.match(str(link.readlink())) for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # it ended meanwhile, or isn't ours to look into
    return None


def card_index(device: str, proc: Path = Path("/proc")) -> int | None:
    """The card's number in an ALSA name such as `plughw:CARD=Device,DEV=0` or `hw:1,0`; None where it names none."""
    found = re.match(r"[A-Za-z0-9_]+:(?:CARD=)?([^,]+)", device)
    if not found:
        return None
    name = found[1]
    if name.isdecimal():
        return int(name)
    try:
        return int((proc / "asound" / name).readlink().name.removeprefix("card"))
    except (OSError, ValueError):
        return None
