"""The playback thread: it alone opens, feeds and closes the speaker's device, and never waits inside ALSA.

Barge-in: the writer hands over what fits under a lock, which takes it about a ms, and sleeps outside it, so that the
trio thread can take the lock, settle what was heard and drop the device's buffer within a ms or two.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from attrs import define, field

from kioskd.audio.errors import DeviceError
from kioskd.audio.flow import Flow
from kioskd.audio.heard import Playout
from kioskd.audio.ledger import Ledger
from kioskd.audio.loudness import Loudness
from kioskd.audio.outage import Outage
from kioskd.audio.playback_port import OpenDevice
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.priority import be_prompt
from kioskd.audio.queue import PlaybackQueue
from kioskd.config.schema import Audio
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import Fault, SpeakingStopped

log = logging.getLogger(__name__)

_IDLE_SLEEP_S = 0.5  # nothing to do; a command wakes the thread at once
_LOCK_PATIENCE_S = 0.05  # for a writer in mid-period; longer means that it hangs in the driver


@define(eq=False, repr=False)
class Playback:
    """The sound on its way to one device. `run` is the thread; all that is public beside it is for the trio thread."""

    name: str
    _period_frames: int
    _buffer_frames: int
    _queue: PlaybackQueue
    _emit: Callable[[SpeakerEvent], None]
    """Passes an event on to the trio thread; called in both threads, maybe with the lock held."""
    _clock: Callable[[], float]
    _open_device: OpenDevice
    _loudness: Loudness
    _sound_of: Callable[[Sign], bytes]
    """The sound of a sign; called in the thread."""
    _latency_of: Callable[[int | None], float] = lambda card: 0.0
    """How long sound is under way behind this card, in ms; called in the thread."""
    _wakeup: threading.Event = field(factory=threading.Event)
    """What the thread sleeps on."""
    heartbeat: float = field(init=False)
    _ledger: Ledger = field(init=False)
    _flow: Flow = field(init=False)
    _outage: Outage = field(factory=lambda: Outage(Fault.SPEAKER), init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _commands: deque[Callable[[], None]] = field(factory=deque, init=False)  # bounded by speaker.MAX_ANSWER_MS
    _stopping: bool = field(default=False, init=False)
    _card: int | None = field(default=None, init=False)
    _reopening: bool = field(default=False, init=False)
    _next: tuple[str, int, int] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.heartbeat = self._clock()
        self._ledger = Ledger(self.name, self._emit)
        self._flow = Flow(
            self.name, self._queue, self._ledger, self._loudness, self._sound_of, Playout(self._buffer_frames)
        )

    # -- in the trio thread

    @property
    def present(self) -> bool:
        """True while the device is open."""
        return self._flow.device is not None

    @property
    def gaps(self) -> int:
        """Gaps heard in answers since the start."""
        return self._ledger.gaps

    @property
    def latency_ms(self) -> float:
        """How long sound is under way behind the device."""
        return self._ledger.latency_ms

    @latency_ms.setter
    def latency_ms(self, latency_ms: float) -> None:
        self._ledger.latency_ms = latency_ms

    @property
    def card(self) -> int | None:
        """The number of the sound card that is open; None for what isn't one."""
        return self._card

    def begun_at(self, turn: int) -> float | None:
        """When this turn's answer left the device, on the clock; None before."""
        return self._ledger.begun_at(turn)

    @property
    def audible(self) -> bytes:
        """What is being heard now, a few ms; b"" for silence."""
        return self._flow.playout.audible_at(self._clock())

    def add(self, turn: int, pcm: bytes) -> None:
        """More of an answer -> `SpeakingStarted` at its first frame."""
        self._post(partial(self._add, turn, pcm, self._clock()))

    def close_answer(self, turn: int) -> None:
        """An answer is complete -> `SpeakingFinished` once it was heard."""
        self._post(partial(self._close_answer, turn))

    def add_sign(self, sign: Sign) -> None:
        """Play an earcon after all that waits -> `SignFinished`."""
        self._post(partial(self._add_sign, sign))

    def silence(self, turn: int) -> None:
        """Drop everything, queued and in the device -> `SpeakingStopped`, and an end for every other sound."""
        if not self._at_once(partial(self._silence, turn)):
            self._emit(SpeakingStopped(turn, self._ledger.heard_ms(turn)))

    def cut_signs(self) -> None:
        """End all earcons; an answer in the same buffer goes on where it was."""
        self._at_once(self._cut_signs)

    def crashed(self) -> None:
        """The thread died, and its supervisor raised the fault: the device's next opening clears it."""
        self._outage.crashed()

    def reopen(self) -> None:
        """Give the device back and open it anew, as soon as the thread turns."""
        self._outage.crashed()
        self._reopening = True
        self._wakeup.set()

    def use(self, name: str, period_frames: int, buffer_frames: int) -> None:
        """Another device, or the same one opened otherwise, as soon as the thread turns."""
        self._next = name, period_frames, buffer_frames
        self._wakeup.set()

    def adjust_loudness(self, settings: Audio) -> None:
        """The next block that is handed over is as loud as these say; within it the sound glides there."""
        self._loudness.adjust(settings)
        self._wakeup.set()

    def stop_thread(self) -> None:
        """Make `run` return soon."""
        self._stopping = True
        self._wakeup.set()

    def _post(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        if self._flow.hungry:
            self._wakeup.set()

    def _at_once(self, command: Callable[[], None]) -> bool:
        """Run it here, after all that was posted. False: the thread hangs, and will run it if it ever comes back."""
        if not self._lock.acquire(timeout=_LOCK_PATIENCE_S):
            log.warning("speaker %r: its thread hangs in the sound driver", self.name)
            self._commands.append(command)
            return False
        try:
            self._run_commands()
            command()
        finally:
            self._lock.release()
        self._wakeup.set()
        return True

    # -- commands, with the lock held

    def _run_commands(self) -> None:
        while self._commands:
            self._commands.popleft()()

    def _add(self, turn: int, pcm: bytes, came_at: float) -> None:
        self._flow.add(turn, pcm, came_at, self._outage.lasting)

    def _close_answer(self, turn: int) -> None:
        self._flow.close_answer(turn, self._outage.lasting)

    def _add_sign(self, sign: Sign) -> None:
        self._flow.add_sign(sign, self._outage.lasting)

    def _silence(self, turn: int) -> None:
        self._flow.silence(turn, self._clock())

    def _cut_signs(self) -> None:
        self._flow.cut_signs(self._clock())

    # -- the thread

    def run(self) -> None:
        """The thread's whole life, until `stop_thread`. What plays then is cut."""
        self._stopping = False
        be_prompt()
        try:
            while not self._stopping:
                self.heartbeat = self._clock()
                try:
                    sleep_s = self._turn()
                except DeviceError as error:
                    self._lose(error)
                    continue
                if sleep_s and not self._commands:
                    self._wakeup.wait(sleep_s)
                self._wakeup.clear()
        finally:
            with self._lock:
                self._flow.lose()
                self._flow.close()

    def _turn(self) -> float:
        """One step of the device; returns the seconds to sleep."""
        if self._reopening or self._next is not None:
            self._reopening = False
            with self._lock:
                self._flow.lose()
                self._flow.close()
                self._change_over()
        device = self._flow.device
        if device is None:
            return self._open()
        self._loudness.look(self._clock())  # outside the lock: a mixer may take its time
        with self._lock:
            self._run_commands()
            return self._flow.advance(device, self._clock())

    def _change_over(self) -> None:
        if self._next is not None:
            (self.name, self._period_frames, self._buffer_frames), self._next = self._next, None
            self._flow.name = self._ledger.name = self.name
            self._outage.begin_anew()

    def _open(self) -> float:
        """Open the device, or wait for the next attempt; commands end at once meanwhile."""
        now = self._clock()
        wait_s = self._outage.retry_at - now
        if wait_s > 0:
            with self._lock:
                self._flow.hungry = True
                self._run_commands()
            return min(wait_s, _IDLE_SLEEP_S)
        device = self._open_device(self.name, self._period_frames, self._buffer_frames)
        self._card = device.card
        self._loudness.opened(self._card, now)
        self._ledger.latency_ms = self._latency_of(self._card)
        with self._lock:
            self._flow.opened(device)
            cleared = self._outage.mended()
            if cleared:
                self._emit(cleared)
        return 0

    def _lose(self, error: DeviceError) -> None:
        with self._lock:
            self._flow.close()
            raised = self._outage.failed(error, self._clock())
            if raised:
                self._emit(raised)
            self._run_commands()
            self._flow.lose()
