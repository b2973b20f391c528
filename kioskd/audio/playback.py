"""The playback thread: it alone opens, feeds and closes the speaker's device, and never waits inside ALSA.

Barge-in: the writer hands over one period at a time under a lock, and sleeps outside it, so that the trio thread can
take the lock, settle what was heard and drop the device's buffer within a ms or two.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from attrs import define, field

from kioskd.audio.earcons import earcon
from kioskd.audio.errors import DeviceError, DeviceLostError, Direction
from kioskd.audio.heard import Playout
from kioskd.audio.ledger import Ledger
from kioskd.audio.outage import Outage
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.audio.playback_port import OpenDevice, PlaybackDevice
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.queue import Piece, PlaybackQueue, Sound, size_of, sounds_of, split_at
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import Fault, SpeakingStopped

log = logging.getLogger(__name__)

_SHORTEST_SLEEP_S = 0.004  # outside the lock: the trio thread needs a chance to take it
_LONGEST_TAIL_SLEEP_S = 0.02  # towards the end of what was written: that is how late `SpeakingFinished` may be
_IDLE_SLEEP_S = 0.5  # nothing to do; a command wakes the thread at once
_STALL_S = 5.0  # a device that takes no sound for so long is reopened: nobody may wait for it for ever
_LOCK_PATIENCE_S = 0.05  # for a writer in mid-period; longer means that it hangs in the driver
_XRUN = -errno.EPIPE
_HARMLESS = (_XRUN, -errno.EBADFD)  # ran dry; and what a card says between two flows


@define(eq=False)
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
    heartbeat: float = field(init=False)
    _ledger: Ledger = field(init=False)
    _playout: Playout = field(init=False)
    _outage: Outage = field(factory=lambda: Outage(Fault.SPEAKER), init=False)
    _device: PlaybackDevice | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _wakeup: threading.Event = field(factory=threading.Event, init=False)
    _commands: deque[Callable[[], None]] = field(factory=deque, init=False)  # bounded by speaker.MAX_ANSWER_MS
    _hungry: bool = field(default=True, init=False)  # a command is to wake the thread at once
    _drop_again: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.heartbeat = self._clock()
        self._ledger = Ledger(self.name, self._emit)
        self._playout = Playout(self._buffer_frames)

    # -- in the trio thread

    @property
    def present(self) -> bool:
        """True while the device is open."""
        return self._device is not None

    @property
    def gaps(self) -> int:
        """Gaps heard in answers since the start."""
        return self._ledger.gaps

    @property
    def audible(self) -> bytes:
        """What is being heard now, a period or less; b"" for silence."""
        return self._playout.audible

    def add(self, turn: int, pcm: bytes) -> None:
        """More of an answer -> `SpeakingStarted` at its first frame."""
        self._post(partial(self._add, turn, pcm))

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

    def stop_thread(self) -> None:
        """Make `run` return soon."""
        self._stopping = True
        self._wakeup.set()

    def _post(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        if self._hungry:
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

    def _add(self, turn: int, pcm: bytes) -> None:
        sound = self._ledger.answer(turn, self._outage.lasting)
        if not sound.abandoned:
            self._queue.add(sound, pcm)

    def _close_answer(self, turn: int) -> None:
        sound = self._ledger.answer(turn, self._outage.lasting)
        if sound.abandoned:
            self._ledger.finish([sound])
        elif not sound.complete:
            self._queue.close(sound)

    def _add_sign(self, sign: Sign) -> None:
        sound = Sound()
        if self._outage.lasting:
            self._ledger.finish([sound])
            return
        self._queue.add(sound, earcon(sign))
        self._queue.close(sound)

    def _silence(self, turn: int) -> None:
        with suppress(DeviceError):  # the thread will meet it too, and report it
            self._hear(self._clock())
        self._drop()  # at once: until then the card plays on, uncounted
        self._ledger.stop(turn, self._empty())

    def _cut_signs(self) -> None:
        with suppress(DeviceError):
            self._hear(self._clock())
        if self._playout.holds_sign:
            self._drop()
            self._queue.put_back(self._playout.drop())
        self._ledger.finish(self._queue.remove_signs())

    def _empty(self) -> list[Sound]:
        """Throw away what waits and what is in the device; the sounds that were cut."""
        return [*sounds_of(self._playout.drop()), *sounds_of(self._queue.clear())]

    def _drop(self) -> None:
        if self._device is not None:
            self._drop_again = True
            with suppress(DeviceError):
                self._device.drop()

    # -- the thread

    def run(self) -> None:
        """The thread's whole life, until `stop_thread`. What plays then is cut."""
        self._stopping = False
        for sign in Sign:
            earcon(sign)  # synthesised now, rather than while a visitor waits
        try:
            while not self._stopping:
                self.heartbeat = self._clock()
                try:
                    sleep_s = self._open() if self._device is None else self._turn()
                except DeviceError as error:
                    self._lose(error)
                    continue
                if sleep_s and not self._commands:
                    self._wakeup.wait(sleep_s)
                self._wakeup.clear()
        finally:
            with self._lock:
                self._ledger.lose(self._empty())
                self._close()

    def _open(self) -> float:
        """Open the device, or wait for the next attempt; commands end at once meanwhile."""
        wait_s = self._outage.retry_at - self._clock()
        if wait_s > 0:
            with self._lock:
                self._hungry = True
                self._run_commands()
            return min(wait_s, _IDLE_SLEEP_S)
        device = self._open_device(self.name, self._period_frames, self._buffer_frames)
        with self._lock:
            self._device = device
            self._playout = Playout(device.buffer_frames)
            cleared = self._outage.mended()
            if cleared:
                self._emit(cleared)
        return 0

    def _lose(self, error: DeviceError) -> None:
        with self._lock:
            self._close()
            raised = self._outage.failed(error, self._clock())
            if raised:
                self._emit(raised)
            self._run_commands()
            self._ledger.lose(self._empty())

    def _close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()

    def _turn(self) -> float:
        """Hand over a block if there is one, and room for it; returns the seconds to sleep."""
        with self._lock:
            device, now = self._device, self._clock()
            assert device is not None
            self._run_commands()
            if self._drop_again:  # a period may have slipped in behind the first drop
                self._drop_again = False
                device.drop()
            room = self._hear(now)
            self._hungry = False
            if room < device.period_frames:
                return self._until_room(device, room)
            pieces = self._next_block(device)
            if not pieces and self._playout.ends_abruptly:
                pieces = [Piece(None, bytes(device.period_frames * FRAME_BYTES))]
            if pieces:
                self._hand_over(device, pieces, now)
                return 0
            self._hungry = True
            if self._playout.flowing:
                rest_s = self._playout.remaining_frames / RATE_HZ
                return min(max(rest_s, _SHORTEST_SLEEP_S), _LONGEST_TAIL_SLEEP_S)
            return _IDLE_SLEEP_S

    def _next_block(self, device: PlaybackDevice) -> list[Piece]:
        """A period; to begin with up to half of the buffer at once: a card starts with the first write, and would run
        dry at the first word if the second came late."""
        pieces: list[Piece] = []
        period_bytes = device.period_frames * FRAME_BYTES
        periods = 1 if self._playout.flowing else max(1, device.buffer_frames // device.period_frames // 2)
        while size_of(pieces) < periods * period_bytes:
            period = self._queue.take(period_bytes)
            pieces += period
            if size_of(period) < period_bytes:
                break
        return pieces

    def _until_room(self, device: PlaybackDevice, room: int) -> float:
        """Until a quarter of the buffer is free: half as many wake-ups, and three quarters still in reserve."""
        target = max(device.period_frames, device.buffer_frames // 4)
        return max((target - room) / RATE_HZ, _SHORTEST_SLEEP_S)

    def _hear(self, now: float) -> int:
        """Settle what was heard by now, and tell what ended; returns the room for more, in frames.

        Without a flow there is room, whatever the device says: Pulse reports too little before the first write.
        """
        device = self._device
        if device is None:
            return 0
        avail = device.avail()
        if avail < 0 and avail not in _HARMLESS:
            raise DeviceLostError(self.name, Direction.PLAYBACK, f"was lost ({os.strerror(-avail)})")
        if not self._playout.flowing:
            return device.buffer_frames
        if avail == _XRUN or self._playout.played_out(avail, now):
            self._run_dry(device)
            return device.buffer_frames
        self._ledger.finish(self._playout.hear(max(0, avail), now))
        if self._playout.remaining_frames and now > self._playout.moved_at + _STALL_S:
            raise DeviceLostError(self.name, Direction.PLAYBACK, f"has taken no sound for {_STALL_S:.0f} s")
        return avail

    def _run_dry(self, device: PlaybackDevice) -> None:
        newest = self._playout.newest
        self._ledger.finish(self._playout.exhaust())
        if newest is not None and not newest.over:
            newest.starved = True
            newest.flowing = False
        device.drop()  # on every kind of device the next write finds the same state

    def _hand_over(self, device: PlaybackDevice, pieces: list[Piece], now: float) -> None:
        """Write a block, padded to whole periods; what the device doesn't take goes back to the queue."""
        size = size_of(pieces)
        if size == 0:  # only the end of a sound that has been handed over already
            self._playout.wrote(pieces, now)
            if not self._playout.flowing:
                self._ledger.finish(self._playout.exhaust())
            return
        padding = -size % (device.period_frames * FRAME_BYTES)
        block = [*pieces, Piece(None, bytes(padding))] if padding else pieces
        frames = device.write(b"".join(piece.pcm for piece in block))
        if frames is None:  # it ran dry since `avail` was asked
            self._queue.put_back(pieces)
            self._run_dry(device)
            return
        taken, rest = split_at(block, frames * FRAME_BYTES)
        self._queue.put_back(rest)
        if taken:
            self._playout.wrote(taken, now)
            self._ledger.written(taken)
