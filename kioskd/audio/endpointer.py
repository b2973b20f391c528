"""When has somebody said it who has no finger on a button? Heard from the loudness alone. PURE.

The room's noise is the floor: it falls at once to whatever is quieter, and rises only slowly, so that it stays under
speech, which has gaps, and follows a fan that was switched on. What is louder by a margin is speech.
"""

from __future__ import annotations

import math
from enum import Enum

MARGIN_DB = 6.5  # speech 8 dB above the noise clears it often enough, and the noise's own swing hardly ever does
RISE_DB_PER_S = 3.0  # a vowel held for four seconds is still speech at 20 dB above the noise
LOWEST_DB = -66.0  # below it is no room's noise, but a converter's; digital silence would be minus infinity
SPOKEN_MS = 150  # the click of the button is shorter, every word is longer
SMOOTHING_MS = 50.0  # a block of 20 ms of a deep voice swings by itself
_BINS = 1 - int(LOWEST_DB)  # one for each dB up to full scale


class Verdict(Enum):
    """How it ended."""

    SPOKEN = "spoken"
    NOTHING_SAID = "nothing-said"


class Endpointer:
    """Fed with the blocks of one utterance from its beginning, in order. Its state is of one size for ever."""

    def __init__(self, silence_ms: float, no_speech_ms: float) -> None:
        """It is over after `silence_ms` of quiet behind speech, or after `no_speech_ms` without any."""
        self._silence_ms = silence_ms
        self._no_speech_ms = no_speech_ms
        self._heard_ms = 0.0
        self._quiet_ms = 0.0
        self._spoke = False
        self._level_db: float | None = None
        self._floor_db = 0.0
        # How long it was how loud: what was speech is known only when the first pause shows the floor under it.
        self._ms_at_db = [0.0] * _BINS

    @property
    def floor(self) -> float:
        """The noise of the room as it seems now, RMS, 0.0 to 1.0."""
        return _amplitude(self._floor_db)

    @property
    def threshold(self) -> float:
        """What is louder (RMS over some 50 ms, 0.0 to 1.0) is speech."""
        return _amplitude(self._floor_db + MARGIN_DB)

    def feed(self, level: float, duration_ms: float) -> Verdict | None:
        """The next block's RMS, 0.0 to 1.0, and length (20 ms is best); the verdict as soon as there is one."""
        level_db = self._smooth(_decibels(level), duration_ms)
        self._heard_ms += duration_ms
        self._ms_at_db[round(level_db - LOWEST_DB)] += duration_ms
        self._floor_db = min(level_db, self._floor_db + RISE_DB_PER_S * duration_ms / 1000)
        if level_db > self._floor_db + MARGIN_DB:
            self._quiet_ms = 0.0
        else:
            self._quiet_ms += duration_ms
        if not self._spoke and self._loud_ms() >= SPOKEN_MS:
            self._spoke = True
            self._quiet_ms = min(self._quiet_ms, duration_ms)  # until now nobody could know what was quiet
        if self._spoke:
            return Verdict.SPOKEN if self._quiet_ms >= self._silence_ms else None
        return Verdict.NOTHING_SAID if self._heard_ms >= self._no_speech_ms else None

    def _smooth(self, level_db: float, duration_ms: float) -> float:
        before = self._level_db
        weight = 1.0 if before is None else 1 - math.exp(-duration_ms / SMOOTHING_MS)
        self._level_db = level_db if before is None else before + weight * (level_db - before)
        return self._level_db

    def _loud_ms(self) -> float:
        """How much of all that was heard is louder than today's floor by the margin."""
        first = math.floor(self._floor_db + MARGIN_DB - LOWEST_DB) + 1
        return sum(self._ms_at_db[first:])


def _decibels(level: float) -> float:
    clean = level if level > 0 else 0.0  # also where it is no number
    return min(max(20 * math.log10(clean), LOWEST_DB), 0.0) if clean else LOWEST_DB


def _amplitude(level_db: float) -> float:
    return math.pow(10, level_db / 20)
