"""When the sound of a running kiosk is tested, and what is made of the verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import evolve

from kioskd.audio.latencies import FILE, LONGEST_MS, MAX_CARDS, Latencies
from kioskd.audio.ledger import Ledger
from kioskd.audio.pcm import bytes_of
from kioskd.audio.sound_check import PATIENT_MINUTES, SoundCheck
from kioskd.audio.sound_test import SoundTestError
from kioskd.audio.verdict import CAPTURE_AT_MOST_MS, SURE_VOLUME, Report, Verdict, doubted, output_latency_ms
from kioskd.config.schema import Audio, Echo, Night, SelfTest
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, SpeakingFinished, SpeakingStopped

FINE = Report(Verdict.FINE, "the microphone hears the speaker", 0.9, 150.0, -20.0, -60.0)
DEAD = Report(Verdict.SPEAKER_DEAD, "check the cable", 0.1, None, -60.0, -60.0)
DEAF = evolve(DEAD, verdict=Verdict.MICROPHONE_DEAF)
UNCLEAR = evolve(DEAD, verdict=Verdict.UNCLEAR)


class Devices:
    """A microphone and a speaker that only have to be there."""

    present = True
    card: int | None = None
    latency_ms = 0.0

    def __getattr__(self, name: str) -> Callable[..., None]:
        raise AssertionError(f"{name} is not to be asked")


class Bench:
    """A check whose tests end as the test says."""

    def __init__(self, *verdicts: Report, audio: Audio | None = None, state: Path | None = None) -> None:
        self.verdicts = list(verdicts)
        self.devices = Devices()
        self.minute: int | None = 0
        self.latencies = Latencies(state)
        self.check = SoundCheck(
            audio or Audio(),
            self.devices,
            self.devices,
            self.latencies,
            minute=lambda: self.minute,  # type: ignore[arg-type]
        )
        self.check._test.run = self._run  # type: ignore[method-assign]
        self.told: list[FaultRaised | FaultCleared] = []

    async def _run(self) -> Report:
        return self.verdicts.pop(0)

    async def test(self) -> Report:
        return await self.check.test(self.told.append)


# -- the verdict


async def test_one_bad_test_is_made_again_and_the_second_decides() -> None:
    bench = Bench(DEAD, FINE)
    assert await bench.test() == FINE
    assert bench.told == [] and bench.verdicts == []


async def test_a_failure_is_a_fault_and_one_warning_until_a_good_test(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(DEAD, DEAD, DEAD, DEAD, UNCLEAR, UNCLEAR, FINE)
    with caplog.at_level(logging.INFO, "kioskd.audio.sound_check"):
        for _ in range(2):
            await bench.test()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "speaker dead: check the cable" in caplog.text
        assert [(type(event), event.fault) for event in bench.told] == [(FaultRaised, Fault.SPEAKER_DEAD)]
        await bench.test()
        assert len(bench.told) == 1, "who can't tell clears nothing"
        await bench.test()
    assert bench.told[1:] == [FaultCleared(Fault.SPEAKER_DEAD)]
    assert "after 2 tests" in caplog.text
    assert bench.check.last is not None and bench.check.last.report == FINE


async def test_another_failure_takes_the_place_of_the_one_before() -> None:
    bench = Bench(DEAD, DEAD, DEAF, DEAF)
    await bench.test()
    await bench.test()
    kinds = [(type(event), event.fault) for event in bench.told[1:]]
    assert kinds == [(FaultCleared, Fault.SPEAKER_DEAD), (FaultRaised, Fault.MICROPHONE_DEAF)]


async def test_at_volume_0_nothing_is_tested() -> None:
    bench = Bench(audio=Audio(night=Night(begin="23:00", end="07:00", volume=0)))
    with pytest.raises(SoundTestError, match="volume is 0"):
        await bench.test()


@pytest.mark.parametrize("echo", Echo)
def test_where_the_chirp_may_be_lost_on_its_way_a_dead_speaker_is_not_sure(echo: Echo) -> None:
    sure = echo in (Echo.GATE, Echo.SERVER)
    assert (doubted(DEAD, Audio(echo=echo), 80).verdict is Verdict.SPEAKER_DEAD) is sure
    assert doubted(DEAD, Audio(), SURE_VOLUME - 1).verdict is Verdict.UNCLEAR
    assert doubted(DEAF, Audio(echo=echo), 1) == DEAF and doubted(FINE, Audio(echo=echo), 1) == FINE


# -- when


async def test_it_is_daily_while_nobody_is_about(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench(audio=Audio(self_test=SelfTest(daily_at="04:00")))
    busy_until, tested = 4 * 60 + 30, []

    async def request() -> Report:
        assert bench.minute is not None
        if bench.minute < busy_until:
            raise SoundTestError("somebody is there")
        tested.append(bench.minute)
        return FINE

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.check.run, request)
        for minute in [*range(3 * 60, 24 * 60), *range(6 * 60)]:
            bench.minute = minute
            await trio.sleep(60)
        assert [minute // 60 for minute in tested] == [4, 4] and min(tested) >= busy_until
        busy_until = 24 * 60
        for minute in [*range(6 * 60, 24 * 60), *range(12 * 60)]:
            bench.minute = minute
            await trio.sleep(60)
        assert len(tested) == 2, "not at another hour instead"
        nursery.cancel_scope.cancel()


async def test_a_start_within_the_hour_and_an_unknown_time_test_nothing(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench(audio=Audio(self_test=SelfTest(daily_at="04:00")))
    with trio.move_on_after(60 * PATIENT_MINUTES):
        bench.minute = 4 * 60 + 5
        await bench.check.run(_never)
    with trio.move_on_after(60 * 60 * 24):
        bench.minute = None
        await bench.check.run(_never)


async def _never() -> Report:
    raise AssertionError("nobody asked for it")


@pytest.mark.parametrize("late_s", [0.0, 10.0, 100.0])
async def test_at_the_start_it_waits_for_the_devices(autojump_clock: trio.testing.MockClock, late_s: float) -> None:
    bench = Bench(audio=Audio(self_test=SelfTest(at_start=True, daily_at="none")))
    asked = []

    async def request() -> Report:
        asked.append(trio.current_time())
        return FINE

    bench.devices.present = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.check.run, request)
        await trio.sleep(late_s)
        bench.devices.present = True
        await trio.sleep(100)
        assert len(asked) == (1 if late_s < 30 else 0)
        nursery.cancel_scope.cancel()


# -- the latency


def test_the_speakers_share_of_the_round_trip() -> None:
    assert output_latency_ms(10.0) == 5.0
    assert output_latency_ms(220.0) == 220.0 - CAPTURE_AT_MOST_MS
    assert output_latency_ms(0.0) == 0.0


async def test_it_is_kept_per_card_and_taken_off_at_once(tmp_path: Path) -> None:
    bench = Bench(FINE, DEAD, DEAD, state=tmp_path)
    bench.devices.card = 1
    proc = tmp_path / "proc"
    (proc / "asound/card1").mkdir(parents=True)
    (proc / "asound/card1/id").write_text("Device\n")
    bench.latencies._proc = proc
    await bench.test()
    assert bench.devices.latency_ms == 130.0
    await bench.test()
    assert bench.devices.latency_ms == 130.0, "a failure tells nothing of it"
    after = Latencies(tmp_path, proc)
    assert after.of(1, "auto") == 130.0
    assert after.of(2, "auto") == after.of(None, "Other") == 0.0
    assert after.of(None, "Device") == 130.0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"output_latency_ms": 3}',
        '{"output_latency_ms": {"a": "b"}}',
        "x" * 100_000,
        "[" * 9999,
        '{"output_latency_ms": {}, "echo_tail_ms": 3}',
        '{"output_latency_ms": {}, "echo_tail_ms": {"a": null}}',
    ],
)
def test_a_bad_file_is_one_warning_and_is_written_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(content)
    latencies = Latencies(tmp_path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    latencies.keep(None, "spk", 12.0)
    assert Latencies(tmp_path).of(None, "spk") == 12.0
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_file_is_bounded_spared_and_never_needed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    latencies = Latencies(tmp_path)
    for number in range(MAX_CARDS + 3):
        latencies.keep(None, f"spk{number}", 10.0)
    kept = Latencies(tmp_path)
    assert kept.of(None, "spk2") == 0.0 and kept.of(None, f"spk{MAX_CARDS + 2}") == 10.0
    (tmp_path / FILE).unlink()
    latencies.keep(None, "spk9", 11.0)
    assert not (tmp_path / FILE).exists(), "a ms is not worth wearing out a card"
    nowhere = Latencies(tmp_path / "missing")
    nowhere.keep(None, "spk", 99.0)
    assert nowhere.of(None, "spk") == 99.0 and "can't be written" in caplog.text
    Latencies(None).keep(None, "spk", 5000.0)


# -- the echo's tail


async def test_it_is_kept_per_card_and_a_test_without_one_takes_none_away(tmp_path: Path) -> None:
    bench = Bench(evolve(FINE, tail_ms=212.34), FINE, DEAD, DEAD, state=tmp_path)
    assert bench.check.tail_ms is None
    for _ in range(3):
        await bench.test()
        assert bench.check.tail_ms == 212.3
    after = Bench(state=tmp_path).check
    assert after.opened(None, "default") == 130.0 and after.tail_ms == 212.3, "known after a restart"
    assert after.opened(None, "other") == 0.0 and after.tail_ms is None


@pytest.mark.parametrize(("known_ms", "measured_ms", "counts_ms"), [
    (None, 90.0, None), (None, 160.0, 160.0), (300.0, 90.0, 300.0), (90.0, 120.0, 120.0),
])  # fmt: skip
async def test_a_chirp_that_is_softer_than_by_day_only_lengthens_it(
    known_ms: float | None, measured_ms: float, counts_ms: float | None
) -> None:
    bench = Bench(evolve(FINE, tail_ms=measured_ms), evolve(FINE, tail_ms=measured_ms), audio=Audio(night=Night()))
    bench.check.tail_ms = known_ms
    if known_ms is not None:
        bench.latencies.keep(None, "default", 130.0, known_ms)
    bench.minute = 4 * 60
    await bench.test()
    assert bench.check.tail_ms == counts_ms
    bench.minute = 12 * 60
    await bench.test()
    assert bench.check.tail_ms == measured_ms


def test_a_file_of_before_and_one_that_a_power_cut_left_stay_readable(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"output_latency_ms": {"spk": 130.0}}')
    old = Latencies(tmp_path)
    assert (old.of(None, "spk"), old.tail_of(None, "spk")) == (130.0, None)
    old.keep(None, "spk", 130.5, 200.0)
    (tmp_path / FILE).with_suffix(".new").write_text('{"output_latency_ms": {"spk": 1')  # cut while it was written
    cut = Latencies(tmp_path)
    assert (cut.of(None, "spk"), cut.tail_of(None, "spk")) == (130.5, 200.0)
    cut.keep(None, "spk", 130.0, 201.0)
    assert Latencies(tmp_path).tail_of(None, "spk") == 200.0, "a ms is not worth wearing out a card"
    cut.keep(None, "spk", 130.0, 203.0)
    assert Latencies(tmp_path).tail_of(None, "spk") == 203.0
    for number in range(MAX_CARDS + 3):
        cut.keep(None, f"spk{number}", 10.0, 5000.0)
    assert Latencies(tmp_path).tail_of(None, "spk2") is None
    assert Latencies(tmp_path).tail_of(None, "spk3") == LONGEST_MS


def test_so_much_less_was_heard_of_an_answer_that_is_cut_and_all_of_one_that_ends() -> None:
    told: list[object] = []
    ledger = Ledger("spk", told.append)
    ledger.latency_ms = 130.4
    for turn, ms, heard_ms in ((1, 1000, 870), (2, 100, 0)):
        sound = ledger.answer(turn, lost=False)
        sound.heard_bytes = bytes_of(ms)
        ledger.stop(turn, [sound])
        assert told.pop() == SpeakingStopped(turn, heard_ms)
    sound = ledger.answer(3, lost=False)
    sound.heard_bytes = bytes_of(1000)
    ledger.finish([sound])
    assert told.pop() == SpeakingFinished(3, 1000)
    assert ledger.heard_ms(3) == 1000
