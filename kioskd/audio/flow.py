"""From the queue into one device, all that fits at once; and what was heard of it. Whoever calls holds a lock."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from attrs import define, field

from kioskd.audio.errors import DeviceError, DeviceLostError, Direction
from kioskd.audio.fade import fade_in, fade_out
from kioskd.audio.heard import CARD_STEP_FRAMES, SERVER_STEP_FRAMES, Playout
from kioskd.audio.ledger import Ledger
from kioskd.audio.loudness import Loudness
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.audio.playback_port import PlaybackDevice
from kioskd.audio.queue import Piece, PlaybackQueue, Sound, size_of, sounds_of, split_at
from kioskd.dialogue.effects import Sign

_SHORTEST_SLEEP_S = 0.004  # outside the lock: the trio thread needs a chance to take it
_LONGEST_TAIL_SLEEP_S = 0.02  # towards the end of what was written: that is how late `SpeakingFinished` may be
_IDLE_SLEEP_S = 1.0  # nothing to do; a command wakes the thread at once
_STALL_S = 5.0  # a device that takes no sound for so long is reopened: nobody may wait for it for ever
_RESERVE_FRAMES = RATE_HZ * 160 // 1000  # a thread may wake that late, and nobody hears it; 85 ms were seen under load
_GUARD_FRAMES = RATE_HZ * 10 // 1000  # and a period: a thread is that late, and a buffer's level that wrong
_XRUN = -errno.EPIPE
_HARMLESS = (_XRUN, -errno.EBADFD)  # ran dry; and what a card says between two flows


@define(eq=False, repr=False)
class Flow:
    """The answers and earcons on their way through one device, present or not."""

    name: str
    _queue: PlaybackQueue
    _ledger: Ledger
    _loudness: Loudness
    _sound_of: Callable[[Sign], bytes]
    playout: Playout
    device: PlaybackDevice | None = field(default=None, init=False)
    hungry: bool = field(default=True, init=False)
    """A command is to wake the thread at once."""
    _drop_again: bool = field(default=False, init=False)
    _refused_since: float | None = field(default=None, init=False)  # it is ready, and takes nothing

    def opened(self, device: PlaybackDevice) -> None:
        """The device is there, and silent."""
        self.device, self._refused_since = device, None
        step_frames = SERVER_STEP_FRAMES if device.card is None else CARD_STEP_FRAMES
        self.playout = Playout(device.buffer_frames, step_frames)

    def close(self) -> None:
        """Give the device back, if there is one."""
        device, self.device = self.device, None
        if device is not None:
            device.close()

    # -- commands. `lost`: there is no device, and none is expected soon

    def add(self, turn: int, pcm: bytes, came_at: float, lost: bool) -> None:
        """More of an answer."""
        sound = self._ledger.answer(turn, lost)
        if not sound.abandoned:
            self._queue.add(sound, pcm, came_at)

    def close_answer(self, turn: int, lost: bool) -> None:
        """An answer is complete."""
        sound = self._ledger.answer(turn, lost)
        if sound.abandoned:
            self._ledger.finish([sound])
        elif not sound.complete:
            self._queue.close(sound)

    def add_sign(self, sign: Sign, lost: bool) -> None:
        """An earcon, after all that waits."""
        sound = Sound()
        if lost:
            self._ledger.finish([sound])
            return
        self._queue.add(sound, self._sound_of(sign))
        self._queue.close(sound)

    def silence(self, turn: int, now: float) -> None:
        """Drop everything, hard and at once."""
        with suppress(DeviceError):  # the thread will meet it too, and report it
            self._hear(now)
        self._drop()  # at once: until then the card plays on, uncounted
        self._ledger.stop(turn, self._empty())

    def cut_signs(self, now: float) -> None:
        """End all earcons; an answer in the same buffer goes on where it was."""
        with suppress(DeviceError):
            self._hear(now)
        if self.playout.holds_sign:
            self._drop()
            self._queue.put_back(self.playout.drop())
        self._ledger.finish(self._queue.remove_signs())

    def lose(self) -> None:
        """The device is gone, or given up, with all that is in it."""
        self._ledger.lose(self._empty())

    def _empty(self) -> list[Sound]:
        """Throw away what waits and what is in the device; the sounds that were cut."""
        return [*sounds_of(self.playout.drop()), *self._queue.forget()]

    def _drop(self) -> None:
        if self.device is not None:
            self._drop_again = True
            with suppress(DeviceError):
                self.device.drop()

    # -- the thread's part

    def advance(self, device: PlaybackDevice, now: float) -> float:
        """Hand over all that waits and fits, in one piece; returns the seconds to sleep. Raises DeviceError.

        The device is asked for its room once each time: a call into a sound server costs as much as the writing.
        """
        if self._drop_again:  # a block may have slipped in behind the first drop
            self._drop_again = False
            device.drop()
        room = self._hear(now)
        self.hungry = False
        if room >= device.period_frames and (pieces := self._next_block(device, room, now)):
            began = self.playout.flowing
            taken, wanted = self._hand_over(device, pieces, now)
            if self._refused_since is not None:
                return _SHORTEST_SLEEP_S
            if not began or taken < wanted:  # what the device says of its room counts from the first write on
                return 0
            room -= taken
        if room < device.period_frames:
            return self._until_room(device, room)
        guard = min(device.period_frames + _GUARD_FRAMES, device.buffer_frames // 2)
        if self.playout.flowing and self.playout.remaining_frames <= guard and (pieces := self._queue.take_rest()):
            self._hand_over(device, pieces, now, fading=True)
            return 0
        if self.playout.ends_abruptly:
            self._hand_over(device, [Piece(None, bytes(device.period_frames * FRAME_BYTES))], now)
            return 0
        self.hungry = True
        if self.playout.flowing:
            return self._until_news(guard)
        return min(max(self._queue.ready_in(now), _SHORTEST_SLEEP_S), _IDLE_SLEEP_S)

    def _next_block(self, device: PlaybackDevice, room: int, now: float) -> list[Piece]:
        """All whole periods that wait and fit into `room`, in frames; to begin with up to half of the buffer: a card
        starts with the first write, and would run dry at the first word if the second came late."""
        period_bytes = device.period_frames * FRAME_BYTES
        if not self.playout.flowing:
            room = max(device.period_frames, device.buffer_frames // 2)
        return self._queue.take(room // device.period_frames * period_bytes, now, period_bytes)

    def _until_room(self, device: PlaybackDevice, room: int) -> float:
        """Until three quarters of the buffer are free, and less of a small one: a wake-up costs more than the work that
        it does, but may come late, and what is left in the device is all that bridges that."""
        reserve = min(max(device.buffer_frames // 4, _RESERVE_FRAMES), device.buffer_frames * 3 // 4)
        target = max(device.period_frames, device.buffer_frames - reserve)
        return max((target - room) / RATE_HZ, _SHORTEST_SLEEP_S)

    def _until_news(self, guard: int) -> float:
        """Until the rest must follow what was written, or a sound ends; by half, for the level moves in steps."""
        playout = self.playout
        growing = playout.newest is not None and not playout.newest.complete
        ahead = playout.remaining_frames - (guard if growing else 0)
        if playout.next_end_frames is not None:
            ahead = min(ahead, playout.next_end_frames)
        ahead_s = ahead / RATE_HZ
        return min(max(ahead_s, _SHORTEST_SLEEP_S), max(ahead_s / 2, _LONGEST_TAIL_SLEEP_S))

    def _hear(self, now: float) -> int:
        """Settle what was heard by now, and tell what ended; returns the room for more, in frames.

        Without a flow there is room, whatever the device says: Pulse reports too little before the first write.
        """
        device = self.device
        if device is None:
            return 0
        avail = device.avail()
        if avail < 0 and avail not in _HARMLESS:
            raise DeviceLostError(self.name, Direction.PLAYBACK, f"was lost ({os.strerror(-avail)})")
        if not self.playout.flowing:
            return device.buffer_frames
        if avail == _XRUN or self.playout.played_out(avail, now):
            self._run_dry(device, now)
            return device.buffer_frames
        self._ledger.finish(self.playout.hear(max(0, avail), now))
        if self.playout.remaining_frames and now > self.playout.moved_at + _STALL_S:
            raise DeviceLostError(self.name, Direction.PLAYBACK, f"has taken no sound for {_STALL_S:.0f} s")
        return avail

    def _run_dry(self, device: PlaybackDevice, now: float) -> None:
        newest = self.playout.newest
        self._ledger.finish(self.playout.exhaust())
        if newest is not None and not newest.over:
            self._queue.starve(newest, now)
        device.drop()  # on every kind of device the next write finds the same state

    def _hand_over(
        self, device: PlaybackDevice, pieces: list[Piece], now: float, fading: bool = False
    ) -> tuple[int, int]:
        """Write a block, padded to whole periods; what the device doesn't take goes back to the queue.

        Returns the frames (taken, offered). `fading`: its sound goes on after a gap.
        """
        size = size_of(pieces)
        if size == 0:  # only the end of a sound that has been handed over already
            self.playout.wrote(pieces, now)
            if not self.playout.flowing:
                self._ledger.finish(self.playout.exhaust())
            return 0, 0
        padding = -size % (device.period_frames * FRAME_BYTES)
        block = [*pieces, Piece(None, bytes(padding))] if padding else pieces
        frames = device.write(self._loudness.shaped(_faded(block, size if fading else None)))
        if frames is None:  # it ran dry since `avail` was asked
            self._queue.put_back(pieces)
            self._run_dry(device, now)
            return 0, size // FRAME_BYTES
        taken, rest = split_at(block, frames * FRAME_BYTES)
        self._queue.put_back(rest)
        self._note_refusal(taken, now)
        if taken:
            self.playout.wrote(taken, now)
            self._ledger.written(taken)
        if fading and pieces[0].sound is not None:
            self._queue.starve(pieces[0].sound, now)
        return frames, (size + padding) // FRAME_BYTES

    def _note_refusal(self, taken: list[Piece], now: float) -> None:
        """A device that never takes the first frame of a flow has no level by which its stall could be seen."""
        if taken:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        elif now > self._refused_since + _STALL_S:
            raise DeviceLostError(self.name, Direction.PLAYBACK, f"has taken no sound for {_STALL_S:.0f} s")


def _faded(block: list[Piece], end: int | None) -> bytes:
    """The bytes of a block: a sound that ran dry fades in again, and what stops at `end` fades out."""
    pcm = b"".join(piece.pcm for piece in block)
    begin = 0
    for piece in block:
        if piece.sound is not None and piece.sound.starved and piece.pcm:
            break
        begin += len(piece.pcm)
    if begin == len(pcm) and end is None:
        return pcm
    shaped = bytearray(pcm)
    if begin < len(pcm):
        fade_in(shaped, begin)
    if end is not None:
        fade_out(shaped, end)
    return bytes(shaped)
