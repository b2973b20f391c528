"""A kiosk whose turns the tests of the flight recorder record: real dialogue and daemon, devices without hardware."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import trio

from kioskd.audio.files import WavMicrophone
from kioskd.bench.silent import SilentSpeaker
from kioskd.config.schema import Audio, Conversation
from kioskd.daemon import Daemon
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect, State, View
from kioskd.dialogue.events import Event
from kioskd.endpoints.memory import MemoryEndpoint
from kioskd.health.flight.recorder import FlightRecorder

CONVERSATION = Conversation(instructions="never to be seen", answer_timeout_s=9)
AUDIO = Audio()
SECOND = b"\1\0" * 24_000


class NoPanel:
    """Nobody touches it."""

    async def run(self, report: object) -> None:
        """Until cancelled."""
        await trio.sleep_forever()

    def show(self, view: View) -> None:
        """To nobody."""


def a_daemon(answer_s: int = 3) -> Daemon:
    endpoint = MemoryEndpoint(lambda question: SECOND * answer_s, speed=2.0)
    return Daemon(CONVERSATION, WavMicrophone(SECOND), SilentSpeaker(), NoPanel(), endpoint, audio=AUDIO)


async def until(daemon: Daemon, what: type[Event | Effect] | State) -> None:
    """Wait for an event or effect, or a state."""
    came = trio.Event()

    def see(seen: Event | Effect, now: float) -> None:
        if seen.view.state is what if isinstance(seen, f.Show) else type(seen) is what:
            came.set()

    daemon.observe(see)
    await came.wait()


async def a_turn(daemon: Daemon, until_its_end: bool = True) -> None:
    """A question of half a second, and its answer; or only the beginning of that."""
    daemon.post(e.Pressed())
    await trio.sleep(0.5)
    daemon.post(e.Released())
    await until(daemon, State.READY if until_its_end else e.SpeakingStarted)


async def die_in_mid_turn(directory: Path) -> None:
    """For a process of its own: two turns, and never the end of the second."""
    recorder = FlightRecorder(directory / "run", directory / "state")
    daemon = a_daemon(answer_s=600)
    recorder.watch(daemon)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.run)
        await until(daemon, e.LinkChanged)
        await a_turn(daemon, until_its_end=False)
        await a_turn(daemon, until_its_end=False)  # breaks into the first one's answer
        print(json.dumps({"turn": 2}), flush=True)


if __name__ == "__main__":
    trio.run(die_in_mid_turn, Path(sys.argv[1]))
