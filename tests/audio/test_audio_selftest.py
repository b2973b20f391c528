"""The self-test's judgement on made-up rooms, and its playing and recording on made-up devices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kioskd.audio.errors import DeviceLostError
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ
from kioskd.audio.selftest import Recording, Verdict, chirp, judge, listen_to_itself
from kioskd.config.schema import Audio

PLAYED_AT = RATE_HZ // 2


def room(
    noise: float, echo: float = 0.0, latency_ms: float = 60.0, offset: float = 0.0, reverberation: float = 0.0
) -> Recording:
    """`noise`: RMS; `echo`: the chirp's gain on its way into the microphone."""
    rng = np.random.default_rng(3)
    sound = rng.standard_normal(PLAYED_AT * 4) * noise + offset
    at = PLAYED_AT + round(latency_ms * RATE_HZ / 1000)
    heard = echo * chirp()
    sound[at : at + len(heard)] += heard
    for n in range(1, 200):  # reflections, weaker and weaker
        gain = reverberation * rng.standard_normal() * 0.98**n
        late = at + n * 97
        sound[late : late + len(heard)] += gain * heard[: len(sound) - late]
    return Recording(np.clip(np.rint(sound), -32768, 32767), PLAYED_AT)


@pytest.mark.parametrize("latency_ms", [5.0, 60.0, 480.0])
@pytest.mark.parametrize("echo", [0.1, 0.9, -0.5])
def test_a_chirp_that_comes_back_is_fine_with_its_latency(echo: float, latency_ms: float) -> None:
    report = judge(room(30, echo, latency_ms))
    assert report.verdict is Verdict.FINE
    assert report.latency_ms == pytest.approx(latency_ms, abs=0.1)
    assert report.correlation > 0.9
    assert report.room_db == pytest.approx(20 * np.log10(30 / 32768), abs=1)
    assert report.level_db == pytest.approx(20 * np.log10(abs(echo) * np.sqrt(np.mean(chirp() ** 2)) / 32768), abs=1)


def test_a_hall_and_a_microphone_with_an_offset_change_nothing() -> None:
    report = judge(room(30, 0.5, offset=2000.0, reverberation=0.15))
    assert report.verdict is Verdict.FINE
    assert report.room_db == pytest.approx(20 * np.log10(30 / 32768), abs=1)
    assert report.latency_ms == pytest.approx(60.0, abs=0.1)


@pytest.mark.parametrize(
    ("recording", "verdict", "says"),
    [
        (room(60), Verdict.SPEAKER_DEAD, "hears the room"),
        (room(60, echo=0.001), Verdict.SPEAKER_DEAD, "hears the room"),
        (room(0), Verdict.MICROPHONE_DEAF, "digital silence"),
        (room(0, offset=700.0), Verdict.MICROPHONE_DEAF, "digital silence"),
        (room(3), Verdict.UNCLEAR, "make a noise"),
        (room(5, echo=0.012), Verdict.UNCLEAR, "faintly"),
        (room(4000, echo=0.05), Verdict.UNCLEAR, "too loud"),
    ],
)
def test_without_the_chirp_the_rooms_noise_is_the_judge(recording: Recording, verdict: Verdict, says: str) -> None:
    report = judge(recording)
    assert (report.verdict, report.latency_ms) == (verdict, None)
    assert says in report.reason


def test_a_chirp_in_pieces_is_no_dead_speakers() -> None:
    whole = room(30, 0.9)
    pieces = whole.samples.copy()
    for gap in range(9):  # a busy machine's underruns
        at = PLAYED_AT + RATE_HZ // 12 + gap * 1900
        pieces[at:] = np.concatenate([pieces[at - 1100 : at] * 0.01, pieces[at:-1100]])
    report = judge(Recording(pieces, PLAYED_AT))
    assert report.verdict is Verdict.UNCLEAR and "not the whole chirp" in report.reason


def test_the_chirp_is_soft_at_both_ends_and_like_itself_at_no_other_moment() -> None:
    sound = chirp()
    assert abs(sound[0]) < 1 and abs(sound[-1]) < 1
    whole = float(sound @ sound)
    assert max(abs(float(sound[lag:] @ sound[:-lag])) for lag in range(24, 4800, 7)) < 0.25 * whole


class Air:
    """A speaker and a microphone in one room, in which time passes only while somebody waits for it."""

    period_frames, buffer_frames = 480, 3840

    def __init__(self, latency_frames: int = 1200, deaf: bool = False, stuck: bool = False) -> None:
        self.now = 0  # frames
        self.read_to = 0
        self.deaf, self.stuck = deaf, stuck
        self.latency_frames = latency_frames
        self.air = np.random.default_rng(5).standard_normal(RATE_HZ * 20) * 40
        self.queued_to = 0
        self.closed = 0

    def clock(self) -> float:
        return self.now / RATE_HZ

    def open(self, _name: str, _period: int, _buffer: int) -> Air:
        return self

    def watch(self, descriptor: int) -> None:
        raise NotImplementedError

    def wait(self, timeout_ms: float) -> bool:
        self.now += round(timeout_ms * RATE_HZ / 1000)
        return True

    def read(self) -> bytes | None:
        if self.deaf or self.now - self.read_to < self.period_frames:
            return b""
        block = self.air[self.read_to : self.read_to + self.period_frames]
        self.read_to += self.period_frames
        return np.rint(block).astype("<i2").tobytes()

    def avail(self) -> int:
        return 0 if self.stuck else self.buffer_frames - max(0, self.queued_to - self.now)

    def write(self, data: bytes) -> int | None:
        if self.stuck:
            return 0
        assert len(data) // FRAME_BYTES <= self.avail()
        self.queued_to = max(self.queued_to, self.now)
        sound = np.frombuffer(data, "<i2") * 0.3
        at = self.queued_to + self.latency_frames
        self.air[at : at + len(sound)] += sound
        self.queued_to += len(sound)
        return len(sound)

    def drop(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1


def listen(air: Air) -> Recording:
    return listen_to_itself(Audio(), air.open, air.open, air.clock)


def test_it_plays_and_records_at_once_and_knows_when_it_began() -> None:
    air = Air()
    air.air[: RATE_HZ // 5] += 9000  # a pop when the device opens
    report = judge(listen(air))
    assert report.room_db == pytest.approx(20 * np.log10(40 / 32768), abs=1)
    assert report.verdict is Verdict.FINE
    assert report.latency_ms == pytest.approx(50.0, abs=20.0)  # what the card hasn't handed over yet: a period
    assert air.closed == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [(lambda: Air(deaf=True), "microphone 'default': gave no sound"), (lambda: Air(stuck=True), "speaker")],
)
def test_a_device_that_stands_still_ends_it(make: Callable[[], Air], says: str) -> None:
    air = make()
    with pytest.raises(DeviceLostError, match=says):
        listen(air)
    assert air.closed == 2
