"""The self-test of a running kiosk: the chirp goes through the threads that hold the sound card anyway.

A card can't be opened twice, and one that is closed for a test may not come back. So the chirp is an answer to a turn
that nobody opened, and what the microphone hears meanwhile an utterance that nobody is told of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.utterance import Utterance
from kioskd.audio.verdict import Report

if TYPE_CHECKING:
    from kioskd.audio.selftest import Recording

PATIENCE_S = 3.0  # a device that moves no sound for so long moves none

TURN = 0  # the dialogue's begin at 1, and what belongs to none of them is dropped there


class SoundTestError(Exception):
    """There was no test; one line says why, and what to do."""


class Ear(Protocol):
    """What it needs of a microphone (`ports.Microphone`)."""

    @property
    def present(self) -> bool:
        """True while the device delivers sound."""

    def begin(self, turn: int, pre_roll_ms: int) -> Utterance:
        """Record; its `began_at` is kept up to date."""

    def discard(self, turn: int) -> None:
        """Stop recording."""


class Mouth(Protocol):
    """What it needs of a speaker (`ports.Speaker`)."""

    @property
    def present(self) -> bool:
        """True while the device is open."""

    def play(self, turn: int, pcm: bytes) -> None:
        """Queue a piece of sound."""

    def finish(self, turn: int) -> None:
        """Nothing more of it comes."""

    def stop(self, turn: int) -> None:
        """Silence at once."""

    def begun_at(self, turn: int) -> float | None:
        """When the newest sound of a turn left the device; None before."""


class SoundTest:
    """`run` takes some 2.5 s, in which nobody else may speak or record; `stop` ends it at once, for a visitor."""

    def __init__(self, ear: Ear, mouth: Mouth, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is that of the two threads."""
        self._ear = ear
        self._mouth = mouth
        self._clock = clock
        self._running = False

    async def run(self) -> Report:
        """Chirp, listen and judge. Raises SoundTestError."""
        for name, device in (("microphone", self._ear), ("speaker", self._mouth)):
            if not device.present:
                raise SoundTestError(f"the {name} is not there; `kioskd devices` shows what is")
        from kioskd.audio.selftest import judge  # only here: it brings numpy

        self._running = True
        try:
            recording = await self._listen()
        finally:
            self.stop()
        return await trio.to_thread.run_sync(judge, recording)

    def stop(self) -> None:
        """Silence, and nothing is recorded any more. Harmless when nothing runs."""
        if self._running:
            self._running = False
            self._mouth.stop(TURN)
            self._ear.discard(TURN)

    async def _listen(self) -> Recording:
        from kioskd.audio import selftest as s
        from kioskd.audio.arrays import np

        tape = _Tape(self._ear.begin(TURN, 0))
        await tape.run_until(bytes_of(s.SETTLE_MS + s.ROOM_MS))
        asked_at = self._clock()
        self._mouth.play(TURN, np.rint(s.chirp()).astype("<i2").tobytes())
        self._mouth.finish(TURN)
        begun_at = None
        while begun_at is None or begun_at < asked_at:  # an earlier test's may still be known
            if self._clock() - asked_at > PATIENCE_S:
                raise SoundTestError(f"the speaker has taken no sound for {PATIENCE_S:.0f} s; try again")
            await tape.run_until(tape.size + 1)
            begun_at = self._mouth.begun_at(TURN)
        played_at = round((begun_at - tape.began_at) * RATE_HZ)  # by the clock: sound is told of in large pieces
        await tape.run_until(played_at * FRAME_BYTES + bytes_of(s.LONGEST_ECHO_MS + s.CHIRP_S * 1000))
        settled = bytes_of(s.SETTLE_MS)
        samples = np.frombuffer(tape.since(settled), dtype="<i2").astype(np.float64)
        return s.Recording(samples, played_at - settled // FRAME_BYTES)


class _Tape:
    """An utterance, waited for."""

    def __init__(self, utterance: Utterance) -> None:
        self._utterance = utterance
        self._grown = trio.Event()
        utterance.subscribe(self._grow)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._utterance.size

    @property
    def began_at(self) -> float:
        """When its first frame was heard."""
        return self._utterance.began_at

    def since(self, cursor: int) -> bytes:
        """All but the first so many bytes."""
        return self._utterance.since(cursor)

    async def run_until(self, size: int) -> None:
        """Until there are so many bytes. Raises SoundTestError."""
        while self._utterance.size < size:
            self._grown = trio.Event()
            with trio.move_on_after(PATIENCE_S) as patience:
                await self._grown.wait()
            if patience.cancelled_caught or self._utterance.ended:
                raise SoundTestError(f"the microphone gave no sound for {PATIENCE_S:.0f} s; try again")

    def _grow(self) -> None:
        self._grown.set()
