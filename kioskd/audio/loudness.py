"""Keeps one speaker at the volume of the hour: by its card's mixer, else by scaling the sound."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from attrs import define, field

from kioskd.audio.mixer import MixerError, SetVolume, set_volume
from kioskd.audio.volume import gain_of, scaled, volume_at
from kioskd.config.schema import Audio

log = logging.getLogger(__name__)

_LOOK_S = 5.0  # how late night may fall


def minute_of_day() -> int | None:
    """The local time in minutes since midnight; None if the clock is beyond what the system can tell."""
    try:
        now = time.localtime()
    except (OverflowError, OSError, ValueError):
        return None
    return now.tm_hour * 60 + now.tm_min


@define(eq=False, repr=False)
class Loudness:
    """The volume of one device; for the playback thread, `adjust` for any."""

    _settings: Audio
    _minute: Callable[[], int | None] = minute_of_day
    _set_volume: SetVolume = set_volume
    _card: int | None = field(default=None, init=False)
    _volume: int | None = field(default=None, init=False)  # None: the device has not been told yet
    _gain: float = field(default=1.0, init=False)
    _gain_before: float = field(default=1.0, init=False)
    _look_at: float = field(default=0.0, init=False)
    _adjusted: bool = field(default=False, init=False)
    _warned: bool = field(default=False, init=False)
    _said: str = field(default="", init=False)

    def adjust(self, settings: Audio) -> None:
        """These count from the next look on."""
        self._settings = settings
        self._adjusted = True

    def opened(self, card: int | None, now: float) -> None:
        """Another device, or the same one again: tell it its volume."""
        self._card, self._volume = card, None
        self.look(now)
        self._gain_before = self._gain

    def look(self, now: float) -> None:
        """Follow the time of day; call it often. `now` is monotonic: the wall clock may jump."""
        if self._adjusted:
            self._adjusted, self._volume = False, None
        if self._volume is not None and (now < self._look_at or self._settings.night is None):
            return
        self._look_at = now + _LOOK_S
        volume = volume_at(self._settings, self._minute())
        if volume != self._volume:
            self._volume = volume
            self._apply(volume)

    def shaped(self, pcm: bytes) -> bytes:
        """A block of s16le mono as the device is to have it."""
        before, self._gain_before = self._gain_before, self._gain
        return scaled(pcm, self._gain, before)

    def _apply(self, volume: int) -> None:
        control = None
        try:
            control = self._set_volume(self._settings.speaker, self._card, self._settings.mixer, volume)
        except MixerError as error:
            log.log(logging.DEBUG if self._warned else logging.WARNING, "%s; the sound itself is scaled", error)
            self._warned = True
        if control:
            self._gain = 1.0 if volume else 0.0  # the least of a mixer can still be heard
        else:
            self._gain = gain_of(volume)
        if self._gain not in (0.0, 1.0):
            from kioskd.audio import arrays  # noqa: F401  (numpy now, rather than at the first word)
        news = f"volume {volume}, by {control or 'scaling the sound'}"
        log.log(logging.DEBUG if news == self._said else logging.INFO, "speaker %r: %s", self._settings.speaker, news)
        self._said = news
