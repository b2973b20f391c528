"""Microphone, speaker and panel in memory: every block carries its turn's marks, and all that happens is recorded."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import trio
from attrs import define

from kioskd.audio.utterance import Utterance
from kioskd.chaos import marks
from kioskd.chaos import record as r
from kioskd.chaos.marks import BYTES_PER_MS
from kioskd.chaos.timetable import Timetable
from kioskd.chaos.trace import Trace
from kioskd.daemon import PanelEvent
from kioskd.dialogue.effects import Sign, State, View
from kioskd.dialogue.events import (
    Fault,
    FaultCleared,
    FaultRaised,
    Link,
    Pressed,
    Released,
    SignFinished,
    SpeakingFinished,
    SpeakingStarted,
    SpeakingStopped,
    UtteranceEnded,
)

BLOCK_S = 0.1  # as the real one's
UTTERANCE_MS_MAX = 6000
SIGN_S = 0.3
SILENCE_TOLD_S = 0.02  # at most so long after it fell silent, the speaker tells what was heard


@define(eq=False)
class _Recording:
    utterance: Utterance
    began: float
    done_ms: int = 0
    ends_at: float | None = None


class MemoryMicrophone:
    """Hears a visitor who says nothing but marks (see `audio.ports.Microphone`)."""

    level = 0.0

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._timetable = Timetable()
        self._recording: _Recording | None = None
        self._report: Callable[[Any], None] = lambda _: None

    async def run(self, report: Callable[[Any], None]) -> None:
        """See port."""
        self._report = report
        await self._timetable.run()

    def begin(self, turn: int, pre_roll_ms: int) -> Utterance:
        """See port."""
        self._trace.add(r.Begun(self._trace.now, turn))
        recording = _Recording(
            Utterance(turn, UTTERANCE_MS_MAX * BYTES_PER_MS), trio.current_time() - pre_roll_ms / 1000
        )
        self._recording = recording
        self._advance(recording)
        self._timetable.at(trio.current_time() + BLOCK_S, lambda: self._tick(recording))
        return recording.utterance

    def end(self, turn: int, post_roll_ms: int) -> None:
        """See port."""
        recording = self._recording
        if recording is None or recording.utterance.turn != turn or recording.ends_at is not None:
            return
        self._trace.add(r.Released(self._trace.now, turn))
        recording.ends_at = trio.current_time() + post_roll_ms / 1000
        self._timetable.at(recording.ends_at, lambda: self._finish(recording))

    def discard(self, turn: int) -> None:
        """See port."""
        if self._recording is not None and self._recording.utterance.turn == turn:
            self._recording.utterance.end()
            self._recording = None

    async def fail(self, for_s: float) -> None:
        """Be lost for a while."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.utterance.end()
        self._report(FaultRaised(Fault.MICROPHONE))
        await trio.sleep(for_s)
        self._report(FaultCleared(Fault.MICROPHONE))

    def _tick(self, recording: _Recording) -> None:
        if recording is self._recording:
            self._advance(recording)
            self._timetable.at(trio.current_time() + BLOCK_S, lambda: self._tick(recording))

    def _advance(self, recording: _Recording) -> None:
        until = round((trio.current_time() - recording.began) * 1000)
        ms = until - recording.done_ms
        if ms > 0:
            turn = recording.utterance.turn
            recording.utterance.append(marks.marked(turn, marks.QUESTION, recording.done_ms, ms))
            recording.done_ms = until

    def _finish(self, recording: _Recording) -> None:
        if recording is not self._recording:
            return
        self._advance(recording)
        self._recording = None
        recording.utterance.end()
        turn = recording.utterance.turn
        self._trace.add(r.Recorded(self._trace.now, turn, recording.done_ms))
        self._report(UtteranceEnded(turn, recording.done_ms))


@define(eq=False)
class _Speech:
    turn: int
    began: float
    ends_at: float
    pcm: bytearray
    finishing: bool = False

    def played(self, now: float) -> int:
        """Bytes that have left the device; whole frames."""
        waiting = max(0, round((self.ends_at - max(now, self.began)) * 1000 * BYTES_PER_MS))
        return max(0, len(self.pcm) - waiting) & ~1


class MemorySpeaker:
    """Plays in virtual time, and keeps what was really played (see `audio.ports.Speaker`)."""

    level = 0.0

    def __init__(self, trace: Trace, rng: random.Random) -> None:
        self._trace = trace
        self._rng = rng
        self._timetable = Timetable()
        self._speech: _Speech | None = None
        self._signs: deque[object] = deque()
        self._sign_ends_at = 0.0
        self._report: Callable[[Any], None] = lambda _: None

    async def run(self, report: Callable[[Any], None]) -> None:
        """See port."""
        self._report = report
        await self._timetable.run()

    @property
    def heard_ms(self) -> int:
        """How much of the answer that is being played a visitor has heard; 0 where none is."""
        speech = self._speech
        return speech.played(trio.current_time()) // BYTES_PER_MS if speech is not None else 0

    @property
    def silent(self) -> bool:
        """Whether nothing is being played or queued."""
        return self._speech is None and not self._signs

    def play(self, turn: int, pcm: bytes) -> None:
        """See port."""
        now = trio.current_time()
        speech = self._speech
        if speech is None or speech.turn != turn:
            if speech is not None:
                self._close(speech, finished=False)
            began = max(now, self._sign_ends_at)
            speech = self._speech = _Speech(turn, began, began, bytearray())
            self._timetable.at(began, lambda: self._report(SpeakingStarted(turn)))
        speech.pcm += pcm
        speech.ends_at = max(speech.ends_at, now) + len(pcm) / BYTES_PER_MS / 1000

    def finish(self, turn: int) -> None:
        """See port."""
        speech = self._speech
        if speech is None or speech.turn != turn:
            self._report(SpeakingFinished(turn, 0))
        elif not speech.finishing:
            speech.finishing = True
            self._timetable.at(speech.ends_at, lambda: self._finish(speech))

    def stop(self, turn: int) -> None:
        """See port."""
        speech, heard_ms = self._speech, 0
        if speech is not None and speech.turn == turn:
            heard_ms = speech.played(trio.current_time()) // BYTES_PER_MS
            self._close(speech, finished=False)
        told_at = trio.current_time() + self._rng.random() * SILENCE_TOLD_S
        self._timetable.at(told_at, lambda: self._report(SpeakingStopped(turn, heard_ms)))

    def give_sign(self, sign: Sign) -> None:
        """See port."""
        self._trace.add(r.Signed(self._trace.now, sign.value))
        busy_until = max(self._sign_ends_at, self._speech.ends_at if self._speech else 0.0)
        self._sign_ends_at = max(trio.current_time(), busy_until) + SIGN_S
        ticket = object()
        self._signs.append(ticket)
        self._timetable.at(self._sign_ends_at, lambda: self._end_sign(ticket))

    def cut_sign(self) -> None:
        """See port."""
        self._sign_ends_at = trio.current_time()
        if self._signs:
            self._end_sign(self._signs[0])

    async def fail(self, for_s: float) -> None:
        """Be lost for a while."""
        if self._speech is not None:
            turn, heard_ms = self._speech.turn, self.heard_ms
            self._close(self._speech, finished=False)
            self._report(SpeakingStopped(turn, heard_ms))
        self._report(FaultRaised(Fault.SPEAKER))
        await trio.sleep(for_s)
        self._report(FaultCleared(Fault.SPEAKER))

    def _end_sign(self, ticket: object) -> None:
        if ticket in self._signs:
            self._signs.remove(ticket)
            self._report(SignFinished())

    def _finish(self, speech: _Speech) -> None:
        if speech is self._speech:
            self._close(speech, finished=True)
            self._report(SpeakingFinished(speech.turn, len(speech.pcm) // BYTES_PER_MS))

    def _close(self, speech: _Speech, finished: bool) -> None:
        self._speech = None
        played = bytes(speech.pcm if finished else speech.pcm[: speech.played(trio.current_time())])
        began = self._trace.ms_of(speech.began)
        self._trace.add(r.Spoken(self._trace.now, speech.turn, began, marks.read(played), finished))


class MemoryPanel:
    """A button for `visitor`, and a lamp that can be waited for."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._report: Callable[[PanelEvent], None] = lambda _: None
        self.view = View(State.STARTING, Link.DOWN)
        self.on_view: Callable[[View], None] = lambda _: None
        self._changed = trio.Event()

    async def run(self, report: Callable[[PanelEvent], None]) -> None:
        """See `daemon.Panel`."""
        self._report = report
        await trio.sleep_forever()

    def show(self, view: View) -> None:
        """See `daemon.Panel`."""
        before, self.view = self.view, view
        if (before.state, before.link) != (view.state, view.link):
            self._trace.add(r.Viewed(self._trace.now, view.state.value, view.link.value))
        self._changed.set()
        self._changed = trio.Event()
        self.on_view(view)

    def press(self) -> None:
        """The button goes down."""
        self._trace.add(r.Pressed(self._trace.now))
        self._report(Pressed())

    def release(self) -> None:
        """The button goes up."""
        self._report(Released())

    async def until(self, wanted: Callable[[View], bool], for_s: float) -> bool:
        """Wait until the lamp shows what is wanted; False if it didn't within that time."""
        with trio.move_on_after(for_s):
            while not wanted(self.view):
                await self._changed.wait()
            return True
        return False
