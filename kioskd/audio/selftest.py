"""Do the speaker and the microphone work? A chirp is played, and looked for in what the microphone hears.

The judgement (`judge`) is pure. `listen_to_itself` plays and records, and holds the devices for about three seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from attrs import evolve, frozen

from kioskd.audio.alsa import open_capture, open_playback
from kioskd.audio.arrays import Floats, np
from kioskd.audio.capture_port import CaptureDevice
from kioskd.audio.capture_port import OpenDevice as OpenCapture
from kioskd.audio.errors import DeviceLostError, Direction
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.playback_port import OpenDevice as OpenPlayback
from kioskd.audio.playback_port import PlaybackDevice
from kioskd.audio.tail import quiet_from
from kioskd.audio.verdict import Report, Verdict, doubted
from kioskd.config.schema import Audio

__all__ = ["Report", "Verdict", "chirp", "judge", "listen_to_itself", "try_devices"]

CHIRP_S = 0.4
_LOWEST_HZ, _HIGHEST_HZ = 400.0, 4000.0  # what a small speaker carries
_CHIRP_PEAK = 8192.0  # a quarter of full scale: -12 dBFS
SETTLE_MS = 300  # what a device gives first may be stale, or a pop
ROOM_MS = 500
_EARLY_FRAMES = RATE_HZ // 20  # a sound server shows what it is going to play, and clocks are read late
LONGEST_ECHO_MS = 1000  # Bluetooth takes a quarter of that
PATIENCE_S = 3.0  # a device that moves no sound for so long moves none
_TURN_MS = 5.0
_CAPTURE_BUFFER_FRAMES = RATE_HZ * 4 // 10

LIKE = 0.5  # normalised correlation; room noise stays below 0.2
LOUD_ENOUGH = 100.0  # RMS of 32768 (-50 dBFS): a chirp that a visitor would hear too
HEARS = 10.0  # RMS (-70 dBFS) of a room; less may be the hiss of a sound card without a microphone
TOO_LOUD = 1000.0  # RMS (-30 dBFS) of a room in which a good chirp could be missed
_LOUDER = 4.0  # than the room before: no dead speaker's silence, but a visitor, or a chirp with gaps
_DIGITAL_SILENCE = 1.0  # highest deviation: no converter is that quiet


@frozen
class Recording:
    """What the microphone gave, as samples of 16 bits, and at which frame the chirp was handed to the speaker."""

    samples: Floats
    played_at: int


def chirp() -> Floats:
    """The test sound, as samples of 16 bits: a rising tone that is like itself at no other moment, softly begun."""
    frames = round(CHIRP_S * RATE_HZ)
    seconds = np.arange(frames) / RATE_HZ
    sweep = 2 * math.pi * (_LOWEST_HZ * seconds + (_HIGHEST_HZ - _LOWEST_HZ) * seconds**2 / (2 * CHIRP_S))
    fade = np.minimum(1.0, np.minimum(np.arange(frames), np.arange(frames)[::-1]) / (0.02 * RATE_HZ))
    return np.asarray(_CHIRP_PEAK * np.sin(sweep) * (0.5 - 0.5 * np.cos(math.pi * fade)))


def judge(recording: Recording) -> Report:
    """The verdict: by correlation and level together; where the chirp is missing the room's own noise decides."""
    samples = recording.samples - np.mean(recording.samples)
    looked_from = max(0, recording.played_at - _EARLY_FRAMES)
    room = _rms(samples[:looked_from])
    after = samples[looked_from:]
    at, correlation = find(chirp(), after)
    level = _rms(after[at : at + round(CHIRP_S * RATE_HZ)])
    found = correlation > LIKE
    verdict, reason = _verdict(float(np.ptp(samples)) / 2, room, level if found else None, _rms(after))
    level_db = _decibels(level if found else _rms(after))
    report = Report(verdict, reason, correlation, None, level_db, _decibels(room))
    if verdict is not Verdict.FINE:
        return report
    chirp_frames = round(CHIRP_S * RATE_HZ)
    quiet = quiet_from(samples, looked_from, looked_from + at + chirp_frames, level)
    return evolve(
        report,
        latency_ms=max(0, looked_from + at - recording.played_at) * 1000 / RATE_HZ,
        # As the gate counts: from the last frame that leaves the device, and so with all of the latency.
        tail_ms=None if quiet is None else max(0, quiet - recording.played_at - chirp_frames) * 1000 / RATE_HZ,
    )


def _verdict(deviation: float, room: float, chirp_level: float | None, heard: float) -> tuple[Verdict, str]:
    """`chirp_level` is None where the chirp wasn't found; all in samples of 16 bits."""
    if chirp_level is not None and chirp_level > LOUD_ENOUGH:
        return Verdict.FINE, "the microphone hears the speaker"
    if deviation <= _DIGITAL_SILENCE:
        return (
            Verdict.MICROPHONE_DEAF,
            "it gives digital silence; see whether it is muted or its gain at zero (`alsamixer`, F4)",
        )
    if chirp_level is not None:
        return (
            Verdict.UNCLEAR,
            "the chirp arrives, but faintly; turn the speaker's volume up, or else the microphone's gain (`alsamixer`)",
        )
    if heard > _LOUDER * max(room, HEARS):
        return Verdict.UNCLEAR, "something loud was heard, but not the whole chirp; try again when all is quiet"
    if room > TOO_LOUD:
        return Verdict.UNCLEAR, "the room is too loud to find the chirp; try again when it is quiet"
    if room >= HEARS:
        return (
            Verdict.SPEAKER_DEAD,
            "the microphone hears the room, but not the chirp; check the speaker's cable, power and volume",
        )
    return (
        Verdict.UNCLEAR,
        "neither chirp nor room is heard; make a noise during the test: if that is heard, it is the speaker",
    )


def find(piece: Floats, sound: Floats) -> tuple[int, float]:
    """Where `piece` fits best in `sound`, in frames, and the normalised correlation there (of either polarity)."""
    places = len(sound) - len(piece) + 1
    if places < 1:
        return 0, 0.0
    size = 1 << (len(sound) + len(piece) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(piece, size)), size)[:places]
    squares = np.concatenate(([0.0], np.cumsum(sound * sound)))
    energy = np.maximum(squares[len(piece) :] - squares[: -len(piece)], float(len(piece)))  # an RMS of 1 at least
    likeness = np.abs(product) / np.sqrt(energy * float(piece @ piece))
    best = int(np.argmax(likeness))
    return best, float(likeness[best])


def try_devices(settings: Audio) -> Report:
    """Test the microphone and the speaker of the settings; nobody else may hold them. Raises DeviceError."""
    heard = listen_to_itself(settings, partial(open_capture, channel=settings.microphone_channel))
    return doubted(judge(heard), settings)


def listen_to_itself(
    settings: Audio,
    open_microphone: OpenCapture,
    open_speaker: OpenPlayback = open_playback,
    clock: Callable[[], float] = time.monotonic,
) -> Recording:
    """Record the room, then the chirp. Raises DeviceError: a device can't be opened, was lost or stands still."""
    period = settings.period_frames
    with (
        closing(open_microphone(settings.microphone, period, max(8 * period, _CAPTURE_BUFFER_FRAMES))) as ear,
        closing(open_speaker(settings.speaker, period, settings.buffer_ms * RATE_HZ // 1000)) as mouth,
    ):
        tape = _Tape(settings.microphone, ear, clock)
        tape.run_until(bytes_of(SETTLE_MS))
        tape.sound.clear()
        tape.run_until(bytes_of(ROOM_MS))
        played_at = _play(settings.speaker, mouth, tape, clock)
        tape.run_until(played_at + bytes_of(LONGEST_ECHO_MS + CHIRP_S * 1000))
    return Recording(np.frombuffer(bytes(tape.sound), dtype="<i2").astype(np.float64), played_at // FRAME_BYTES)


class _Tape:
    """Records, a few ms at a turn."""

    def __init__(self, name: str, ear: CaptureDevice, clock: Callable[[], float]) -> None:
        self.sound = bytearray()
        self._name = name
        self._ear = ear
        self._clock = clock
        self._moved_at = clock()
        ear.read()  # starts it

    def turn(self) -> None:
        """Wait a moment, and take what there is."""
        self._ear.wait(_TURN_MS)
        self.take()
        if self._clock() - self._moved_at > PATIENCE_S:
            raise DeviceLostError(self._name, Direction.CAPTURE, f"gave no sound for {PATIENCE_S:.0f} s")

    def take(self) -> None:
        """All that was captured by now."""
        while block := self._ear.read():
            self.sound += block
            self._moved_at = self._clock()

    def run_until(self, size: int) -> None:
        """Record until there are so many bytes."""
        while len(self.sound) < size:
            self.turn()


def _play(name: str, mouth: PlaybackDevice, tape: _Tape, clock: Callable[[], float]) -> int:
    """Play the chirp while recording; the number of bytes that were recorded when it began."""
    tail_frames = max(mouth.buffer_frames, mouth.period_frames)  # of silence, so that the chirp's end is played
    frames = round(CHIRP_S * RATE_HZ) + tail_frames
    frames += -frames % mouth.period_frames
    waiting = np.rint(chirp()).astype("<i2").tobytes().ljust(frames * FRAME_BYTES, b"\0")
    moved_at = clock()
    tape.take()
    began = len(tape.sound)
    room = max(mouth.buffer_frames // 2, mouth.period_frames)  # the first write fills half, as an answer's does
    while waiting:
        block = waiting[: room // mouth.period_frames * mouth.period_frames * FRAME_BYTES]
        taken = mouth.write(block) if block else 0
        if taken:
            waiting = waiting[taken * FRAME_BYTES :]
            moved_at = clock()
        elif clock() - moved_at > PATIENCE_S:
            raise DeviceLostError(name, Direction.PLAYBACK, f"has taken no sound for {PATIENCE_S:.0f} s")
        tape.turn()
        room = max(0, mouth.avail())
    return began


def _rms(samples: Floats) -> float:
    return float(np.sqrt(np.mean(samples * samples))) if len(samples) else 0.0


def _decibels(rms: float) -> float:
    return 20 * math.log10(max(rms, 0.5) / 32768)  # half a step: nothing below it can be told from silence
