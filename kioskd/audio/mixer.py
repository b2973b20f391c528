"""The volume control of a sound card, in ALSA's mixer. Each call opens and closes it: a card may come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import alsaaudio

from kioskd.audio.alsa import silence_alsa_lib
from kioskd.audio.volume import decibels_below_top

AUTO, NONE = "auto", "none"
# what turns a card's loudness is called by one of these, the broadest first
_USUAL = ("Master", "PCM", "Speaker", "Headphone", "Headphones", "Digital", "Playback", "HDMI")
_NARROW_DB = 24.0  # with no more to choose from, alsamixer moves evenly in dB, and so does this
_SANE_DB = 200.0  # a control without decibels reports noise


class MixerError(Exception):
    """The card has no such control, or it doesn't move; one line for the owner."""


def set_volume(device: str, card: int | None, wanted: str, volume: int) -> str | None:
    """Turn a control to 0..100 on alsamixer's scale, and unmute it (0 mutes); its name, or None where there is none.

    `device` is the speaker's ALSA name, `card` its number if it is a card; `wanted` is `auto`, `none` or a name.
    `auto` touches cards only, never the volume of a desktop's sound server. Raises MixerError.
    """
    if wanted == NONE or (wanted == AUTO and card is None):
        return None
    place = {"device": device} if card is None else {"cardindex": card}
    silence_alsa_lib()
    with _told(f"the mixer of {device!r}"):
        names = list(dict.fromkeys(alsaaudio.mixers(**place)))
        for name in _candidates(names, wanted):
            with closing(alsaaudio.Mixer(control=name, **place)) as control:
                if _turns_playback(control):
                    _turn(control, volume)
                    return name
    if wanted == AUTO:
        return None
    raise MixerError(
        f"audio.mixer: {device!r} has no volume control {wanted!r}; it has {', '.join(names) or 'none at all'}"
    )


def _candidates(names: list[str], wanted: str) -> Iterator[str]:
    if wanted != AUTO:
        yield from (name for name in names if name == wanted)
        return
    yield from (name for name in _USUAL if name in names)
    yield from (name for name in names if name not in _USUAL)


def _turns_playback(control: Any) -> bool:
    return any(kind in ("Playback Volume", "Volume") for kind in control.volumecap())


def _turn(control: Any, volume: int) -> None:
    playback = alsaaudio.PCM_PLAYBACK
    low, high = (step / 100 for step in control.getrange(playback, alsaaudio.VOLUME_UNITS_DB))
    if not -_SANE_DB < low < high < _SANE_DB:
        control.setvolume(volume, pcmtype=playback)  # per cent of its steps: all that is known
    else:
        wanted = low + (high - low) * volume / 100
        if high - low > _NARROW_DB:
            wanted = max(low, high + decibels_below_top(max(1, volume)))
        control.setvolume(round(wanted * 100), units=alsaaudio.VOLUME_UNITS_DB, pcmtype=playback)
    if any(kind in ("Playback Mute", "Mute") for kind in control.switchcap()):
        control.setmute(volume == 0)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except alsaaudio.ALSAAudioError as error:
        raise MixerError(f"{what} can't be used ({str(error).split(' [')[0]})") from error


SetVolume = Callable[[str, int | None, str, int], str | None]
"""`set_volume`, or what a test puts into its place."""
