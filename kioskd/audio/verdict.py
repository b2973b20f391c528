"""What a self-test found, and how far it is to be believed. PURE, and without numpy."""

from __future__ import annotations

import math
from enum import Enum

from attrs import evolve, frozen

from kioskd.audio.pcm import RATE_HZ
from kioskd.config.schema import Audio, Echo
from kioskd.value import Value

SURE_VOLUME = 40  # of the kiosk's, from which a chirp that isn't found isn't there
SHORTEST_TAIL_MS, LONGEST_TAIL_MS = 40, 1000  # of those that count; the longest that an owner may set, too
_TAIL_MARGIN_MS = 10.0  # a window of the measurement; beside it what a microphone holds when a gate begins: a period
CAPTURE_AT_MOST_MS = 20.0  # a USB microphone's packets and filters, or a sound server's


class Verdict(Enum):
    """What works."""

    FINE = "speaker and microphone work"
    SPEAKER_DEAD = "speaker dead"
    MICROPHONE_DEAF = "microphone deaf"
    UNCLEAR = "can't tell"


@frozen(eq=False, repr=False)
class Report(Value):
    """The outcome, for the owner."""

    verdict: Verdict
    reason: str
    """One line: what was heard, and what to do."""
    correlation: float
    """Of the chirp and what was heard, where it fits best: 0.0 to 1.0."""
    latency_ms: float | None
    """From handing the chirp to the sound card until the microphone had it; None unless it was found."""
    level_db: float
    """In the microphone, while the chirp was heard (or should have been): dB, 0 is full scale."""
    room_db: float
    """As above, of the room before the chirp."""
    tail_ms: float | None = None
    """From the chirp's last frame leaving the sound card until the microphone heard the room as quiet as before;
    `latency_ms` is part of it. None where it wasn't measured."""

    @property
    def tail_words(self) -> str:
        """The tail in words; "" where it wasn't measured."""
        return tail_words(self.tail_ms)


def tail_words(tail_ms: float | None) -> str:
    """A measured tail as an owner reads it; "" where there is none."""
    return "" if tail_ms is None else f"the room is quiet {tail_ms:.0f} ms after the kiosk's last sound"


def doubted(report: Report, settings: Audio, volume: int | None = None) -> Report:
    """The same, less sure where the chirp may have been lost on its way; `volume`: 0 to 100, of what was played."""
    if report.verdict is not Verdict.SPEAKER_DEAD:
        return report
    if settings.echo in (Echo.HARDWARE, Echo.SOFTWARE):
        return evolve(
            report, verdict=Verdict.UNCLEAR, reason="the echo canceller may have taken the chirp away; listen"
        )
    if volume is not None and volume < SURE_VOLUME:
        reason = f"at a volume of {volume} the chirp may be too soft; try again with {SURE_VOLUME} or more"
        return evolve(report, verdict=Verdict.UNCLEAR, reason=reason)
    return report


def output_latency_ms(round_trip_ms: float) -> float:
    """The speaker's share of what lies between handing sound to the card and hearing it, beyond the card's buffers.

    Nothing tells the two halves apart, but a microphone's is small: it is taken for the half of the whole, and for
    CAPTURE_AT_MOST_MS at most. The rest is the speaker's (a Bluetooth one keeps 200 ms, a television 100).
    """
    return max(0.0, round_trip_ms - min(round_trip_ms / 2, CAPTURE_AT_MOST_MS))


def with_tail(settings: Audio, measured_ms: float | None) -> Audio:
    """The same with the echo's tail that counts: the owner's word, else the measured one; None where there is none."""
    if settings.echo_tail_ms is not None or measured_ms is None:
        return settings
    tail_ms = math.ceil(measured_ms + _TAIL_MARGIN_MS + settings.period_frames * 1000 / RATE_HZ)
    return evolve(settings, echo_tail_ms=min(max(tail_ms, SHORTEST_TAIL_MS), LONGEST_TAIL_MS))
