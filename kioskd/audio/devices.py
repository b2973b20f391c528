"""What sound devices there are, under names that stay the same across reboots: for `kioskd devices`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import alsaaudio
from attrs import frozen

from kioskd.audio.alsa import open_capture, open_playback, silence_alsa_lib
from kioskd.audio.cancellers import cancellers
from kioskd.audio.errors import DeviceError, Direction, error_of, holder_of

CANCELLER = "echo canceller of the sound server, for audio.echo: software"

_PROC = Path("/proc")
_PERIOD_FRAMES = 480
_BUFFER_FRAMES = 3840
# alsa-lib's own hints name these too; they are converters and dead ends, no devices
_NOT_DEVICES = {
    "null", "lavrate", "samplerate", "speexrate", "speex", "upmix", "vdownmix", "jack", "oss", "usbstream",
}  # fmt: skip
_DIRECTIONS = {"capture": Direction.CAPTURE, "playback": Direction.PLAYBACK}


@frozen
class Device:
    """One that can be named in audio.microphone or audio.speaker."""

    name: str
    """The ALSA name to put into the settings, such as plughw:CARD=Device,DEV=0."""
    description: str
    direction: Direction
    rates_hz: tuple[int, ...] = ()
    """What a card does without conversion; () for what isn't a card, or couldn't be opened."""
    channels: tuple[int, ...] = ()
    """How many channels it does without conversion; () as above."""
    holder: str | None = None
    """Which process has it open, as "name (pid 123)"."""
    problem: str | None = None
    """Why kioskd can't use it just now, in one line; None if it can."""


def list_devices(proc: Path = _PROC) -> list[Device]:
    """All cards' PCMs, the named ones (`default` first), the sound server's echo cancellers. Opens each for a moment.

    Never raises: what can't be opened says so in `problem`.
    """
    silence_alsa_lib()
    return [*_cards(proc), *_named(), *_cancelled()]


def _cards(proc: Path) -> Iterator[Device]:
    """The kernel's PCMs. Each line of /proc/asound/pcm: "01-00: USB Audio : USB Audio : playback 1 : capture 1"."""
    try:
        lines = (proc / "asound" / "pcm").read_text().splitlines()
    except OSError:
        return  # a machine without sound cards
    for line in lines:
        found = re.match(r"(\d+)-(\d+): ", line)
        if not found:
            continue
        card, number = int(found[1]), int(found[2])
        for word, direction in _DIRECTIONS.items():
            if re.search(rf": {word} \d+", line):
                yield _card_device(proc, card, number, direction)


def _card_device(proc: Path, card: int, number: int, direction: Direction) -> Device:
    try:
        stable = (proc / "asound" / f"card{card}" / "id").read_text().strip()
    except OSError:
        stable = str(card)
    name = f"plughw:CARD={stable},DEV={number}"
    holder = holder_of(f"hw:{card},{number}", direction, proc)
    problem = None
    rates: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    try:
        with closing(_open_bare(f"hw:CARD={stable},DEV={number}", direction)) as pcm:
            # only ever on a kernel PCM: on the null plugin both list every number there is, until memory ends
            rates, channels = _whole(pcm.getrates()), _whole(pcm.getchannels())
    except alsaaudio.ALSAAudioError as error:
        told = error_of(error, name, direction, proc)
        problem = told.cause
    return Device(name, _description(card), direction, rates, channels, holder, problem)


def _named() -> Iterator[Device]:
    for direction, kind in ((Direction.CAPTURE, alsaaudio.PCM_CAPTURE), (Direction.PLAYBACK, alsaaudio.PCM_PLAYBACK)):
        hinted = [name for name in alsaaudio.pcms(kind) if ":" not in name and name not in _NOT_DEVICES]
        for name in dict.fromkeys(["default", *hinted]):
            yield Device(name, "named in ALSA's configuration", direction, problem=_problem_of(name, direction))


def _cancelled() -> Iterator[Device]:
    for direction in Direction:
        for name in cancellers(direction):
            yield Device(name, CANCELLER, direction, problem=_problem_of(name, direction))


def _problem_of(name: str, direction: Direction) -> str | None:
    opening = open_capture if direction is Direction.CAPTURE else open_playback
    try:
        opening(name, _PERIOD_FRAMES, _BUFFER_FRAMES).close()
    except DeviceError as error:
        return error.cause
    return None


def _open_bare(name: str, direction: Direction) -> alsaaudio.PCM:
    kind = alsaaudio.PCM_CAPTURE if direction is Direction.CAPTURE else alsaaudio.PCM_PLAYBACK
    return alsaaudio.PCM(type=kind, mode=alsaaudio.PCM_NONBLOCK, device=name)


def _description(card: int) -> str:
    try:
        short, long = alsaaudio.card_name(card)
    except alsaaudio.ALSAAudioError:
        return f"card {card}"
    return f"{short.strip()} ({long.strip()})" if long.strip() else short.strip()


def _whole(supported: object) -> tuple[int, ...]:
    """pyalsaaudio gives one number, a (lowest, highest) pair or a list: as a sorted tuple."""
    if isinstance(supported, int):
        return (supported,)
    if isinstance(supported, tuple | list):
        return tuple(sorted(int(value) for value in supported))
    return ()
