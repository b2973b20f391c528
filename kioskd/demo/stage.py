"""Everything around the kiosk of the demonstration: sound, board and endpoint, real ones where there are any."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio
from attrs import evolve, frozen

from kioskd.config import schema
from kioskd.config.load import load
from kioskd.config.places import shipped
from kioskd.simulator.board import VirtualBoard
from kioskd.simulator.pulse import PrivatePulse
from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorSettings

KEY_VARIABLE = "KIOSKD_DEMO_KEY"


@frozen
class Stage:
    """What the demonstration runs on. `board` and `pulse` are None where the machine has the real thing."""

    settings: schema.Settings
    url: str
    board: VirtualBoard | None
    pulse: PrivatePulse | None


def has_sound_card() -> bool:
    """True if this machine can record and play without our help."""
    import alsaaudio

    return bool(alsaaudio.cards())


def has_gpio() -> bool:
    """True on a Raspberry Pi: elsewhere a GPIO chip has no pin 17 that anybody wired."""
    model = Path("/proc/device-tree/model")
    return model.exists() and "Raspberry Pi" in model.read_text(errors="replace") and Path("/dev/gpiochip0").exists()


@asynccontextmanager
async def set_stage(only_virtual: bool, record: Path | None) -> AsyncIterator[Stage]:
    """Start the endpoint, and sound and board where they are missing. `record`: where the endpoint writes its WAVs."""
    os.environ.setdefault(KEY_VARIABLE, "a-key-for-loopback")
    settings = load(shipped("demo.yaml"))
    with ExitStack() as stack:
        pulse = board = None
        if only_virtual or not has_sound_card():
            pulse = stack.enter_context(PrivatePulse())
            os.environ.update(pulse.environment)  # before the first PCM: alsa-lib reads it once
            audio = evolve(settings.audio, microphone=pulse.MICROPHONE, speaker=pulse.SPEAKER)
            settings = evolve(settings, audio=audio)
        if only_virtual or not has_gpio():
            board = stack.enter_context(VirtualBoard(settings.panel).installed())
        async with trio.open_nursery() as nursery:
            simulator = SimulatorSettings(port=0, faq=shipped("demo-faq.yaml"), record=record)
            port = await nursery.start(serve, simulator)
            endpoint = evolve(settings.endpoints[0], url=f"ws://127.0.0.1:{port}/v1/realtime")
            yield Stage(evolve(settings, endpoints=(endpoint,)), endpoint.url, board, pulse)
            nursery.cancel_scope.cancel()
