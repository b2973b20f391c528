"""The kiosk as a client: the whole daemon, as `composition` puts it together, with a visitor who is a script."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from kioskd.audio.alsa import open_capture, open_playback
from kioskd.audio.files import WavMicrophone
from kioskd.audio.microphone import AlsaMicrophone
from kioskd.audio.ports import Microphone, Speaker
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.bench.canned import voice
from kioskd.bench.control import Control
from kioskd.bench.plan import Plan
from kioskd.bench.process import Meter
from kioskd.bench.silent import SilentSpeaker
from kioskd.composition import TurnLog, build_endpoint, give_memory_back
from kioskd.config.load import load
from kioskd.config.schema import Settings
from kioskd.daemon import Daemon
from kioskd.dialogue.effects import Effect, Show, State
from kioskd.dialogue.events import AnswerAudio, Event, Link, LinkChanged, Pressed, Released, UtteranceEnded
from kioskd.panel.panel import Panel

PATIENCE_S = 60.0  # for any one thing to happen
RING_S = 0.7  # until the ring holds the pre-roll again, and the room is quiet
HOLD_S = 0.4  # a press that counts
SPEAKS_S = 0.25  # before it is interrupted
LATE_S = 0.02  # what was asked for is on the wire


@define(eq=False)
class Stamps:
    """When what happened at the devices, on the monotonic clock."""

    reads: deque[float] = field(factory=lambda: deque(maxlen=256))
    first_write: float | None = None
    drop: float | None = None


class _Stamped:
    """A device that is looked at. All but a few calls go straight through."""

    def __init__(self, pcm: Any, stamps: Stamps) -> None:
        self._pcm, self._stamps = pcm, stamps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pcm, name)


class StampedMicrophone(_Stamped):
    """Notes when it gave sound."""

    def read(self) -> bytes | None:
        """As the device's."""
        block: bytes | None = self._pcm.read()
        if block:
            self._stamps.reads.append(time.monotonic())
        return block


class StampedSpeaker(_Stamped):
    """Notes the first write, and when `drop` had returned."""

    def write(self, data: bytes) -> int | None:
        """As the device's."""
        if self._stamps.first_write is None:
            self._stamps.first_write = time.monotonic()
        taken: int | None = self._pcm.write(data)
        return taken

    def drop(self) -> None:
        """As the device's."""
        self._pcm.drop()
        if self._stamps.drop is None:
            self._stamps.drop = time.monotonic()


class Kiosk:
    """The running daemon, and a visitor's hand."""

    def __init__(self, plan: Plan, stamped: bool = False) -> None:
        self._plan = plan
        self.settings: Settings = load(plan.settings)
        self.stamps = Stamps()
        self.talk = self.settings.conversation
        self._microphone, self._speaker = self._devices(stamped)
        panel = Panel(self.settings.panel, lambda: self.daemon.level)
        endpoint = build_endpoint(self.settings.endpoints, self.talk)
        self.daemon = Daemon(self.talk, self._microphone, self._speaker, panel, endpoint)
        self.daemon.observe(TurnLog(self.settings.log))
        self.daemon.observe(give_memory_back)
        self.daemon.observe(self._see)
        self._changed = trio.Event()
        self._said_ms = 0
        self._answer_ms = 0.0
        self._up_at = 0.0

    def _devices(self, stamped: bool) -> tuple[Microphone, Speaker]:
        if not self._plan.has_sound:
            return WavMicrophone(voice(1000)), SilentSpeaker()
        audio, limit_ms = self.settings.audio, int(self.talk.max_utterance_s * 1000)
        if not stamped:
            return AlsaMicrophone(audio, self.talk.pre_roll_ms, limit_ms), AlsaSpeaker(audio)

        def microphone(*how: Any) -> Any:
            return StampedMicrophone(open_capture(*how), self.stamps)

        def speaker(*how: Any) -> Any:
            return StampedSpeaker(open_playback(*how), self.stamps)

        return (
            AlsaMicrophone(audio, self.talk.pre_roll_ms, limit_ms, open_device=microphone),
            AlsaSpeaker(audio, open_device=speaker),
        )

    def _see(self, what: Event | Effect, now: float) -> None:
        match what:
            case Show():
                self._changed.set()
            case UtteranceEnded(_, duration_ms):
                self._said_ms = duration_ms
            case AnswerAudio(_, _, duration_ms):
                self._answer_ms += duration_ms
            case LinkChanged(Link.UP):
                self._up_at = time.monotonic()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something that can be seen."""
        with trio.fail_after(PATIENCE_S):
            while not reached():
                self._changed = trio.Event()
                await self._changed.wait()

    async def ready(self) -> None:
        """Wait until a press counts."""
        await self.until(lambda: self.daemon.view.state is State.READY and self.daemon.view.link is Link.UP)

    async def state(self, state: State) -> None:
        """Wait for a state."""
        await self.until(lambda: self.daemon.view.state is state)

    async def turn(self, talk_s: float) -> dict[str, float]:
        """Ask and hear the answer out; CPU ms, and seconds of sound, of both.

        `server_ms`: what the sound server's threads in this process took besides, over both.
        """
        await self.ready()
        rolls_s = self.talk.post_roll_ms / 1000
        if self._plan.has_sound:
            await trio.sleep(RING_S)
            rolls_s += self.talk.pre_roll_ms / 1000
        self._answer_ms, gaps, meter = 0.0, self._gaps, Meter()
        self.daemon.post(Pressed())
        await trio.sleep(max(HOLD_S, talk_s - rolls_s))
        self.daemon.post(Released())
        await self.state(State.THINKING)
        await trio.sleep(LATE_S)
        (talk_ms, talk_server_ms), meter = meter.spent(), Meter()
        await self.ready()
        answer_ms, answer_server_ms = meter.spent()
        return {
            "talk_ms": talk_ms,
            "talk_s": self._said_ms / 1000,
            "answer_ms": answer_ms,
            "answer_s": self._answer_ms / 1000,
            "server_ms": talk_server_ms + answer_server_ms,
            "gaps": self._gaps - gaps,
        }

    @property
    def _gaps(self) -> int:
        return self._speaker.xruns if isinstance(self._speaker, AlsaSpeaker) else 0

    async def delays(self, control: Control) -> dict[str, float]:
        """One turn that is interrupted; how many ms each of its steps took."""
        await self.ready()
        await trio.sleep(RING_S)
        control.marks()
        self.stamps.first_write = None
        pressed = time.monotonic()
        self.daemon.post(Pressed())
        await trio.sleep(HOLD_S)
        released = time.monotonic()
        self.daemon.post(Released())
        await self.state(State.SPEAKING)
        await trio.sleep(SPEAKS_S)
        self.stamps.drop = None
        interrupted = time.monotonic()
        self.daemon.post(Pressed())
        while self.stamps.drop is None:
            await trio.sleep(LATE_S)
        self.daemon.post(Released())
        seen = dict(reversed(control.marks()))  # the first of each kind
        assert self.stamps.first_write is not None
        heard = max(at for at in self.stamps.reads if at <= seen["commit"])
        return {
            "press": (seen["append"] - pressed) * 1000,
            "release": (seen["commit"] - released) * 1000 - self.talk.post_roll_ms,
            "last_sound": (seen["commit"] - heard) * 1000,
            "first_sound": (self.stamps.first_write - seen["sound"]) * 1000,
            "barge_in": (self.stamps.drop - interrupted) * 1000,
        }

    async def outage(self, control: Control, seconds: float) -> dict[str, float]:
        """The link breaks for so long; how many ms after its return the kiosk was ready."""
        await self.ready()
        control.marks()
        control.break_off(seconds)
        await self.until(lambda: self.daemon.view.link is not Link.UP)
        await self.ready()
        back = dict(control.marks())["back"]
        return {"back_to_ready": (self._up_at - back) * 1000}
