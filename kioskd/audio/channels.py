"""One channel of a microphone that has several: how many to ask the device for, so that none are mixed."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence

import alsaaudio

from kioskd.audio.errors import Direction, WrongFormatError, error_of

_STEREO = 2  # what a sound server has, where it doesn't say


def channels_to_open(device: str, channel: int | None) -> int:
    """How many channels to open, to get number `channel` (from 0) as it is; None: one, mixed of all.

    A card tells what it has; of a sound server at least stereo is asked for. Raises DeviceError.
    """
    if channel is None:
        return 1
    card = re.match(r"(?:plug)?(hw:.*)", device)
    if not card:
        return max(_STEREO, channel + 1)
    return fewest(native_channels(card[1], device), channel, device)


def fewest(native: Sequence[int], channel: int, device: str) -> int:
    """The smallest number of channels that the hardware does by itself and that holds `channel`."""
    enough = [count for count in native if count > channel]
    if not enough:
        raise WrongFormatError(
            device,
            Direction.CAPTURE,
            f"has no channel {channel}: it has {max(native, default=0)}, and they count from 0",
            remedy="set audio.microphone_channel to one that there is, or leave it out to mix them",
        )
    return min(enough)


def native_channels(hardware: str, device: str) -> tuple[int, ...]:
    """What a card does without conversion. Raises DeviceError."""
    try:
        pcm = alsaaudio.PCM(type=alsaaudio.PCM_CAPTURE, mode=alsaaudio.PCM_NONBLOCK, device=hardware)
    except alsaaudio.ALSAAudioError as error:
        raise error_of(error, device, Direction.CAPTURE) from error
    try:
        supported = pcm.getchannels()
    except alsaaudio.ALSAAudioError as error:
        raise error_of(error, device, Direction.CAPTURE) from error
    finally:
        pcm.close()
    return (supported,) if isinstance(supported, int) else tuple(map(int, supported))


def picked(pcm: bytes, channel: int, channels: int) -> bytes:
    """One channel of interleaved 16-bit frames."""
    return array("h", pcm)[channel::channels].tobytes() if channels > 1 else pcm
