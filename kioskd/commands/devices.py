"""kioskd devices: the sound devices by stable name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kioskd.commands import exits

if TYPE_CHECKING:
    from kioskd.audio.devices import Device

HELP = "list the sound devices by stable name, with what each can do"
SETTINGS = {"capture": "audio.microphone", "playback": "audio.speaker"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""
    del parser


def run(options: argparse.Namespace) -> int:
    """0 if there is something to record from and something to play on."""
    del options
    from kioskd.audio.devices import list_devices

    found = list_devices()
    for direction, setting in SETTINGS.items():
        print(f"{direction} (for {setting}):")
        there = [device for device in found if device.direction.value == direction]
        for device in there:
            print(f"  {device.name:<36} {_describe(device)}")
        if not there:
            print("  none: plug in a sound card, or enable its overlay in /boot/firmware/config.txt")
    usable = {device.direction.value for device in found if not device.problem}
    return exits.OK if usable >= SETTINGS.keys() else exits.FAILED


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
