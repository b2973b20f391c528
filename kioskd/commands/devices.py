"""kioskd devices: the sound devices by stable name; with --test, whether the chosen ones work."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kioskd.commands import exits, options

if TYPE_CHECKING:
    from kioskd.audio.devices import Device
    from kioskd.audio.selftest import Report
    from kioskd.config.schema import Audio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--test, --microphone, --speaker, --config."""
    parser.add_argument(
        "--test",
        action="store_true",
        help="play a chirp on the speaker and look for it in the microphone: verdict, latency, echo and level",
    )
    parser.add_argument("--microphone", metavar="NAME", help="test this one instead of the settings'")
    parser.add_argument("--speaker", metavar="NAME", help="test this one instead of the settings'")
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 if there is something to record from and something to play on; with --test: if both work."""
    return _test(arguments) if arguments.test else _list()


def _list() -> int:
    from kioskd.audio.auto import AUTO, choose
    from kioskd.audio.devices import list_devices
    from kioskd.audio.errors import Direction

    found = list_devices()
    for direction in Direction:
        print(f"{direction.name.lower()} (for audio.{direction.noun}):")
        there = [device for device in found if device.direction is direction]
        for device in there:
            print(f"  {device.name:<36} {_describe(device)}")
        if choice := choose(direction):
            print(f"  {AUTO:<36} now {choice.name} ({choice.kind})")
        if not there:
            print("  none: plug in a sound card, or enable its overlay in /boot/firmware/config.txt")
    usable = {device.direction for device in found if not device.problem}
    return exits.OK if usable == set(Direction) else exits.FAILED


def _describe(device: Device) -> str:
    parts = [device.description]
    if device.rates_hz:
        parts.append("/".join(map(str, device.rates_hz)) + " Hz")
    if device.channels:
        parts.append("/".join(map(str, device.channels)) + " channels")
    if device.holder:
        parts.append(f"in use by {device.holder}")
    elif device.problem:
        parts.append(device.problem)
    return ", ".join(part for part in parts if part)


def _test(arguments: argparse.Namespace) -> int:
    from kioskd.config.load import SettingsError

    try:
        audio = _audio(arguments)
    except SettingsError as error:
        return exits.complain(error, exits.BAD_SETTINGS)

    from kioskd.audio.errors import DeviceError
    from kioskd.audio.selftest import Verdict, try_devices

    try:
        report = try_devices(audio)
    except DeviceError as error:
        return exits.complain(error, exits.FAILED)
    _print(audio, report)
    return exits.OK if report.verdict is Verdict.FINE else exits.FAILED


def _audio(arguments: argparse.Namespace) -> Audio:
    """The settings' devices, or those of the command line; where both are given there, no settings are needed."""
    from attrs import evolve

    from kioskd.config.load import load
    from kioskd.config.schema import Audio

    named = {name: getattr(arguments, name) for name in ("microphone", "speaker") if getattr(arguments, name)}
    return evolve(Audio() if len(named) == 2 else load(arguments.config).audio, **named)


def _print(audio: Audio, report: Report) -> None:
    print(f"microphone {audio.microphone}, speaker {audio.speaker}")
    print(f"verdict:  {report.verdict.value}: {report.reason}")
    if report.latency_ms is not None:
        print(f"latency:  {report.latency_ms:.0f} ms from the sound card to the microphone")
    if report.tail_words:
        print(f"echo:     {report.tail_words}")
    print(f"level:    {report.level_db:.0f} dB (0 is full scale), and before the chirp {report.room_db:.0f} dB")
