"""The recorder of a running kiosk: what it keeps, when, how much; and what it never costs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from flight_world import a_daemon, a_turn, until

from kioskd.dialogue import events as e
from kioskd.health.flight import dumps as dumps_module
from kioskd.health.flight.dumps import DUMPS_AT_MOST, UNASKED_AN_HOUR, DumpError, Dumps, read_lines, recent
from kioskd.health.flight.recorder import RING_NAME, FlightRecorder
from kioskd.health.flight.replay import Step, parse, replay
from kioskd.health.flight.ring import Found, Record, Ring

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[FlightRecorder]:
    with FlightRecorder(tmp_path / "run", tmp_path / "state") as recorder:
        yield recorder


def replayed(path: Path) -> list[Step]:
    return list(replay(parse(read_lines(path))))


def events_in(path: Path) -> list[str]:
    return [str(step.event["event"]) for step in replayed(path) if step.event]


def differences(path: Path) -> list[str]:
    return [line for step in replayed(path) for line in step.differences]


def kept(tmp_path: Path) -> list[str]:
    return [dump.reason for dump in Dumps(tmp_path / "state/flight").all()]


async def live(recorder: FlightRecorder, turns: int = 1, fault: e.Fault | None = None) -> None:
    daemon = a_daemon()
    recorder.watch(daemon)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.run)
        await until(daemon, e.LinkChanged)
        for _ in range(turns):
            await a_turn(daemon)
        if fault:
            daemon.post(e.FaultRaised(fault, "unplugged"))
            daemon.post(e.FaultRaised(fault, "still unplugged"))
        daemon.post(e.StopRequested())


async def test_a_turn_is_kept_on_demand_and_replays(
    autojump_clock: trio.testing.MockClock, recorder: FlightRecorder
) -> None:
    await live(recorder, turns=2)
    path = recorder.dump("because I want to")
    assert differences(path) == []
    assert sum(step.view is not None for step in replayed(path)) == len(events_in(path)) > 60
    assert events_in(path).count("Pressed") == 2 and events_in(path)[-1] == "StopRequested"
    text = path.read_text()
    assert "never to be seen" not in text and "because I want to" in text.splitlines()[0]
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    assert path.stat().st_mode & 0o7007 == 0


async def test_a_fault_is_kept_once_with_what_it_led_to(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "run", tmp_path / "state", aftermath_s=600)
    await live(recorder, fault=e.Fault.SPEAKER)
    assert kept(tmp_path) == []
    recorder.close()  # it does not wait
    assert kept(tmp_path) == ["fault speaker"]
    path = Dumps(tmp_path / "state/flight").find(None)
    assert "unplugged" in path.read_text() and events_in(path)[-1] == "StopRequested"


async def test_faults_that_come_and_go_do_not_wear_out_the_card(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    for _ in range(UNASKED_AN_HOUR + 3):
        recorder = FlightRecorder(tmp_path / "run", tmp_path / "state", aftermath_s=600)
        await live(recorder, turns=0, fault=e.Fault.SPEAKER)
        recorder.close()
    assert len(kept(tmp_path)) == UNASKED_AN_HOUR
    recorder = FlightRecorder(tmp_path / "run", tmp_path / "state")
    recorder.dump("on demand, always")
    assert len(kept(tmp_path)) == UNASKED_AN_HOUR + 1
    recorder.close()


async def test_a_crash_is_kept_at_the_next_start_and_a_stop_is_not(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), FlightRecorder(tmp_path / "run", tmp_path / "state") as recorder:
        await live(recorder)
        raise ZeroDivisionError
    assert kept(tmp_path) == []
    with FlightRecorder(tmp_path / "run", tmp_path / "state") as recorder:
        assert kept(tmp_path) == ["crash"]
        await live(recorder)
        both = recorder.dump("both lives")
    assert events_in(both).count("Started") == 2 and differences(both) == []
    FlightRecorder(tmp_path / "run", tmp_path / "state").close()
    assert kept(tmp_path) == ["crash", "both lives"]


async def test_the_record_goes_over_to_the_next_daemon(
    autojump_clock: trio.testing.MockClock, recorder: FlightRecorder
) -> None:
    await live(recorder)
    old = a_daemon()
    recorder.watch(old)
    await live(recorder)
    old.post(e.Pressed())  # one that was replaced has no say
    path = recorder.dump("reloaded")
    assert events_in(path).count("Pressed") == 2 and differences(path) == []


async def test_a_note_stands_between_the_events_and_holds_no_key(
    autojump_clock: trio.testing.MockClock, recorder: FlightRecorder
) -> None:
    await live(recorder)
    recorder.note("the link is restarted: sk-abcdefghijklmnopqrstuvwxyz0123456789 " + "x" * 5000)
    await live(recorder)
    path = recorder.dump("noted")
    (note,) = [step.remark for step in replayed(path) if step.remark.startswith("the link")]
    assert "sk-abc" not in note and len(note) <= 500 and differences(path) == []


async def test_a_ring_that_has_gone_round_still_replays(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kioskd.health.flight.tape.CHECKPOINT_CHARACTERS", 4000)
    monkeypatch.setattr("kioskd.health.flight.recorder.Ring", lambda path: Ring(path, 30_000))
    with FlightRecorder(tmp_path / "run", tmp_path / "state") as recorder:
        await live(recorder, turns=12)
        path = recorder.dump("round")
    steps = replayed(path)
    assert "Started" not in events_in(path), "or the beginning is still there"
    assert all(step.view is not None for step in steps if step.event) and len(steps) > 30
    assert differences(path) == []


def test_where_nothing_can_be_recorded_nobody_is_hurt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("no directory")
    recorder = FlightRecorder(tmp_path / "run", tmp_path / "state")
    daemon = a_daemon()
    recorder.watch(daemon)
    recorder.note("nothing")
    with pytest.raises(DumpError, match="no flight record"):
        recorder.dump("vain")
    recorder.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_what_goes_wrong_while_recording_ends_the_record_only(
    autojump_clock: trio.testing.MockClock,
    recorder: FlightRecorder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(effect: object) -> str:
        raise TypeError("a form that nobody thought of")

    monkeypatch.setattr("kioskd.health.flight.tape.effect_line", broken)
    await live(recorder)
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "a form that nobody thought of" in warnings[0]


async def test_a_state_directory_that_takes_nothing_is_loud_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("no directory")
    recorder = FlightRecorder(tmp_path / "run", tmp_path / "state", aftermath_s=600)
    await live(recorder, fault=e.Fault.SPEAKER)
    with pytest.raises(DumpError):
        recorder.dump("vain")
    recorder.close()
    assert [record.levelname for record in caplog.records if "can't be kept" in record.message] == ["WARNING"]


def found(count: int, first: int = 1, at: float = 0.0, every_s: float = 60.0) -> Found:
    """So many checkpoints, each followed by an event."""
    records = []
    for index in range(count):
        checkpoint = {"checkpoint": {"monotonic": at + index * every_s}, "at": 0.0}
        records += [json.dumps(checkpoint), json.dumps({"at": index, "event": "Tick"})]
    numbered = [Record(first + index, text.encode()) for index, text in enumerate(records)]
    return Found(numbered, True, 0, first + len(records))


def test_only_the_last_quarter_of_an_hour_is_kept() -> None:
    lines = [json.loads(line) for line in recent(found(60), 3570.0)]
    assert lines[0]["checkpoint"]["monotonic"] == 2640.0  # the last one before 2670
    assert len(lines) == 2 * 16


def test_missing_records_are_told() -> None:
    whole = found(3)
    torn = Found([*whole.records[:3], *whole.records[4:]], True, 0, 7)
    assert [json.loads(line) for line in recent(torn, 100.0)][3] == {"gap": 1}


def test_few_and_small_records_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dumps = Dumps(tmp_path)
    for _ in range(DUMPS_AT_MOST + 5):
        dumps.keep(found(1), "any")
    assert [dump.number for dump in dumps.all()] == list(range(6, DUMPS_AT_MOST + 6))
    (tmp_path / "a note of the owner's").write_text("stays")
    (tmp_path / ".0099-x.jsonl.new").write_text("a kill left it")
    monkeypatch.setattr(dumps_module, "BYTES_AT_MOST", 7 * dumps.all()[0].size // 2)
    dumps.keep(found(1), "any")
    assert len(dumps.all()) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl") == ["a note of the owner's"]


def test_a_reason_can_not_leave_the_directory(tmp_path: Path) -> None:
    path = Dumps(tmp_path / "d").keep(found(1), "../../etc/Ünder \n cover")
    assert path.parent == tmp_path / "d" and path.name.endswith("-etc-nder-cover.jsonl")
    assert [dump.reason for dump in Dumps(tmp_path / "d").all()] == ["../../etc/Ünder \n cover"]


def test_kill_9_in_mid_turn_and_the_record_of_that_turn_is_there(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    world = [sys.executable, str(Path(__file__).with_name("flight_world.py")), str(tmp_path)]
    with subprocess.Popen(world, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and json.loads(process.stdout.readline()) == {"turn": 2}
        process.kill()
    FlightRecorder(tmp_path / "run", tmp_path / "state").close()
    (dump,) = Dumps(tmp_path / "state/flight").all()
    assert dump.reason == "crash"
    steps = replayed(dump.path)
    assert differences(dump.path) == []
    begun = [effect["turn"] for step in steps for effect in step.effects if effect["effect"] == "BeginUtterance"]
    asked = [effect["turn"] for step in steps for effect in step.effects if effect["effect"] == "Ask"]
    assert begun == asked == [1, 2]
    last = [step.view for step in steps if step.view][-1]
    assert last.state.value == "speaking", "it was killed in mid-answer"
    assert (tmp_path / "run" / RING_NAME).exists()
