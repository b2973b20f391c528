"""An hour of talk in two minutes: the whole daemon over TLS, its clock accelerated, its devices virtual.

`python -m kioskd.bench.hour PLAN MINUTES` prints the memory when idle, then after each minute of the kiosk's time. Both
audio threads are real; they nap and their devices move sound at the accelerated pace.
"""

from __future__ import annotations

import errno
import json
import logging
import select
import sys
import threading
import time
from typing import Any

import trio
import trio.testing
from attrs import define, evolve, field

from kioskd import heap
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.audio.wakeup import Wakeup
from kioskd.bench.canned import voice
from kioskd.bench.plan import Plan
from kioskd.bench.process import rss_mb
from kioskd.composition import build_endpoint, give_memory_back
from kioskd.config.load import load
from kioskd.daemon import Daemon
from kioskd.dialogue.effects import State, View
from kioskd.dialogue.events import Link, Pressed, Released

RATE = 40.0  # so much shorter are the kiosk's seconds
BLOCK_MS = 100
SPEAKER_BUFFER_S = 10.0  # a quarter of a second of this machine's own time
KEPT_S = 0.5  # of what nobody read in time: as much as a real device keeps, or blocks would be of a size that never is
TALK_S = 3.0
PATIENCE_S = 1000.0  # of the kiosk's time: the machine may be busy
IDLE_S = 60.0  # before the first press


def now() -> float:
    """The devices' clock."""
    return time.monotonic() * RATE


class HurriedWakeup(Wakeup):
    """For the capture thread."""

    def wait(self, timeout_s: float) -> None:
        """So long by the accelerated clock."""
        super().wait(timeout_s / RATE)


class HurriedEvent(threading.Event):
    """For the playback thread."""

    def wait(self, timeout: float | None = None) -> bool:
        """So long by the accelerated clock."""
        return super().wait(None if timeout is None else timeout / RATE)


@define(eq=False)
class VirtualMicrophone:
    """`capture_port.CaptureDevice`: somebody hums, at the accelerated pace."""

    period_frames: int = BLOCK_MS * RATE_HZ // 1000
    buffer_frames: int = int(KEPT_S * RATE_HZ)
    _block: bytes = field(factory=lambda: voice(BLOCK_MS))
    _read_until: float = field(factory=now)
    _poller: select.poll = field(factory=select.poll)

    def watch(self, descriptor: int) -> None:
        """See the port."""
        self._poller.register(descriptor, select.POLLIN)

    def wait(self, timeout_ms: float) -> bool:
        """See the port."""
        due_ms = max(0.0, (self._read_until + BLOCK_MS / 1000 - now()) * 1000 / RATE)
        return bool(self._poller.poll(min(timeout_ms, due_ms))) or due_ms <= timeout_ms

    def read(self) -> bytes | None:
        """See the port."""
        if self._read_until + BLOCK_MS / 1000 > now():
            return b""
        self._read_until = max(self._read_until + BLOCK_MS / 1000, now() - KEPT_S)
        return self._block

    def close(self) -> None:
        """See the port."""


@define(eq=False)
class VirtualSpeaker:
    """`playback_port.PlaybackDevice`: it swallows sound at the accelerated pace."""

    period_frames: int = BLOCK_MS * RATE_HZ // 1000
    buffer_frames: int = int(SPEAKER_BUFFER_S * RATE_HZ)
    card: int | None = None
    _empty_at: float = 0.0

    def avail(self) -> int:
        """See the port."""
        waiting = int((self._empty_at - now()) * RATE_HZ)
        if self._empty_at and waiting <= 0:
            return -errno.EPIPE
        return self.buffer_frames - max(0, waiting)

    def write(self, data: bytes) -> int | None:
        """See the port."""
        room = self.avail()
        if room < 0:
            self._empty_at = 0.0
            return None
        frames = min(room, len(data) // FRAME_BYTES)
        self._empty_at = max(self._empty_at, now()) + frames / RATE_HZ
        return frames

    def drop(self) -> None:
        """See the port."""
        self._empty_at = 0.0

    def close(self) -> None:
        """See the port."""


class _NoPanel:
    """Nothing is wired: mock pins remember each state that they ever had."""

    def __init__(self) -> None:
        self.view = View(State.STARTING, Link.DOWN)
        self._changed = trio.Event()

    async def run(self, report: Any) -> None:
        """Nothing happens here."""
        del report
        await trio.sleep_forever()

    def show(self, view: View) -> None:
        """Look at the lamp."""
        self.view = view
        self._changed.set()

    async def until(self, *states: State) -> None:
        """Wait until the kiosk shows one of these."""
        with trio.fail_after(PATIENCE_S):
            while self.view.state not in states or self.view.link is not Link.UP:
                self._changed = trio.Event()
                await self._changed.wait()


async def run(plan: Plan, minutes: int) -> None:
    """Press, talk, let go, hear the answer, and again."""
    settings = load(plan.settings)
    talk = evolve(settings.conversation, answer_timeout_s=300, answer_stall_s=300)
    endpoint = evolve(
        settings.endpoints[0], open_timeout_s=120, setup_timeout_s=120, ping_timeout_s=300, close_timeout_s=60
    )
    microphone = AlsaMicrophone(
        settings.audio,
        talk.pre_roll_ms,
        int(talk.max_utterance_s * 1000),
        now,
        lambda *_: VirtualMicrophone(),
        HurriedWakeup,
    )
    speaker = AlsaSpeaker(settings.audio, now, lambda *_: VirtualSpeaker(), new_wakeup=HurriedEvent)
    panel = _NoPanel()
    daemon = Daemon(talk, microphone, speaker, panel, build_endpoint([endpoint], talk))
    daemon.observe(give_memory_back)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.run)
        await panel.until(State.READY)
        await trio.sleep(IDLE_S)
        began, turns, samples = trio.current_time(), 0, [rss_mb()]
        while len(samples) <= minutes:
            daemon.post(Pressed())
            await trio.sleep(TALK_S)
            daemon.post(Released())
            await panel.until(State.SPEAKING)
            await panel.until(State.READY)
            turns += 1
            if trio.current_time() - began >= len(samples) * 60:
                samples.append(rss_mb())
        nursery.cancel_scope.cancel()
    print(json.dumps({"rss_mb": samples, "turns": turns}), flush=True)


def main() -> None:
    """See the module."""
    plan = Plan(**json.loads(sys.argv[1]))
    heap.keep_small()  # as `composition.serve` does
    logging.disable(logging.WARNING)  # at this pace the threads are late now and then
    trio.run(run, plan, int(sys.argv[2]), clock=trio.testing.MockClock(rate=RATE))


if __name__ == "__main__":
    main()
