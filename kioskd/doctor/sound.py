"""Microphone and speaker: are they there, free, switched on, and do they work?"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from enum import Enum
from functools import partial
from pathlib import Path

import alsaaudio
import trio

from kioskd.audio.alsa import open_capture, open_playback, silence_alsa_lib
from kioskd.audio.auto import resolve
from kioskd.audio.errors import DeviceError, Direction, card_index, holder_of
from kioskd.audio.level import rms_level
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.selftest import Verdict, try_devices
from kioskd.audio.verdict import tail_words
from kioskd.doctor.finding import Look, failed, passed, skipped, warned
from kioskd.doctor.patient import MUTE, Patient

_FOR_ALL = {  # one of several inputs or outputs may well be off
    Direction.PLAYBACK: ("Master", "PCM", "Digital"),
    Direction.CAPTURE: ("Capture", "Digital"),
}
_AN_INPUT = re.compile(r"Mic|Line|CD|Aux|Synth|Capture|Input|Sidetone|Beep|.*Boost", re.IGNORECASE)  # heard beside it
_LISTEN_MS = 600
_PATIENCE_TURNS = 200  # of 20 ms: a device that moves no sound for four seconds moves none
_COMMAND_S = 5.0


async def overlay(patient: Patient) -> Look:
    """An I2S sound HAT works only with its overlay in the firmware's settings."""
    hat = patient.read("/proc/device-tree/hat/product")
    cards = patient.read("/proc/asound/cards") or ""
    if hat is None:
        return skipped("no HAT announces itself")
    boot = next((text for place in ("/boot/firmware", "/boot") if (text := patient.read(f"{place}/config.txt"))), "")
    wanted = re.search(r"^\s*dtoverlay=\S*(dac|audio|sound|voice|wm8960|codec|i2s|amp|mic)", boot, re.MULTILINE | re.I)
    if wanted or not re.search(r"dac|audio|sound|voice|amp|mic|codec|hifi", hat, re.I):
        return passed(hat)
    if re.search(r"snd_rpi|sndrpi|hifiberry|seeed|wm8960|googlevoice", cards, re.I):
        return passed(f"{hat}, found without an overlay")
    return failed(
        f"the HAT {hat!r} is there, but no overlay for it in config.txt",
        "sudo nano /boot/firmware/config.txt   # add dtoverlay=... as the maker's page says, then: sudo reboot",
    )


async def holder(patient: Patient) -> Look:
    """Does another program hold a card that the kiosk needs for itself?"""
    names: list[str] = []
    for direction, device in _devices(patient):
        name = resolve(device, direction, patient.path("/proc"))
        if card_index(name, patient.path("/proc")) is None:
            continue  # a sound server's, which is shared
        if _has_room(patient, name, direction):
            continue
        by = holder_of(name, direction, patient.path("/proc"))
        if by and not _is_daemon(patient, by):
            names.append(f"the {direction.noun} ({name}) is held by {by}")
    if names:
        pid = re.search(r"pid (\d+)", names[0])
        stop = (
            f"systemctl status {pid[1]}   # shows what it belongs to; stop that" if pid else "sudo fuser -v /dev/snd/*"
        )
        return failed("; ".join(names), stop)
    return passed("nobody else holds the sound card")


def _is_daemon(patient: Patient, holder: str) -> bool:
    if patient.silence:
        return holder.startswith("kioskd (pid ")
    return patient.status is not None and f"(pid {patient.status.get('pid')})" in holder


def _has_room(patient: Patient, device: str, direction: Direction) -> bool:
    """Whether a stream of this very device is free: a card may have several devices, a device several streams."""
    card = card_index(device, patient.path("/proc"))
    named = dict(zip(("CARD", "DEV", "SUBDEV"), device.partition(":")[2].split(","), strict=False))
    named |= dict(word.split("=", 1) for word in named.values() if "=" in word)
    sub = f"sub{named.get('SUBDEV', '*')}"
    folder = patient.path(f"/proc/asound/card{card}/pcm{named.get('DEV', '0')}{direction.value}")
    return any(_reads_closed(status) for status in folder.glob(f"{sub}/status"))


def _reads_closed(status: Path) -> bool:
    try:
        return status.read_text().strip() == "closed"
    except OSError:
        return False


def _devices(patient: Patient) -> Iterator[tuple[Direction, str]]:
    yield Direction.CAPTURE, patient.audio.microphone
    yield Direction.PLAYBACK, patient.audio.speaker


async def mixer(patient: Patient) -> Look:
    """Is the speaker muted, or the microphone switched off, in the card's mixer or the sound server's?"""
    troubles = [trouble for device in _devices(patient) for trouble in _muted_controls(patient, *device)]
    troubles += await trio.to_thread.run_sync(_muted_at_server)
    if troubles:
        words, remedy = troubles[0]
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        return failed(words + more, remedy)
    return passed("nothing is muted")


def _muted_controls(patient: Patient, direction: Direction, device: str) -> Iterator[tuple[str, str]]:
    card = card_index(resolve(device, direction, patient.path("/proc")), patient.path("/proc"))
    if card is None:
        return
    silence_alsa_lib()
    on: list[str] = []
    off: list[str] = []
    try:
        for name in dict.fromkeys(alsaaudio.mixers(cardindex=card)):
            with closing(alsaaudio.Mixer(control=name, cardindex=card)) as control:
                state = _state(control, name, direction)
                if state is _State.ZERO:
                    yield f"{name!r} of card {card} is at zero", f"amixer -c {card} sset '{name}' 80%"
                elif state is not None:
                    (on if state is _State.ON else off).append(name)
    except alsaaudio.ALSAAudioError:
        return  # a card without a mixer, or one that is just being unplugged
    for name in in_the_way(direction, on, off):
        if direction is Direction.PLAYBACK:
            yield f"{name!r} of card {card} is muted", f"amixer -c {card} sset '{name}' unmute"
        else:
            yield f"{name!r} of card {card} is switched off", f"amixer -c {card} sset '{name}' cap"


class _State(Enum):
    ON = "on"
    OFF = "off"
    ZERO = "at zero"


def _state(control: alsaaudio.Mixer, name: str, direction: Direction) -> _State | None:
    """How a control stands; None where it switches nothing of this direction."""
    switches = set(control.switchcap())
    if direction is Direction.PLAYBACK:
        if not {"Playback Mute", "Mute"} & switches or _AN_INPUT.match(name):
            return None
        return _State.OFF if all(control.getmute()) else _State.ON
    if not {"Capture Mute", "Capture Switch"} & switches:
        return None
    if not any(control.getrec()):
        return _State.OFF
    silent = "Capture Volume" in control.volumecap() and not any(control.getvolume(alsaaudio.PCM_CAPTURE))
    return _State.ZERO if silent else _State.ON


def in_the_way(direction: Direction, on: Sequence[str], off: Sequence[str]) -> list[str]:
    """Of the controls of a direction, those that keep the card silent: a switch for all of it, or the last ways."""
    for_all = [name for name in off if name in _FOR_ALL[direction]]
    return for_all or (list(off) if not on else [])


def _muted_at_server() -> list[tuple[str, str]]:
    """PulseAudio's and PipeWire's default sink and source, where `pactl` is there to be asked."""
    if shutil.which("pactl") is None:
        return []
    troubles = []
    for kind, noun in (("sink", "speaker"), ("source", "microphone")):
        asked = f"@DEFAULT_{kind.upper()}@"
        try:
            said = subprocess.run(
                ["pactl", f"get-{kind}-mute", asked],
                capture_output=True, text=True, timeout=_COMMAND_S,
            ).stdout  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return []
        if said.strip().endswith("yes"):
            remedy = f"pactl set-{kind}-mute {asked} 0"
            troubles.append((f"the sound server's {noun} ({kind}) is muted", remedy))
    return troubles


async def microphone(patient: Patient) -> Look:
    """Does the microphone open, and does it hear anything?"""
    if patient.silence:
        return skipped(MUTE)
    if patient.runs:
        return _of_daemon(patient, "microphone")
    try:
        level = await trio.to_thread.run_sync(partial(_listen, patient), abandon_on_cancel=True)
    except DeviceError as error:
        return failed(f"{error.device!r}: {error.cause}", _device_remedy(error))
    if level is None:
        return failed("it opens, but gives no sound", "kioskd devices")
    if level == 0.0:
        return failed(
            "it gives digital silence: muted, or its gain is at zero", "alsamixer   # F4, then F6 for the card"
        )
    return passed(f"it hears ({20 * math.log10(max(level, 1e-5)):.0f} dB)")


def _listen(patient: Patient) -> float | None:
    audio = patient.audio
    name = resolve(audio.microphone, Direction.CAPTURE)
    heard = b""
    with closing(open_capture(name, audio.period_frames, RATE_HZ // 2, audio.microphone_channel)) as ear:
        ear.read()
        for _ in range(_PATIENCE_TURNS):
            ear.wait(20)
            heard += ear.read() or b""
            if len(heard) >= bytes_of(_LISTEN_MS):
                return rms_level(heard[bytes_of(_LISTEN_MS) // 3 :])
    return rms_level(heard) if heard else None


async def speaker(patient: Patient) -> Look:
    """Does the speaker open?"""
    if patient.silence:
        return skipped(MUTE)
    if patient.runs:
        return _of_daemon(patient, "speaker")
    try:
        await trio.to_thread.run_sync(partial(_open_speaker, patient), abandon_on_cancel=True)
    except DeviceError as error:
        return failed(f"{error.device!r}: {error.cause}", _device_remedy(error))
    return passed(f"{patient.audio.speaker!r} opens")


def _open_speaker(patient: Patient) -> None:
    audio = patient.audio
    name = resolve(audio.speaker, Direction.PLAYBACK)
    open_playback(name, audio.period_frames, audio.buffer_ms * RATE_HZ // 1000).close()


def _of_daemon(patient: Patient, part: str) -> Look:
    assert patient.status is not None
    for fault in patient.status.get("faults", ()):
        if fault.get("fault") == part:
            return failed(fault.get("cause") or "the running kiosk has lost it", "kioskd devices")
    return passed("the running kiosk uses it")


async def chirp(patient: Patient) -> Look:
    """Is the speaker heard by the microphone?"""
    if not patient.chirp:
        return skipped("left out (--quiet)")
    if patient.silence:
        return skipped(MUTE)
    if patient.runs:
        return await _chirp_of_daemon(patient)
    report = await trio.to_thread.run_sync(try_devices, patient.audio, abandon_on_cancel=True)
    return judged(report.verdict, report.reason, report.latency_ms, report.tail_ms)


async def _chirp_of_daemon(patient: Patient) -> Look:
    from kioskd.control.client import ControlError, ask

    try:
        told = await trio.to_thread.run_sync(partial(ask, None, "test-sound"), abandon_on_cancel=True)
    except ControlError as error:
        return warned(str(error), "kioskd doctor   # when nobody uses the kiosk")
    return judged(Verdict(told["verdict"]), told["reason"], told.get("latency_ms"), told.get("tail_ms"))


def judged(verdict: Verdict, reason: str, latency_ms: float | None, tail_ms: float | None = None) -> Look:
    """The self-test's outcome as a line of the page."""
    if verdict is Verdict.FINE:
        heard = f"{reason}, {latency_ms:.0f} ms after it was played" if latency_ms is not None else reason
        return passed("; ".join(filter(None, (heard, tail_words(tail_ms)))))
    if verdict is Verdict.UNCLEAR:
        return warned(reason, "alsamixer")
    return failed(f"{verdict.value}: {reason}", "alsamixer")


def _device_remedy(error: DeviceError) -> str:
    text = str(error).rpartition("; ")[2]
    command = re.search(r"`([^`]+)`", text)
    if command is not None and "USER" not in command[1]:
        return command[1]
    return "sudo usermod -aG audio kioskd && sudo systemctl restart kioskd" if "usermod" in text else "kioskd devices"
