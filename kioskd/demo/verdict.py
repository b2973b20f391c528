"""Was the answer really heard? The speaker's own record decides, by correlation."""

from __future__ import annotations

from attrs import frozen

from kioskd.audio.arrays import np
from kioskd.audio.pcm import BYTES_PER_MS, RATE_HZ

HEARD_FROM = 0.9  # normalised correlation; unrelated speech stays below 0.3
WINDOW_MS = 1000
DRIFT_MS = 60  # how far beginning and end may lie apart from where they belong: the answer has no hole
SETTLING_MS = 40  # the last of an interrupted answer may be in the sink, and dropped there


@frozen
class Sighting:
    """Where a piece of sound stands in a record, and how surely (-1.0 to 1.0)."""

    at_ms: float
    correlation: float


def find(piece: bytes, record: bytes) -> Sighting:
    """Look for `piece` in `record` (both s16le mono at 24 kHz)."""
    needle = np.frombuffer(piece, dtype="<i2").astype(np.float64)
    hay = np.frombuffer(record, dtype="<i2").astype(np.float64)
    if not needle.any() or len(hay) < len(needle):
        return Sighting(0.0, 0.0)
    size = 1 << (len(hay) + len(needle) - 1).bit_length()
    product = np.fft.rfft(hay, size) * np.conj(np.fft.rfft(needle, size))
    match = np.fft.irfft(product, size)[: len(hay) - len(needle) + 1]
    squares = np.concatenate(([0.0], np.cumsum(hay * hay)))
    energy = squares[len(needle) :] - squares[: -len(needle)]
    score = match / np.sqrt(np.maximum(energy, 1.0) * float(needle @ needle))
    best = int(score.argmax())
    return Sighting(best * 1000 / RATE_HZ, float(score[best]))


def was_heard(answer: bytes, heard_ms: int, record: bytes) -> bool:
    """True if the first `heard_ms` of `answer` stand in `record`, whole: beginning and end, at their distance."""
    heard = answer[: max(0, heard_ms - SETTLING_MS) * BYTES_PER_MS]
    window = WINDOW_MS * BYTES_PER_MS
    if len(heard) < window // 2:
        return False
    head, tail = find(heard[:window], record), find(heard[-window:], record)
    apart_ms = (len(heard) - len(heard[-window:])) / BYTES_PER_MS
    return min(head.correlation, tail.correlation) > HEARD_FROM and abs(tail.at_ms - head.at_ms - apart_ms) < DRIFT_MS
