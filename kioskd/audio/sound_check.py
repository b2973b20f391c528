"""Does the kiosk's sound work? Tested now and then; what came of it is remembered, told and shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from attrs import frozen

from kioskd.audio.latencies import Latencies
from kioskd.audio.loudness import minute_of_day
from kioskd.audio.sound_test import Ear, Mouth, SoundTest, SoundTestError
from kioskd.audio.verdict import Report, Verdict, doubted, output_latency_ms
from kioskd.audio.volume import minutes_of, volume_at
from kioskd.config.schema import Audio
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised
from kioskd.dialogue.surroundings import UNMEASURED_TAIL_MS
from kioskd.value import Value

log = logging.getLogger(__name__)

NEVER = "none"  # in audio.self_test.daily_at
START_PATIENCE_S = 30.0  # for devices that appear late at boot
LOOK_EVERY_S = 30.0  # how late the daily test may begin
PATIENT_MINUTES = 120  # so long it waits for visitors to leave; then there is none that day
FAULT_OF = {Verdict.SPEAKER_DEAD: Fault.SPEAKER_DEAD, Verdict.MICROPHONE_DEAF: Fault.MICROPHONE_DEAF}

Tell = Callable[[FaultRaised | FaultCleared], None]
Request = Callable[[], Awaitable[Report]]
"""Has a test made where no visitor is about. Raises SoundTestError."""


class Voice(Mouth, Protocol):
    """What it needs of the kiosk's speaker."""

    latency_ms: float

    @property
    def card(self) -> int | None:
        """The number of the sound card that is open."""


@frozen(eq=False, repr=False)
class Outcome(Value):
    """A test that was made."""

    report: Report
    at: float
    """Seconds since the epoch."""
    output_latency_ms: float | None
    """What is taken off the heard position; None unless it was found."""


class SoundCheck:
    """The tests of one microphone and one speaker."""

    def __init__(
        self,
        settings: Audio,
        microphone: Ear,
        speaker: Voice,
        latencies: Latencies,
        minute: Callable[[], int | None] = minute_of_day,
    ) -> None:
        """`minute` is that of the local day."""
        self._settings = settings
        self._microphone = microphone
        self._speaker = speaker
        self._latencies = latencies
        self._minute = minute
        self._test = SoundTest(microphone, speaker)
        self._faults: dict[Fault, int] = {}  # those that are raised, with how many tests in a row said so
        self.last: Outcome | None = None
        """The newest test; None before the first."""
        self.tail_ms: float | None = None
        """How long the room goes on after the open card's last sound; None where it wasn't measured."""

    def opened(self, card: int | None, device: str) -> float:
        """The speaker opens this card, in its thread: the latency that is known of it, in ms; 0 where none is."""
        self.tail_ms = self._latencies.tail_of(card, device)
        return self._latencies.of(card, device)

    async def test(self, tell: Tell) -> Report:
        """Make one, of some 3 s; where it fails, a second one decides. Raises SoundTestError.

        A fault is raised, or cleared, by `tell`: it is shown, and keeps nobody from talking.
        """
        volume = volume_at(self._settings, self._minute())
        if volume == 0:
            raise SoundTestError("the volume is 0: there is nothing to be heard")
        for _ in range(2):  # one may be spoilt by whatever happens in a room
            report = doubted(await self._test.run(), self._settings, volume)
            if report.verdict is Verdict.FINE:
                break
        self._keep(report, softer=volume < volume_at(self._settings, None))
        self._tell(report, tell)
        return report

    def adjust(self, settings: Audio) -> None:
        """These count from the next look on."""
        self._settings = settings

    def stop(self) -> None:
        """A visitor is here: silence at once."""
        self._test.stop()

    async def run(self, request: Request) -> None:
        """Test at the start and daily, as the settings say, until cancelled."""
        if self._settings.self_test.at_start:
            await self._at_start(request)
        due = False
        while True:
            within = _is_time(self._minute(), self._settings.self_test.daily_at)
            if within and due:
                due = not await self._tested(request)
            elif not within:
                due = True  # only a day whose hour was seen to come: a restart within it makes no second test
            await trio.sleep(LOOK_EVERY_S)

    async def _at_start(self, request: Request) -> None:
        with trio.move_on_after(START_PATIENCE_S):
            while not (self._microphone.present and self._speaker.present and await self._tested(request)):
                await trio.sleep(1.0)

    async def _tested(self, request: Request) -> bool:
        try:
            await request()
        except SoundTestError as error:
            log.debug("no self-test now: %s", error)
            return False
        return True

    def _keep(self, report: Report, softer: bool) -> None:
        """`softer`: than by day."""
        latency_ms = None
        if report.verdict is Verdict.FINE and report.latency_ms is not None:
            latency_ms = self._speaker.latency_ms = output_latency_ms(report.latency_ms)
            card, device, tail_ms = self._speaker.card, self._settings.speaker, report.tail_ms
            # A soft chirp dies away sooner than a loud answer.
            if tail_ms is not None and softer and tail_ms <= (self.tail_ms or UNMEASURED_TAIL_MS):
                tail_ms = None
            self._latencies.keep(card, device, latency_ms, tail_ms)
            self.tail_ms = self._latencies.tail_of(card, device)
        self.last = Outcome(report, time.time(), latency_ms)

    def _tell(self, report: Report, tell: Tell) -> None:
        text = f"self-test: {report.verdict.value}: {report.reason}"
        if report.verdict is Verdict.FINE:
            tail = f"; {report.tail_words}" if report.tail_words else ""
            log.info("%s (%.0f ms, %.0f dB)%s", text, report.latency_ms or 0.0, report.level_db, tail)
        fault = FAULT_OF.get(report.verdict)
        if report.verdict is Verdict.UNCLEAR:
            log.warning("%s", text)
            return
        for over in [each for each in self._faults if each is not fault]:
            log.info("self-test: no %s any more, after %d tests that said so", over.value, self._faults.pop(over))
            tell(FaultCleared(over))
        if fault is not None:
            times = self._faults[fault] = self._faults.get(fault, 0) + 1
            log.log(logging.WARNING if times == 1 else logging.DEBUG, "%s", text)
            if times == 1:
                tell(FaultRaised(fault, text))


def _is_time(minute: int | None, daily_at: str) -> bool:
    """Whether the daily test may be made at this minute of the day."""
    if minute is None or daily_at == NEVER:
        return False
    return (minute - minutes_of(daily_at)) % 1440 < PATIENT_MINUTES
