"""The way from the queue into a device, in virtual time: how late the thread and the link may be."""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from attrs import define, field

from kioskd.audio.flow import Flow
from kioskd.audio.heard import Playout
from kioskd.audio.jitter import JitterBuffer
from kioskd.audio.ledger import Ledger
from kioskd.audio.loudness import Loudness
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.queue import PlaybackQueue
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config.schema import Audio
from kioskd.dialogue.events import SpeakingFinished

PERIOD = 480
DELTA_MS = 100
TURN = 1


@define
class Server:
    """A sound server, which takes what it plays a period ahead, and a period at a time."""

    buffer_frames: int
    now: float = 100.0
    period_frames: int = PERIOD
    card: None = None
    first_write_at: float | None = field(default=None, init=False)
    left_at_writes: list[int] = field(factory=list, init=False)
    """How many frames were still there, each time that more came."""
    _held: int = field(default=0, init=False)
    _taken_at: float | None = field(default=None, init=False)
    """When it took its newest period; None: it is silent."""

    def _move(self) -> None:
        while self._taken_at is not None and self.now >= self._taken_at + PERIOD / RATE_HZ:
            self._taken_at = self._taken_at + PERIOD / RATE_HZ if self._held else None
            self._held = max(0, self._held - PERIOD)

    def avail(self) -> int:
        self._move()
        ran_dry = self._taken_at is None and self.first_write_at is not None
        return -errno.EPIPE if ran_dry else self.buffer_frames - self._held

    def write(self, data: bytes) -> int:
        self._move()
        if self._taken_at is None:
            self._taken_at = self.now - PERIOD / RATE_HZ
            self.first_write_at = self.first_write_at or self.now
        else:
            self.left_at_writes.append(self._held)
        frames = min(len(data) // FRAME_BYTES, self.buffer_frames - self._held)
        self._held += frames
        return frames

    def drop(self) -> None:
        self._held, self._taken_at = 0, None

    def close(self) -> None:
        return


@define
class Heard:
    """What came of an answer, in ms since its first piece."""

    gaps: int
    begun_ms: float
    over_ms: float
    """When its end was told."""
    server: Server
    turns: int
    """How often the thread woke."""


def spoken(
    jitter: JitterBuffer, arrivals: Sequence[float], late: Callable[[], float], audio: Audio | None = None
) -> Heard:
    """An answer whose pieces come at these seconds, played by a thread that wakes so many seconds late."""
    server = Server((audio or Audio()).buffer_ms * RATE_HZ // 1000)
    events: list[SpeakerEvent] = []
    ledger = Ledger("spk", events.append)
    flow = Flow(
        "spk", PlaybackQueue(jitter), ledger, Loudness(Audio()), lambda sign: b"", Playout(server.buffer_frames)
    )
    flow.opened(server)
    began, turns = server.now, 0
    to_come, posted = deque(began + at for at in arrivals), deque[float]()
    wake_at, closed = began, False
    while not events or not isinstance(events[-1], SpeakingFinished):
        if to_come and to_come[0] <= wake_at:
            posted.append(to_come.popleft())
            wake_at = min(wake_at, posted[-1] + late()) if flow.hungry else wake_at
            continue
        server.now = max(server.now, wake_at)
        while posted:
            flow.add(TURN, b"\1\1" * (bytes_of(DELTA_MS) // 2), posted.popleft(), lost=False)
        if not to_come and not closed:
            closed = True
            flow.close_answer(TURN, lost=False)
        sleep_s = flow.advance(server, server.now)
        turns += sleep_s > 0
        wake_at = server.now + (sleep_s + late() if sleep_s else 0.0)
    assert server.first_write_at is not None
    begun_ms, over_ms = ((at - began - arrivals[0]) * 1000 for at in (server.first_write_at, server.now))
    return Heard(ledger.gaps, begun_ms, over_ms, server, turns)


def link(chance: random.Random, speed: float, jitter_ms: float, count: int = 80) -> list[float]:
    """Deltas in order, each up to so late, so many times as fast as they play."""
    due, times = 0.0, list[float]()
    for number in range(count):
        due = max(due, (number * DELTA_MS / speed + chance.uniform(0, jitter_ms)) / 1000)
        times.append(due)
    return times


def jitter_buffer() -> JitterBuffer:
    """As the speaker has it."""
    return AlsaSpeaker(Audio())._jitter


def gaps_in(chance: random.Random, speed: float, answers: int, learning: int) -> int:
    jitter = jitter_buffer()
    told = [spoken(jitter, link(chance, speed, 150), lambda: chance.uniform(0, 0.01)) for _ in range(answers)]
    return sum(heard.gaps for heard in told[learning:])


@pytest.mark.parametrize("seed", range(4))
def test_no_answer_faster_than_it_plays_has_a_gap_for_150_ms_of_jitter_not_even_the_first(seed: int) -> None:
    chance = random.Random(seed)
    assert gaps_in(chance, 5.0, answers=50, learning=0) == 0
    assert sum(gaps_in(chance, 5.0, answers=1, learning=0) for _ in range(50)) == 0, "of a fresh process"


def test_after_two_answers_none_in_real_time_has_a_gap_for_150_ms_of_jitter() -> None:
    assert gaps_in(random.Random(7), 1.0, answers=50, learning=2) == 0


def test_a_known_link_without_jitter_is_not_waited_for() -> None:
    jitter = jitter_buffer()
    told = [spoken(jitter, link(random.Random(1), 5.0, 5.0), lambda: 0.0) for _ in range(10)]
    assert told[0].begun_ms <= 50
    assert told[-1].begun_ms < 1


@pytest.mark.parametrize(("buffer_ms", "reserve_ms"), [(800, 200), (320, 160), (160, 120), (80, 60)])
def test_a_thread_may_be_late_by_nearly_its_reserve_and_nobody_hears_it(buffer_ms: int, reserve_ms: int) -> None:
    chance, audio = random.Random(buffer_ms), Audio(buffer_ms=buffer_ms)
    _, *lefts = spoken(jitter_buffer(), [0.0] * 60, lambda: 0.0, audio).server.left_at_writes
    assert min(lefts) >= (reserve_ms - 20) * RATE_HZ // 1000, "but for the period that the server takes ahead"
    latest_s = (reserve_ms - 45) / 1000
    for _ in range(20):
        heard = spoken(jitter_buffer(), [0.0] * 60, lambda: chance.uniform(0, latest_s), audio)
        assert heard.gaps == 0


def test_a_thread_that_has_enough_to_write_wakes_seldom() -> None:
    heard = spoken(jitter_buffer(), [0.0] * 60, lambda: 0.0)
    assert heard.turns <= 6 * 2 + 12  # twice a second, and until the end is told
    assert len(heard.server.left_at_writes) <= 6 * 2
    in_real_time = spoken(jitter_buffer(), link(random.Random(1), 1.0, 0.0, count=60), lambda: 0.0)
    assert in_real_time.turns <= 6 * (10 + 15) + 10  # for each piece, and as it comes nearer to what waits behind it


@pytest.mark.parametrize("seed", range(20))
def test_an_end_is_told_within_20_ms(seed: int) -> None:
    chance = random.Random(seed)
    count, speed = chance.randrange(1, 30), chance.choice([1.0, 5.0, 100.0])
    heard = spoken(jitter_buffer(), link(chance, speed, 10, count), lambda: 0.0)
    assert heard.gaps == 0
    assert abs(heard.over_ms - (heard.begun_ms + count * DELTA_MS)) < 21, "the server tells of a period ahead of it"
