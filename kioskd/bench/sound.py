"""The microphone and the speaker of the clients that are compared: ALSA's blocking calls, or a clock."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from kioskd.bench.canned import BYTES_PER_MS, voice
from kioskd.bench.plan import Plan, chunk_sizes

_RATE_HZ = 24_000
_PERIOD_FRAMES = 480  # as the kiosk's default settings
_BUFFER_PERIODS = 8


def said(seconds: float) -> int:
    """How many bytes a visitor says in so long."""
    return round(seconds * 1000) * BYTES_PER_MS


class Microphone:
    """Blocks while it is listened to."""

    def __init__(self, plan: Plan) -> None:
        self._pcm = _opened(plan.microphone, capture=True) if plan.has_sound else None
        self._voice = voice(1000)

    def chunks(self, seconds: float) -> Iterator[bytes]:
        """What is said from now on, each chunk when it is whole."""
        yield from self._recorded(seconds) if self._pcm is not None else self._paced(seconds)

    def paced(self, seconds: float) -> Iterator[tuple[float, bytes]]:
        """(how many seconds from the beginning it is whole, chunk), without waiting."""
        size = 0
        for chunk in chunk_sizes(said(seconds)):
            size += chunk
            yield size / said(1), (self._voice * 2)[:chunk]

    def _paced(self, seconds: float) -> Iterator[bytes]:
        began = time.monotonic()
        for due_s, chunk in self.paced(seconds):
            time.sleep(max(0.0, began + due_s - time.monotonic()))
            yield chunk

    def _recorded(self, seconds: float) -> Iterator[bytes]:
        assert self._pcm is not None
        self._pcm.drop()  # what was not listened to
        sizes = iter(chunk_sizes(said(seconds)))
        wanted, pending = next(sizes), b""
        while True:
            frames, data = self._pcm.read()
            if frames > 0:
                pending += data[: frames * 2]
            while len(pending) >= wanted:
                yield pending[:wanted]
                pending = pending[wanted:]
                wanted = next(sizes, 0)
                if not wanted:
                    self._pcm.drop()
                    return


class Speaker:
    """A queue and a thread that blocks in ALSA; or, without a device, the time that it would take."""

    def __init__(self, plan: Plan, threaded: bool = True) -> None:
        self._pcm = _opened(plan.speaker, capture=False) if plan.has_sound else None
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._silent = threading.Event()
        self._began = 0.0
        self._bytes = 0
        if self._pcm is not None and threaded:
            threading.Thread(target=self._work, daemon=True).start()

    def play(self, pcm: bytes) -> None:
        """Queue a piece."""
        if not self._bytes:
            self._began = time.monotonic()
        self._bytes += len(pcm)
        if self._pcm is not None:
            self._queue.put(pcm)

    def play_all(self, pieces: list[bytes]) -> None:
        """Without the thread: returns when all is played, as far as the buffer."""
        for piece in pieces:
            if self._pcm is None:
                time.sleep(len(piece) / said(1))
            else:
                self._write(piece)

    @property
    def remaining_s(self) -> float:
        """Without a device: how long it would go on."""
        return self._began + self._bytes / said(1) - time.monotonic()

    def drain(self) -> None:
        """Wait until all was played."""
        if self._pcm is None:
            time.sleep(max(0.0, self.remaining_s))
        else:
            self._silent.clear()
            self._queue.put(b"")
            self._silent.wait()
        self._bytes = 0

    def forget(self) -> None:
        """The next piece begins a new answer."""
        self._bytes = 0

    def _write(self, piece: bytes) -> None:
        assert self._pcm is not None
        while self._pcm.write(piece) < 0:  # an underrun takes nothing
            continue

    def _work(self) -> None:
        while True:
            piece = self._queue.get()
            if piece:
                self._write(piece)
            else:
                self._silent.set()


class Drain:
    """A microphone that is read as an idle kiosk reads it, and nothing else: all that came, every `naps_s`."""

    def __init__(self, device: str, naps_s: float) -> None:
        self._pcm = _opened(device, capture=True, blocking=False)
        self._naps_s = naps_s

    def run(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            while self._pcm.read()[0] > 0:
                continue
            time.sleep(self._naps_s)


def _opened(device: str, capture: bool, blocking: bool = True) -> Any:
    import alsaaudio

    return alsaaudio.PCM(
        type=alsaaudio.PCM_CAPTURE if capture else alsaaudio.PCM_PLAYBACK,
        mode=alsaaudio.PCM_NORMAL if blocking else alsaaudio.PCM_NONBLOCK,
        rate=_RATE_HZ,
        channels=1,
        format=alsaaudio.PCM_FORMAT_S16_LE,
        periodsize=_PERIOD_FRAMES,
        periods=_BUFFER_PERIODS * (1 if blocking else 2),
        device=device,
    )
