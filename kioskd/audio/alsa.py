"""Opening ALSA PCMs, non-blocking, in the one format of kioskd, with errors that speak to the owner.

A PCM belongs to the thread that opened it, but for `PlaybackPcm.drop` and `avail`, which a lock of the caller guards.
Facts about pyalsaaudio 0.11 (no `prepare`, what -32 means, negative `avail`) were measured, see docs of each method.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import alsaaudio
from attrs import define, field

from kioskd.audio.auto import AUTO, NO_CARD, names_to_try, nothing_there
from kioskd.audio.channels import channels_to_open, picked
from kioskd.audio.errors import (
    DeviceError,
    DeviceLostError,
    DeviceMissingError,
    Direction,
    WrongFormatError,
    error_of,
    text_of,
)
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ

log = logging.getLogger(__name__)

_XRUN = -errno.EPIPE  # pyalsaaudio returns it from read() and write() in place of a count of frames

_Result = TypeVar("_Result")
_Device = TypeVar("_Device")


@define(eq=False, repr=False)
class _Pcm:
    """What capture and playback have in common."""

    device: str
    period_frames: int
    """Frames in a period, as the device granted it (it may differ from what was asked)."""
    buffer_frames: int
    """Frames in the device's buffer, as granted."""
    _pcm: Any = field(repr=False)
    _poller: select.poll = field(factory=select.poll, init=False, repr=False)
    _descriptors: frozenset[int] = field(default=frozenset(), init=False, repr=False)
    _closed: bool = field(default=False, init=False)

    _direction: ClassVar[Direction]

    def __attrs_post_init__(self) -> None:
        for descriptor, events in self._told(self._pcm.polldescriptors):
            self._poller.register(descriptor, events)
            self._descriptors |= {descriptor}

    def watch(self, descriptor: int) -> None:
        """Let `wait` also return when this descriptor becomes readable (a wake-up for the thread)."""
        self._poller.register(descriptor, select.POLLIN)

    def wait(self, timeout_ms: float) -> bool:
        """Wait until the device wants to move at least a period, or a watched descriptor is readable; False: neither.

        It may return True without need: ask `read` or `write`, which never wait.
        """
        ready = self._poller.poll(max(0.0, timeout_ms))
        own = [(descriptor, events) for descriptor, events in ready if descriptor in self._descriptors]
        if own:
            self._told(self._pcm.polldescriptors_revents, own)  # not for its answer: Pulse's plugin rearms only here
        return bool(ready)

    def avail(self) -> int:
        """Frames that can be read, or written, now. Negative after an xrun on Pulse. Raises DeviceLostError."""
        return int(self._told(self._pcm.avail))

    @property
    def running(self) -> bool:
        """True while the device moves sound (Pulse still says so after starvation). Raises DeviceLostError."""
        return bool(self._told(self._pcm.state) == alsaaudio.PCM_STATE_RUNNING)

    def close(self) -> None:
        """Give the device back; harmless when it is lost or closed already."""
        if not self._closed:
            self._closed = True
            try:
                self._pcm.close()
            except alsaaudio.ALSAAudioError:
                return  # a device that has gone can't be closed any better

    def _told(self, call: Callable[..., _Result], *arguments: object) -> _Result:
        """Call into ALSA, with its error told as DeviceLostError."""
        try:
            return call(*arguments)
        except alsaaudio.ALSAAudioError as error:
            raise DeviceLostError(self.device, self._direction, f"was lost ({text_of(error)})") from error


@define(eq=False, repr=False)
class CapturePcm(_Pcm):
    """A microphone, open and non-blocking. The first `read` starts it."""

    channels: int = 1
    """How many are open."""
    channel: int = 0
    """Which of them is read."""

    _direction = Direction.CAPTURE

    def read(self) -> bytes | None:
        """At most a period of what was captured, in whole frames; b"" when there is nothing yet, None for an overrun.

        After an overrun sound is missing, and the next read goes on. Raises DeviceLostError.
        """
        try:  # by hand: it is called fifty times a second, for ever
            count, data = self._pcm.read()
        except alsaaudio.ALSAAudioError as error:
            raise DeviceLostError(self.device, self._direction, f"was lost ({text_of(error)})") from error
        if count == _XRUN:
            return None
        if count < 0:
            raise DeviceLostError(self.device, self._direction, f"was lost ({os.strerror(-count)})")
        pcm: bytes = data[: count * FRAME_BYTES * self.channels]
        return pcm if self.channels == 1 else picked(pcm, self.channel, self.channels)


class PlaybackPcm(_Pcm):
    """A speaker, open and non-blocking. The first `write` prepares it and, with enough sound, starts it."""

    _direction = Direction.PLAYBACK

    @property
    def card(self) -> int | None:
        """The number of the sound card that plays; None for what isn't one, such as a sound server."""
        number = int(self._told(self._pcm.info).get("card_no", -1))
        return number if number >= 0 else None

    def write(self, data: bytes) -> int | None:
        """Write whole frames; the number of frames taken (0: no room now), None for an underrun.

        After an underrun nothing of `data` was taken: write it again. Raises DeviceLostError.
        """
        count = int(self._told(self._pcm.write, data))
        if count == _XRUN:
            return None
        if count == -errno.EAGAIN:
            return 0
        if count < 0:
            raise DeviceLostError(self.device, self._direction, f"was lost ({os.strerror(-count)})")
        return count

    def drop(self) -> None:
        """Throw away what is in the device's buffer: silence at once. Raises DeviceLostError."""
        self._told(self._pcm.drop)


def open_capture(device: str, period_frames: int, buffer_frames: int, channel: int | None = None) -> CapturePcm:
    """Open a microphone (s16le mono 24 kHz, non-blocking): one of its channels, from 0, or (None) all of them mixed.

    `auto` is resolved here. The buffer is rounded up to whole periods. Raises DeviceMissingError, DeviceBusyError,
    DeviceForbiddenError, WrongFormatError, or else plain DeviceError.
    """

    def opened(name: str) -> CapturePcm:
        channels = channels_to_open(name, channel)
        pcm = _opened(device, name, Direction.CAPTURE, period_frames, buffer_frames, channels)
        return CapturePcm(name, *pcm, channels=channels, channel=channel or 0)

    return _first_that_opens(names_to_try(device, Direction.CAPTURE), opened)


def open_playback(device: str, period_frames: int, buffer_frames: int) -> PlaybackPcm:
    """Open a speaker (s16le mono 24 kHz, non-blocking).

    `auto` is resolved here. The buffer is rounded up to whole periods. Raises DeviceMissingError, DeviceBusyError,
    DeviceForbiddenError, WrongFormatError, or else plain DeviceError.
    """

    def opened(name: str) -> PlaybackPcm:
        return PlaybackPcm(name, *_opened(device, name, Direction.PLAYBACK, period_frames, buffer_frames))

    return _first_that_opens(names_to_try(device, Direction.PLAYBACK), opened)


def _first_that_opens(names: list[str], opened: Callable[[str], _Device]) -> _Device:
    """Of several cards the best that can be had; raises what is wrong with the very best."""
    failure: DeviceError | None = None
    for name in names:
        try:
            device = opened(name)
        except DeviceError as error:
            failure = failure or error
            continue
        if failure is not None:
            log.info("%s is taken instead of the better one: %s", name, failure)
        return device
    assert failure is not None
    raise failure


def through_plug(device: str) -> str:
    """The name that ALSA is given: bare hardware gets a converter in front, all else is as the owner wrote it."""
    return f"plug{device}" if device.startswith("hw:") else device


def _opened(
    asked: str, device: str, direction: Direction, period_frames: int, buffer_frames: int, channels: int = 1
) -> tuple[int, int, Any]:
    """(granted period, granted buffer, alsaaudio.PCM), both in frames. `asked` is what the settings call it."""
    silence_alsa_lib()
    kind = alsaaudio.PCM_CAPTURE if direction is Direction.CAPTURE else alsaaudio.PCM_PLAYBACK
    try:
        pcm = alsaaudio.PCM(
            type=kind,
            mode=alsaaudio.PCM_NONBLOCK,
            rate=RATE_HZ,
            channels=channels,
            format=alsaaudio.PCM_FORMAT_S16_LE,
            periodsize=period_frames,
            periods=max(2, -(-buffer_frames // period_frames)),
            device=through_plug(device),
        )
    except alsaaudio.ALSAAudioError as error:
        told = error_of(error, device, direction)
        if (asked, device) == (AUTO, NO_CARD) and isinstance(told, DeviceMissingError):
            told = nothing_there(direction)
        raise told from error
    try:
        granted = pcm.info()
        _check_format(granted, device, direction, channels)
    except alsaaudio.ALSAAudioError as error:
        pcm.close()
        raise error_of(error, device, direction) from error
    except DeviceError:
        pcm.close()
        raise
    return int(granted["period_size"]), int(granted["buffer_size"]), pcm


def _check_format(granted: dict[str, Any], device: str, direction: Direction, channels: int) -> None:
    """Raise WrongFormatError unless the device does what was asked: ALSA grants the nearest it has, without a word."""
    has = (granted["format_name"], granted["channels"], granted["rate"])
    if has != ("S16_LE", channels, RATE_HZ):
        name, there, rate = has
        raise WrongFormatError(
            device,
            direction,
            f"offers {name}, {there} channels, {rate} Hz where S16_LE, {channels}, {RATE_HZ} is needed",
        )


_silenced = False


def silence_alsa_lib() -> None:
    """Keep alsa-lib from writing lines of its own to stderr at each retry: a log must not fill the card.

    `snd_lib_error_set_handler` wants a C function; one that ignores its arguments needs no Python in ALSA's threads.
    """
    global _silenced
    if not _silenced:
        _silenced = True
        try:
            ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(ctypes.CDLL(None).getpid)
        except (OSError, AttributeError):
            return  # noisy, but it works
