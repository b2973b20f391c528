"""Keeps what the simulator heard and sent: WAV files and a log, in a directory.

`heard-N.wav` is the Nth turn, `sent-N.wav` the sound sent in answer to it (`sent-N-2.wav` if it was answered again),
all of it, heard by the visitor or not. `events.jsonl` has an object a line, each with its `t_ms` and `kind`:

- `wire`: `from` ("client", "server"), `type`, `chars`
- `heard`: `turn`, `item`, `text`, `understood`, `duration_ms`
- `sent`: `turn`, `item`, `text`, `status` (of the response; "cut" if the connection went), `duration_ms`
- `interrupt`: `item`, `audio_end_ms`
- `fault`: `fault` (its name), `phase` (how far the connection was); made on purpose
"""

from __future__ import annotations

import json
import logging
import time
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from attrs import define, field

from kioskd.simulator.brain import Understanding
from kioskd.simulator.settings import SimulatorError
from kioskd.simulator.sound import BYTES_PER_MS, RATE_HZ, SAMPLE_BYTES

MAX_TURNS = 1000  # a forgotten simulator must not fill a disk: about 1 GB
MAX_LINES = 1_000_000  # of the log: about 100 MB

_log = logging.getLogger(__name__)


@define(eq=False)
class Recorder:
    """An observer. Files are written at once: a turn's is small, and nobody waits but the simulator."""

    folder: Path
    _lines: TextIO
    _clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _written: int = field(default=0, init=False)
    _turns: dict[str, int] = field(factory=dict, init=False)  # by the id of the user's item
    _answers: Counter[int] = field(factory=Counter, init=False)
    _full: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._clock()

    @classmethod
    @contextmanager
    def at(cls, folder: Path | None) -> Iterator[Recorder | None]:
        """Record into `folder`, made if need be, until the end of the block; None records nothing.

        Raises `SimulatorError`: it can't be written to.
        """
        if folder is None:
            yield None
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = (folder / "events.jsonl").open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            what = f"can't record into {folder}: {error.strerror}; name a directory that can be written to"
            raise SimulatorError(what) from None
        with lines:
            yield cls(folder, lines)

    def on_event(self, sender: str, kind: str, size: int) -> None:
        """A line."""
        self._note("wire", **{"from": sender}, type=kind, chars=size)

    def on_heard(self, item_id: str, pcm: bytes, said: Understanding) -> None:
        """A line and a file."""
        turn = self._turn(item_id)
        length = len(pcm) // BYTES_PER_MS
        self._note("heard", turn=turn, item=item_id, text=said.text, understood=said.understood, duration_ms=length)
        self._write_wav(f"heard-{turn}.wav", turn, pcm)

    def on_sent(self, item_id: str, question_id: str | None, text: str, pcm: bytes, status: str) -> None:
        """A line, and a file if anything was spoken."""
        turn = self._turn(question_id or item_id)
        length = len(pcm) // BYTES_PER_MS
        self._note("sent", turn=turn, item=item_id, text=text, status=status, duration_ms=length)
        if pcm:
            self._answers[turn] += 1
            again = f"-{self._answers[turn]}" if self._answers[turn] > 1 else ""
            self._write_wav(f"sent-{turn}{again}.wav", turn, pcm)

    def on_interrupt(self, item_id: str, audio_end_ms: int) -> None:
        """A line."""
        self._note("interrupt", item=item_id, audio_end_ms=audio_end_ms)

    def on_fault(self, kind: str, phase: str) -> None:
        """A line."""
        self._note("fault", fault=kind, phase=phase)

    def _turn(self, item_id: str) -> int:
        return self._turns.setdefault(item_id, len(self._turns) + 1)

    def _note(self, kind: str, **what: Any) -> None:
        if self._written >= MAX_LINES:
            self._tell_full(f"{MAX_LINES} lines")
            return
        self._written += 1
        line = {"t_ms": round((self._clock() - self._began) * 1000, 1), "kind": kind, **what}
        self._attempt(lambda: self._lines.write(json.dumps(line) + "\n"))

    def _write_wav(self, name: str, turn: int, pcm: bytes) -> None:
        if turn > MAX_TURNS:
            self._tell_full(f"{MAX_TURNS} turns")
            return

        def write() -> None:
            with wave.open(str(self.folder / name), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(SAMPLE_BYTES)
                file.setframerate(RATE_HZ)
                file.writeframes(pcm)

        self._attempt(write)

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            self._tell_full(error.strerror or str(error))

    def _tell_full(self, why: str) -> None:
        level = logging.DEBUG if self._full else logging.WARNING
        self._full = True
        _log.log(level, "the record in %s is not complete any more: %s", self.folder, why)
