"""The errors that an owner reads, against a made-up /proc and the names that no machine has."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kioskd.audio import cancellers as cancellers_module
from kioskd.audio.alsa import open_capture, open_playback, through_plug
from kioskd.audio.cancellers import cancellers
from kioskd.audio.devices import list_devices
from kioskd.audio.errors import DeviceBusyError, DeviceMissingError, Direction, card_index, error_of, holder_of
from kioskd.audio.level import rms_level, sound_level
from kioskd.audio.outage import LONGEST_RETRY_S, Outage
from kioskd.dialogue.events import Fault, FaultCleared


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Card 1 is called Device; process 42 records from it."""
    descriptors = tmp_path / "42" / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "7").symlink_to("/dev/snd/pcmC1D0c")
    (descriptors / "8").symlink_to("/dev/null")
    (tmp_path / "42" / "comm").write_text("arecord\n")
    (tmp_path / "asound" / "card1").mkdir(parents=True)
    (tmp_path / "asound" / "Device").symlink_to("card1")
    (tmp_path / "asound" / "card1" / "id").write_text("Device\n")
    (tmp_path / "asound" / "pcm").write_text("01-00: USB Audio : USB Audio : playback 1 : capture 1\nrubbish\n")
    return tmp_path


@pytest.mark.parametrize(
    ("device", "direction", "holder"),
    [
        ("plughw:CARD=Device,DEV=0", Direction.CAPTURE, "arecord (pid 42)"),
        ("hw:1,0", Direction.CAPTURE, "arecord (pid 42)"),
        ("default", Direction.CAPTURE, "arecord (pid 42)"),
        ("hw:1,0", Direction.PLAYBACK, None),
        ("hw:0,0", Direction.CAPTURE, None),
    ],
)
def test_who_holds_a_busy_device(proc: Path, device: str, direction: Direction, holder: str | None) -> None:
    assert holder_of(device, direction, proc) == holder


def test_the_kernel_names_a_holder_that_this_user_may_not_look_into(proc: Path) -> None:
    """Thread 4711 of process 99 plays on card 1; its descriptors can't be seen."""
    for sub, status in (("sub0", "closed\n"), ("sub1", "state: RUNNING\nowner_pid   : 4711\ntrigger_time: 1.2\n")):
        stream = proc / "asound" / "card1" / "pcm0p" / sub
        stream.mkdir(parents=True)
        (stream / "status").write_text(status)
    for pid, name in (("4711", "audio-thread"), ("99", "pulseaudio")):
        (proc / pid).mkdir()
        (proc / pid / "comm").write_text(f"{name}\n")
        (proc / pid / "status").write_text(f"Name:\t{name}\nTgid:\t99\n")
    for device in ("plughw:CARD=Device,DEV=0", "default"):
        assert holder_of(device, Direction.PLAYBACK, proc) == "pulseaudio (pid 99)"
    assert holder_of("hw:0,0", Direction.PLAYBACK, proc) is None
    assert holder_of("hw:1,0", Direction.CAPTURE, proc) == "arecord (pid 42)"


def test_a_crash_of_the_part_is_an_outage_that_ends_with_the_next_sound() -> None:
    outage = Outage(Fault.MICROPHONE)
    outage.crashed()
    assert outage.retry_at == 0.0
    assert outage.mended() == FaultCleared(Fault.MICROPHONE)


def test_a_card_is_found_by_name_and_by_number(proc: Path) -> None:
    assert [card_index(name, proc) for name in ("hw:Device", "plughw:CARD=Device,DEV=0", "hw:3", "default")] == [
        1,
        1,
        3,
        None,
    ]


def test_bare_hardware_gets_a_converter_and_other_names_stay() -> None:
    names = ["hw:1,0", "hw:CARD=Device,DEV=0", "plughw:1,0", "default", "mic"]
    assert [through_plug(name) for name in names] == [
        "plughw:1,0",
        "plughw:CARD=Device,DEV=0",
        "plughw:1,0",
        "default",
        "mic",
    ]


@pytest.mark.parametrize("name", ["no-such-device", "hw:CARD=Nowhere,DEV=0"])
def test_a_missing_device_is_named_with_cause_and_remedy(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for opening, noun in ((open_capture, "microphone"), (open_playback, "speaker")):
        with pytest.raises(DeviceMissingError) as caught:
            opening(name, 480, 3840)
        for part in (noun, repr(name), "isn't there", "kioskd devices", f"audio.{noun}"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)
    assert "ALSA lib" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("device", "told"), [("plughw:1,0", "in use by arecord (pid 42)"), ("plughw:7,0", "in use by another process")]
)
def test_a_busy_device_names_its_holder(proc: Path, device: str, told: str) -> None:
    error = error_of(Exception(f"Device or resource busy [{device}]"), device, Direction.CAPTURE, proc)
    assert isinstance(error, DeviceBusyError)
    assert told in str(error)


def test_a_card_that_cannot_be_opened_is_listed_with_its_holder(proc: Path) -> None:
    by_direction = {device.direction: device for device in list_devices(proc) if "CARD" in device.name}
    microphone = by_direction[Direction.CAPTURE]
    assert microphone.name == "plughw:CARD=Device,DEV=0"
    assert microphone.holder == "arecord (pid 42)"
    assert microphone.problem
    assert by_direction[Direction.PLAYBACK].holder is None


def test_default_is_always_listed(tmp_path: Path) -> None:
    assert {device.direction for device in list_devices(tmp_path) if device.name == "default"} == set(Direction)


def test_an_outage_is_told_once_and_its_end_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(Fault.MICROPHONE)
    error = DeviceMissingError("hw:1", Direction.CAPTURE, "isn't there")
    delays = []
    with caplog.at_level(logging.INFO):
        raised = []
        for now in (10.0, 20.0, 30.0, 40.0, 50.0, 60.0):
            raised.append(outage.failed(error, now))
            delays.append(outage.retry_at - now)
        assert outage.mended() == FaultCleared(Fault.MICROPHONE)
        assert outage.mended() is None
    assert [event is not None for event in raised] == [True] + 5 * [False]
    assert delays == [0.25, 0.5, 1.0] + 3 * [LONGEST_RETRY_S]
    assert LONGEST_RETRY_S <= 1.5  # plugged back in, a device is heard within 2 s: half a second is for opening it
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert "6" in caplog.records[-1].getMessage()


def test_the_level_of_silence_full_scale_and_nothing() -> None:
    assert rms_level(b"") == rms_level(bytes(960)) == 0.0
    assert rms_level(b"\xff\x7f\x01\x80" * 480) == pytest.approx(1.0, abs=1e-3)
    assert rms_level(b"\x00\x40" * 480) == pytest.approx(0.5, abs=1e-3)
    assert sound_level(b"") == sound_level(b"\x00\x40" * 480) == 0.0  # a constant is no sound
    assert sound_level(b"\x00\x60\x00\x20" * 480) == pytest.approx(0.25, abs=1e-3)


PULSE = "2\tkiosk_mic\tmodule-echo-cancel.c\ts16le\tRUNNING\n3\tkiosk_spk.monitor\tmodule-echo-cancel.c\tx\ty\n"
PIPEWIRE = "35\techo-cancel-mic\tPipeWire\tfloat32le 2ch 48000Hz\tIDLE\n36\talsa_input.usb\tPipeWire\tx\ty\n"


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (PULSE, ["pulse:kiosk_mic"]),
        (PIPEWIRE, ["pulse:echo-cancel-mic"]),
        ("", []),
        ("rubbish\n\n1\tmic", []),
        ("1\techoes\tmodule-null-sink.c\tx\ty", []),
    ],
)
def test_an_echo_canceller_is_known_by_its_driver_or_its_name(told: str, found: list[str]) -> None:
    asked: list[str] = []

    def ask(kind: str) -> str:
        asked.append(kind)
        return told

    assert [list(cancellers(direction, ask)) for direction in Direction] == [found, found]
    assert asked == ["sources", "sinks"]


def test_without_pactl_or_server_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for script in (None, "exit 1", "echo '1\techo-cancel\tx'; exit 1", "sleep 60"):
        if script:
            (tmp_path / "pactl").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "pactl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if script else str(tmp_path))
        monkeypatch.setattr(cancellers_module, "_PATIENCE_S", 0.5)
        assert list(cancellers(Direction.CAPTURE)) == []
