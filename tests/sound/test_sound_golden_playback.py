"""An answer over a bad link as the visitor hears it: whole, in order, with one silence, and without a click."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

import pytest
import trio
from attrs import frozen
from monitor import AUDIBLE, Room, place, recorded, silence_after, speaking

from kioskd.audio.arrays import Floats, np, pcm_of
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.dialogue.events import SpeakingFinished
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

DELTA_MS = 100
JITTER_S = 0.15
STALL_S = 2.0
LOUD = 0.4
HIGHEST_HZ = 700
SHORTEST_GAP = RATE_HZ * 4 // 1000  # in frames; the tone itself is quiet for less
OFF = RATE_HZ * 3 // 1000  # frames; the quietest parts of two fades count as silence
WINDOW = RATE_HZ // 4
SEARCH = 4 * OFF
FADED = RATE_HZ // 100  # around a gap; twice a fade
# the tone's own curve (amplitude x angular velocity squared), the fade's on top of it, and rounding
SMOOTH = 1.4 * LOUD * (2 * np.pi * HIGHEST_HZ / RATE_HZ) ** 2


def tone(seconds: float, seed: int) -> Floats:
    """A steady tone whose pitch wanders, so that every window is unlike all others, and every edge shows."""
    frames, chance = int(seconds * RATE_HZ), np.random.default_rng(seed)
    turns = np.arange(0, frames + 1440, 1440)
    pitch = np.interp(np.arange(frames), turns, chance.uniform(250, HIGHEST_HZ, len(turns)))
    wave = LOUD * np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ)
    ramp = np.minimum(1, np.arange(frames) / 240)
    return np.asarray(wave * ramp * ramp[::-1], dtype=np.float64)


@frozen
class Heard:
    """What a recording holds of one answer."""

    gaps: tuple[tuple[int, int], ...]
    """(frame of the answer, length in frames) of each silence within it."""
    sharpest: float
    """The largest second difference; a click, and the end of a tone that isn't faded, is far above SMOOTH."""
    lost: tuple[tuple[int, int, float], ...]
    """(frame of the answer, frames off, match) of each quarter of a second that is missing, or not in its place."""
    length: int
    """Frames without the gaps."""

    def is_whole(self, answer: Floats) -> bool:
        """True if all of the answer was heard, in order, and smoothly."""
        off = OFF * (1 + len(self.gaps))
        return not self.lost and self.sharpest <= SMOOTH and abs(self.length - len(answer)) <= off


def listen(record: Floats, answer: Floats) -> Heard:
    """Measure the recording of an answer that stands alone in it."""
    sounding = np.nonzero(np.abs(record) > AUDIBLE)[0]
    begin, end = int(sounding[0]), int(sounding[-1]) + 1
    gaps: list[tuple[int, int]] = []
    parts, silent = [], 0
    last = begin
    for at in np.nonzero(np.diff(sounding) > SHORTEST_GAP)[0]:
        stop, again = int(sounding[at]) + 1, int(sounding[at + 1])
        gaps.append((stop - begin - silent, again - stop))
        parts.append(record[last:stop])
        silent += again - stop
        last = again
    joined = np.concatenate([*parts, record[last:end]])
    around = np.concatenate([np.zeros(SEARCH), joined, np.zeros(SEARCH)])
    # no window holds a gap, whose quietest frames are missing here; but two lean on each
    windows = [at for at in range(0, len(answer) - WINDOW, WINDOW) if all(not_at(gap, at) for gap, _ in gaps)]
    windows += [at for gap, _ in gaps for at in (gap - WINDOW - FADED, gap + FADED)]
    lost = []
    for at in windows:
        off, match = place(around[at : at + WINDOW + 2 * SEARCH], answer[at : at + WINDOW])
        if match < 0.97 or abs(off - SEARCH) > OFF * (1 + len(gaps)):
            lost.append((at, off - SEARCH, match))
    edges = np.abs(np.diff(record[max(0, begin - FADED) : end + FADED], 2))
    return Heard(tuple(gaps), float(edges.max()), tuple(lost), len(joined))


def not_at(gap: int, window: int) -> bool:
    """True for a window of the answer that a gap does not touch."""
    return gap + FADED <= window or window + WINDOW <= gap - FADED


def arrivals(count: int, chance: random.Random, stall_at: int | None = None) -> list[float]:
    """When each delta comes: in real time, up to 150 ms late, in order, with one stall."""
    stalled = [STALL_S if stall_at is not None and n >= stall_at else 0.0 for n in range(count)]
    late = (n * DELTA_MS / 1000 + JITTER_S * chance.random() + stalled[n] for n in range(count))
    return list(accumulate(late, max))


async def deliver(room: Room, turn: int, answer: Floats, times: list[float]) -> None:
    """An answer as the link brings it."""
    pcm, size, begin = pcm_of(answer), bytes_of(DELTA_MS), trio.current_time()
    for n, at in enumerate(times):
        await trio.sleep_until(begin + at)
        room.speaker.play(turn, pcm[n * size : (n + 1) * size])
    room.speaker.finish(turn)


async def test_a_long_answer_over_a_bad_link_is_heard_whole_with_the_stall_as_its_only_silence(
    pulse: PrivatePulse, tmp_path: Path
) -> None:
    chance, answer, stall_at = random.Random(1), tone(60, seed=2), 301
    times = arrivals(600, chance, stall_at)
    async with speaking() as room:
        for turn in (1, 2, 3):  # the link becomes known
            await deliver(room, turn, tone(3, seed=10 + turn), arrivals(30, chance))
            await room.hear(SpeakingFinished(turn, 3000))
        learned_ms, before = room.speaker.pre_buffer_ms, room.speaker.xruns
        async with recorded(pulse, tmp_path) as record:
            await deliver(room, 4, answer, times)
            await room.hear(SpeakingFinished(4, 60_000))
            heard = listen(await silence_after(record), answer)
        assert room.speaker.xruns == before + 1
    print(f"pre-buffer {learned_ms:.0f} ms, gaps {heard.gaps}, sharpest {heard.sharpest:.4f} of {SMOOTH:.4f}")
    assert 80 < learned_ms <= 400 + DELTA_MS
    ((at, silence),) = heard.gaps
    assert heard.is_whole(answer), heard
    assert abs(at - stall_at * RATE_HZ * DELTA_MS // 1000) <= OFF
    # the sound in hand bridges part of the stall; some is gathered before it goes on
    assert STALL_S - 0.4 <= silence / RATE_HZ <= STALL_S + 0.4


async def test_the_measure_finds_a_click_a_gap_a_loss_and_a_repeat(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = tone(2, seed=5)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 2000))
        good = await silence_after(record)
    clean = listen(good, answer)
    assert clean.gaps == ()
    assert clean.is_whole(answer), clean
    middle = len(good) // 2 - len(good) % 2
    at = middle + int(np.argmax(np.abs(good[middle : middle + 200])))  # where a cut is heard most
    click = good.copy()
    click[at] -= 0.05 * np.sign(click[at])
    assert not listen(click, answer).is_whole(answer)
    ms = RATE_HZ // 1000
    gap = np.concatenate([good[:at], np.zeros(10 * ms), good[at:]])
    assert listen(gap, answer).gaps != ()
    assert not listen(gap, answer).is_whole(answer)
    hole = good.copy()
    hole[at : at + 10 * ms] = 0
    assert listen(hole, answer).gaps != ()
    lost = np.concatenate([good[:at], good[at + 300 * ms :]])
    assert listen(lost, answer).lost
    twice = np.concatenate([good[: at + 300 * ms], good[at:]])
    assert listen(twice, answer).lost


async def test_a_piece_that_comes_late_fades_out_and_in_again(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = tone(1, seed=6)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        await deliver(room, 1, answer, [0.0] * 3 + [0.6] * 7)
        await room.hear(SpeakingFinished(1, 1000))
        heard = listen(await silence_after(record), answer)
    ((at, silence),) = heard.gaps
    assert heard.is_whole(answer), heard
    assert abs(at - 300 * RATE_HZ // 1000) <= OFF
    assert 0.2 <= silence / RATE_HZ <= 0.5


TURNS_A_MIXER = """
import trio
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config.schema import Audio

async def main():
    speaker = AlsaSpeaker(Audio(speaker="spk", mixer="Master", volume=50))
    await speaker.run(print)

trio.run(main)
"""


def test_a_mixer_named_in_the_settings_is_turned_by_real_alsa_calls(pulse: PrivatePulse, tmp_path: Path) -> None:
    configuration = tmp_path / "asound.conf"
    known = Path(pulse.environment["ALSA_CONFIG_PATH"]).read_text()
    configuration.write_text(f"{known}ctl.spk {{ type pulse device spk }}\n")
    environment = {**os.environ, **pulse.environment}

    def volume() -> str:
        told = subprocess.run(
            ["pactl", "get-sink-volume", "spk"], env=environment, capture_output=True, text=True, check=True
        )
        return told.stdout.split("/")[1].strip()

    assert volume() == "100%"
    kiosk = subprocess.Popen(
        [sys.executable, "-c", TURNS_A_MIXER], env={**environment, "ALSA_CONFIG_PATH": str(configuration)}
    )
    try:
        until = time.monotonic() + 60
        while volume() == "100%" and time.monotonic() < until:
            time.sleep(0.05)
        assert volume() == "50%"
    finally:
        kiosk.terminate()
        kiosk.wait(30)
        subprocess.run(["pactl", "set-sink-volume", "spk", "100%"], env=environment, check=True)
