"""What a self-test found, and how far it is to be believed. PURE, and without numpy."""

from __future__ import annotations

from enum import Enum

from attrs import evolve, frozen

from kioskd.config.schema import Audio, Echo

SURE_VOLUME = 40  # of the kiosk's, from which a chirp that isn't found isn't there
CAPTURE_AT_MOST_MS = 20.0  # a USB microphone's packets and filters, or a sound server's


class Verdict(Enum):
    """What works."""

    FINE = "speaker and microphone work"
    SPEAKER_DEAD = "speaker dead"
    MICROPHONE_DEAF = "microphone deaf"
    UNCLEAR = "can't tell"


@frozen(unsafe_hash=False)
class Report:
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
