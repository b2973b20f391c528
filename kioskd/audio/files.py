"""A microphone and a speaker made of sound, without a sound card: paced in real time, by trio's clock alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio
from attrs import define

from kioskd.audio.earcons import earcon
from kioskd.audio.heard import Playout
from kioskd.audio.ledger import Ledger
from kioskd.audio.level import rms_level
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of, ms_of
from kioskd.audio.ports import MicrophoneEvent, SpeakerEvent
from kioskd.audio.queue import PlaybackQueue, Sound, size_of, sounds_of
from kioskd.audio.utterance import FIRST_CHUNK_MS, Utterance
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import UtteranceEnded

_BLOCK_BYTES = bytes_of(20)
_LATE_S = 0.05  # a gap beyond this is no jitter of the scheduler: the speaker was silent
_LONGEST_PRESS_MS = 600_000  # the settings allow no longer utterance (conversation.max_utterance_s)
_MAX_UNTOLD = 256  # events that wait for `run`: a handful


@define(eq=False)
class _Press:
    """An utterance under way."""

    utterance: Utterance
    began_at: float
    next_chunk_bytes: int = bytes_of(FIRST_CHUNK_MS)
    end_bytes: int | None = None
    """Where it ends, once that is known."""

    def heard_bytes(self, now: float) -> int:
        """How much sound has passed since the beginning."""
        return round((now - self.began_at) * RATE_HZ) * FRAME_BYTES

    @property
    def due_bytes(self) -> int:
        """How far the next chunk goes."""
        return self.next_chunk_bytes if self.end_bytes is None else min(self.next_chunk_bytes, self.end_bytes)

    @property
    def due_at(self) -> float:
        """When the next chunk is due."""
        return self.began_at + self.due_bytes / (FRAME_BYTES * RATE_HZ)


class WavMicrophone:
    """`ports.Microphone` that hears a recording at every press, from its start, and silence after its end."""

    def __init__(self, pcm: bytes) -> None:
        """`pcm` is s16le mono at 24 kHz."""
        self._pcm = pcm
        self._press: _Press | None = None
        self._newest = b""
        self._changed = trio.Event()
        self._spoken = trio.Event()

    @property
    def duration_ms(self) -> int:
        """The recording's length."""
        return ms_of(len(self._pcm))

    @property
    def level(self) -> float:
        """The RMS of the newest chunk, 0.0 to 1.0."""
        return rms_level(self._newest)

    async def spoken(self) -> None:
        """Wait until the recording has been heard to its end, in one press."""
        await self._spoken.wait()

    async def run(self, report: Callable[[MicrophoneEvent], None]) -> None:
        """Deliver, until cancelled: the first chunk after 20 ms, then one each 100 ms."""
        while True:
            self._changed = trio.Event()
            press = self._press
            if press is None:
                await self._changed.wait()
                continue
            with trio.move_on_at(press.due_at):
                await self._changed.wait()
                continue
            self._deliver(press)
            if press.utterance.size == press.end_bytes:
                self._drop()
                report(UtteranceEnded(press.utterance.turn, press.utterance.duration_ms))

    def begin(self, turn: int, pre_roll_ms: int) -> Utterance:
        """A press: the recording starts."""
        self._drop()
        utterance = Utterance(turn, bytes_of(_LONGEST_PRESS_MS))
        self._press = _Press(utterance, trio.current_time())
        self._spoken = trio.Event()
        self._changed.set()
        return utterance

    def end(self, turn: int, post_roll_ms: int) -> None:
        """A release -> `UtteranceEnded` after the post-roll."""
        press = self._press
        if press is not None and press.utterance.turn == turn and press.end_bytes is None:
            so_far = max(press.heard_bytes(trio.current_time()), press.utterance.size)
            press.end_bytes = min(so_far + bytes_of(post_roll_ms), bytes_of(_LONGEST_PRESS_MS))
            self._changed.set()

    def discard(self, turn: int) -> None:
        """Stop; nothing follows."""
        if self._press is not None and self._press.utterance.turn == turn:
            self._drop()
            self._changed.set()

    def _drop(self) -> None:
        if self._press is not None:
            self._press.utterance.end()
            self._press = None

    def _deliver(self, press: _Press) -> None:
        begin, end = press.utterance.size, press.due_bytes
        if end == press.next_chunk_bytes:
            press.next_chunk_bytes += bytes_of(press.utterance.chunk_ms)
        self._newest = self._pcm[begin:end].ljust(end - begin, b"\0")
        press.utterance.append(self._newest)
        if end >= len(self._pcm):
            self._spoken.set()


class WavSpeaker:
    """`ports.Speaker` that keeps what it played."""

    def __init__(self) -> None:
        self.pcm = bytearray()
        """What was played so far, to the frame; pauses between sounds are left out."""
        self._queue = PlaybackQueue()
        self._playout = Playout(_BLOCK_BYTES // FRAME_BYTES)
        self._untold: deque[SpeakerEvent] = deque(maxlen=_MAX_UNTOLD)
        self._ledger = Ledger("file", self._untold.append)
        self._began_at = 0.0
        self._changed = trio.Event()

    @property
    def level(self) -> float:
        """The RMS of what is being played, 0.0 to 1.0."""
        return rms_level(self._playout.audible_at(trio.current_time()))

    async def run(self, report: Callable[[SpeakerEvent], None]) -> None:
        """Play in real time, until cancelled."""
        while True:
            self._changed = trio.Event()
            self._step(trio.current_time())
            while self._untold:
                report(self._untold.popleft())
            due_at = self._ends_at if self._playout.flowing else float("inf")
            with trio.move_on_at(due_at):
                await self._changed.wait()

    def play(self, turn: int, pcm: bytes) -> None:
        """Queue a piece of an answer."""
        self._queue.add(self._ledger.answer(turn, lost=False), pcm)
        self._changed.set()

    def finish(self, turn: int) -> None:
        """Nothing more of this turn comes -> `SpeakingFinished`."""
        sound = self._ledger.answer(turn, lost=False)
        if not sound.complete:
            self._queue.close(sound)
        self._changed.set()

    def stop(self, turn: int) -> None:
        """Silence at once -> `SpeakingStopped`."""
        self._hear(trio.current_time())
        cut = [*self._playout.drop(), *self._queue.clear()]
        self._ledger.stop(turn, sounds_of(cut))
        self._changed.set()

    def give_sign(self, sign: Sign) -> None:
        """Queue a sign's earcon -> `SignFinished`."""
        sound = Sound()
        self._queue.add(sound, earcon(sign))
        self._queue.close(sound)
        self._changed.set()

    def cut_sign(self) -> None:
        """End every earcon that plays or waits."""
        self._hear(trio.current_time())
        if self._playout.holds_sign:
            self._queue.put_back(self._playout.drop())
        self._ledger.finish(self._queue.remove_signs())
        self._changed.set()

    @property
    def _ends_at(self) -> float:
        return self._began_at + self._playout.written_frames / RATE_HZ

    def _step(self, now: float) -> None:
        """Settle what was heard, and begin the next block when the one before is over."""
        if self._playout.flowing and now < self._ends_at:
            return
        began_at = self._ends_at if self._playout.flowing and now - self._ends_at < _LATE_S else now
        self._hear(now)
        pieces = self._queue.take(_BLOCK_BYTES)
        if pieces:
            self._began_at = began_at
            self._playout.wrote(pieces, began_at)
            self._ledger.written(pieces)
            if not size_of(pieces):
                self._ledger.finish(self._playout.exhaust())

    def _hear(self, now: float) -> None:
        """Count the block as heard as far as the time says, and record that much of it."""
        written = self._playout.written_frames
        if not written:
            return
        before, block = self._playout.heard_frames, self._playout.unheard
        frames = min(max(0, round((now - self._began_at) * RATE_HZ)), written)
        self.pcm += block[: max(0, frames - before) * FRAME_BYTES]
        if frames == written:
            self._ledger.finish(self._playout.exhaust())
        else:
            avail = self._playout.buffer_frames - (written - frames)
            self._ledger.finish(self._playout.hear(avail, now))
