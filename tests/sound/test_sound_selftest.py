"""`kioskd devices --test` on a speaker that is heard by a microphone in a room with some noise."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kioskd.audio.pcm import RATE_HZ
from kioskd.audio.wav import write_wav
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

ROOT = Path(__file__).parents[2]
ECHO_MS = (10, 80)  # measured: 20, at a loopback latency of 20


@pytest.fixture
def room(pulse: PrivatePulse, tmp_path: Path) -> Iterator[PrivatePulse]:
    """The microphone hears the speaker, and noise of -55 dBFS."""
    noise = np.random.default_rng(1).standard_normal(60 * RATE_HZ) * 60
    write_wav(tmp_path / "noise.wav", noise.astype("<i2").tobytes())
    loopback = pulse.add_echo(latency_ms=20)
    noisy = pulse.speak(tmp_path / "noise.wav")
    yield pulse
    pulse.hush(noisy)
    pulse.unload_module(loopback)
    pulse.mute("sink", "spk", False)
    pulse.mute("source", "mic.monitor", False)


def self_test(microphone: str = PrivatePulse.MICROPHONE) -> subprocess.CompletedProcess[str]:
    """As an owner runs it, in a process of its own."""
    devices = ["--microphone", microphone, "--speaker", PrivatePulse.SPEAKER]
    return subprocess.run(
        [sys.executable, "-m", "kioskd", "devices", "--test", *devices],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.usefixtures("room")
def test_both_work_with_latency_and_level() -> None:
    done = self_test()
    assert (done.returncode, done.stderr) == (0, "")
    assert "speaker and microphone work" in done.stdout
    latency = re.search(r"latency: +(\d+) ms", done.stdout)
    assert latency and ECHO_MS[0] <= int(latency[1]) <= ECHO_MS[1]
    tail = re.search(r"echo: +the room is quiet (\d+) ms after the kiosk's last sound", done.stdout)
    assert tail and int(latency[1]) - 1 <= int(tail[1]) <= int(latency[1]) + 20, "no walls: the latency alone"
    level = re.search(r"level: +(-\d+) dB.*before the chirp (-\d+) dB", done.stdout)
    assert level and -18 <= int(level[1]) <= -12
    assert -58 <= int(level[2]) <= -53


def test_a_muted_sink_is_a_dead_speaker(room: PrivatePulse) -> None:
    room.mute("sink", "spk")
    done = self_test()
    assert done.returncode == 1
    assert "verdict:  speaker dead: " in done.stdout
    assert "latency" not in done.stdout


def test_a_muted_source_is_a_deaf_microphone(room: PrivatePulse) -> None:
    room.mute("source", "mic.monitor")
    done = self_test()
    assert done.returncode == 1
    assert "verdict:  microphone deaf: " in done.stdout


@pytest.mark.usefixtures("room")
def test_a_device_that_is_not_there_is_one_line() -> None:
    done = self_test("no-such-device")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "microphone 'no-such-device': isn't there" in done.stderr


@pytest.mark.usefixtures("pulse")
def test_the_list_names_what_can_be_recorded_from_and_played_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kioskd", "devices"], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    capture, _, playback = done.stdout.partition("playback (for audio.speaker):")
    assert done.returncode == 0
    assert capture.startswith("capture (for audio.microphone):")
    assert re.search(r"^  mic +named in ALSA's configuration$", capture, re.MULTILINE)
    assert re.search(r"^  spk +named in ALSA's configuration$", playback, re.MULTILINE)
