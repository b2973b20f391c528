"""Faults of microphone and speaker, each really made on the sound server: the doctor names the right one first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from kioskd.audio.pcm import RATE_HZ
from kioskd.audio.wav import write_wav
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

ROOT = Path(__file__).parents[2]
SOUND = ("card is free", "microphone", "speaker", "mixer", "chirp")


@pytest.fixture
def room(pulse: PrivatePulse, tmp_path: Path) -> Iterator[PrivatePulse]:
    """The microphone hears the speaker, and noise of -55 dBFS."""
    noise = np.random.default_rng(1).standard_normal(60 * RATE_HZ) * 60
    write_wav(tmp_path / "noise.wav", noise.astype("<i2").tobytes())
    loopback = pulse.add_echo(latency_ms=20)
    noisy = pulse.speak(tmp_path / "noise.wav")
    yield pulse
    pulse.hush(noisy)
    if pulse.running:
        pulse.unload_module(loopback)
        pulse.mute("sink", "spk", False)
        pulse.mute("source", "mic.monitor", False)


def examined(folder: Path, microphone: str = PrivatePulse.MICROPHONE, *options: str) -> dict[str, tuple[str, str]]:
    """Verdict and text by cause, of a kiosk whose network isn't looked at."""
    config = folder / "k.yaml"
    endpoint = {"name": "none", "url": "ws://127.0.0.1:9/", "model": "m", "key": {"environment": "UNSET"}}
    audio = {"microphone": microphone, "speaker": PrivatePulse.SPEAKER}
    config.write_text(yaml.safe_dump({"endpoints": [endpoint], "audio": audio}))
    done = subprocess.run(
        [sys.executable, "-m", "kioskd", "doctor", "--json", "--config", str(config), *options],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert done.stderr == ""
    findings = json.loads(done.stdout)["findings"]
    return {f["cause"]: (f["verdict"], f["text"] + f["remedy"]) for f in findings if f["cause"] in SOUND}


def failing(found: dict[str, tuple[str, str]]) -> list[str]:
    return [cause for cause, (verdict, _) in found.items() if verdict in ("warn", "fail")]


@pytest.mark.usefixtures("room")
def test_nothing_is_found_where_all_works(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert [verdict for verdict, _ in found.values()] == ["pass"] * len(SOUND), found
    assert " ms after it was played" in found["chirp"][1]


def test_a_muted_sink_is_told_as_such_and_not_as_a_dead_speaker(room: PrivatePulse, tmp_path: Path) -> None:
    room.mute("sink", "spk")
    room.default("sink", "spk")
    found = examined(tmp_path)
    assert failing(found) == ["mixer"]
    assert "pactl set-sink-mute" in found["mixer"][1]


def test_a_muted_source_is_told_as_such(room: PrivatePulse, tmp_path: Path) -> None:
    room.mute("source", "mic.monitor")
    room.default("source", "mic.monitor")
    found = examined(tmp_path)
    assert failing(found) == ["mixer"]
    assert "pactl set-source-mute" in found["mixer"][1]


@pytest.mark.usefixtures("room")
def test_a_microphone_that_is_not_there(tmp_path: Path) -> None:
    found = examined(tmp_path, "plughw:CARD=Gone,DEV=0")
    assert failing(found) == ["microphone"]
    assert "'plughw:CARD=Gone,DEV=0'" in found["microphone"][1]
    assert found["chirp"][0] == "skip"


def test_a_microphone_that_gives_digital_silence(pulse: PrivatePulse, tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert failing(found) == ["microphone"]
    assert "digital silence" in found["microphone"][1]


def test_a_speaker_that_is_not_heard(pulse: PrivatePulse, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal(60 * RATE_HZ) * 60
    write_wav(tmp_path / "noise.wav", noise.astype("<i2").tobytes())
    noisy = pulse.speak(tmp_path / "noise.wav")
    try:
        found = examined(tmp_path)
    finally:
        pulse.hush(noisy)
    assert failing(found) == ["chirp"]
    assert "speaker dead" in found["chirp"][1]


def test_a_sound_server_that_is_gone(pulse: PrivatePulse, tmp_path: Path) -> None:
    pulse.kill()
    found = examined(tmp_path)
    assert failing(found) == ["microphone", "speaker"]
    assert "the sound server behind it isn't running" in found["microphone"][1]


@pytest.mark.usefixtures("room")
def test_a_quiet_examination_plays_nothing(tmp_path: Path) -> None:
    assert examined(tmp_path, PrivatePulse.MICROPHONE, "--quiet")["chirp"][0] == "skip"
