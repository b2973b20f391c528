"""Which answers the speaker knows, how much of each was heard, and what has to be told of them. No clock, no I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from attrs import define, field

from kioskd.audio.pcm import ms_of
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.queue import Piece, Sound
from kioskd.dialogue.events import SignFinished, SpeakingFinished, SpeakingStarted, SpeakingStopped

log = logging.getLogger(__name__)

_MAX_ANSWERS = 4  # the dialogue knows one, and one that falls silent


@define(eq=False, repr=False)
class Ledger:
    """The answers of late. Every sound ends in exactly one event of its own; `stop` is answered always."""

    name: str
    """The device's, for the log."""
    emit: Callable[[SpeakerEvent], None]
    latency_ms: float = field(default=0.0, init=False)
    """How long sound is under way behind the device, as the self-test measured it."""
    gaps: int = field(default=0, init=False)
    """Gaps heard in answers since the start."""
    _answers: dict[int, Sound] = field(factory=dict, init=False)
    _gaps_of_late: int = field(default=0, init=False)  # since the last answer without one

    def answer(self, turn: int, lost: bool) -> Sound:
        """The answer of a turn; a new one if there is none, or it is over. `lost`: there is no device for it."""
        sound = self._answers.get(turn)
        if sound is None or sound.over:
            self._answers.pop(turn, None)
            sound = self._answers[turn] = Sound(turn, abandoned=lost)
            while len(self._answers) > _MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
        return sound

    def heard_ms(self, turn: int) -> int:
        """What was heard of this turn's answer, be it over or not; 0 for an unknown one."""
        sound = self._answers.get(turn)
        return self._reached_ms(sound) if sound else 0

    def begun_at(self, turn: int) -> float | None:
        """When this turn's answer left the device; None before."""
        sound = self._answers.get(turn)
        return sound.begun_at if sound else None

    def _reached_ms(self, sound: Sound) -> int:
        """What has reached the ear; where it is over, the rest will."""
        played_ms = ms_of(sound.heard_bytes)
        return played_ms if sound.over else max(0, played_ms - round(self.latency_ms))

    def written(self, pieces: Iterable[Piece]) -> None:
        """The device took these -> `SpeakingStarted` for each answer that begins with them."""
        for piece in pieces:
            sound = piece.sound
            if sound is None or sound.turn is None or not piece.pcm:
                continue
            if not sound.started:
                sound.started = True
                self.emit(SpeakingStarted(sound.turn))
            if sound.starved:
                sound.starved = False
                self._count_gap(sound)

    def finish(self, sounds: Iterable[Sound]) -> None:
        """These were heard to their end, or can't be heard at all -> `SpeakingFinished`, `SignFinished`."""
        for sound in sounds:
            sound.over = True
            if sound.turn is None:
                self.emit(SignFinished())
                continue
            self.emit(SpeakingFinished(sound.turn, ms_of(sound.heard_bytes)))
            if self._gaps_of_late and not sound.gaps and not sound.abandoned:
                log.info("speaker %r: an answer without gaps again, after %d", self.name, self._gaps_of_late)
                self._gaps_of_late = 0

    def stop(self, turn: int, sounds: Iterable[Sound]) -> None:
        """Silence was asked for in `turn`, and cut off `sounds` -> `SpeakingStopped`, and an end for all others."""
        self._cut(sound for sound in (*sounds, *self._answers.values()) if sound.turn != turn)
        self.emit(SpeakingStopped(turn, self.heard_ms(turn)))
        for sound in self._answers.values():
            sound.over = True

    def lose(self, sounds: Iterable[Sound]) -> None:
        """The device is gone, with `sounds` in it -> `SpeakingStopped` for every answer; their rest is not played."""
        self._cut((*sounds, *self._answers.values()))
        for sound in self._answers.values():
            sound.abandoned = True

    def _cut(self, sounds: Iterable[Sound]) -> None:
        for sound in dict.fromkeys(sounds):
            if sound.turn is None:
                self.finish([sound])
            elif not sound.over and not sound.abandoned:
                self.emit(SpeakingStopped(sound.turn, self._reached_ms(sound)))

    def _count_gap(self, sound: Sound) -> None:
        sound.gaps += 1
        self.gaps += 1
        self._gaps_of_late += 1
        log.log(
            logging.WARNING if self._gaps_of_late == 1 else logging.DEBUG,
            "speaker %r: a gap in an answer, %d ms into it: its sound comes too late (a slow link, or a busy machine)",
            self.name,
            ms_of(sound.heard_bytes),
        )
