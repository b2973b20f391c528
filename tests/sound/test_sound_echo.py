"""`echo: software`: PulseAudio's own canceller, found by `kioskd devices`, and what it leaves of the kiosk's voice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trio
from attrs import frozen
from monitor import Room

from kioskd.audio.arrays import Floats, samples_of
from kioskd.audio.pcm import RATE_HZ
from kioskd.audio.speaker import AlsaSpeaker
from kioskd.config.schema import Audio
from kioskd.dialogue.events import SpeakingFinished
from kioskd.local.speak import synthesise
from kioskd.simulator.pulse import PrivatePulse, PulseError

pytestmark = pytest.mark.sound

ROOT = Path(__file__).parents[2]
ECHO_DB = -12.0
TEXT = "The museum is open every day from nine to five. The exit is on the left, behind the stairs. " * 2
LEARNING_S = 3.0
ARGUMENTS = ('aec_args="analog_gain_control=0 digital_gain_control=0"',)  # else it turns the microphone down
LEAST_DB = 6.0  # how much quieter the echo has to become; measured on a quiet machine: 18 to 34


@frozen
class Canceller:
    method: str
    speaker: str
    microphone: str


@pytest.fixture
def canceller(pulse: PrivatePulse) -> Iterator[Canceller]:
    """The lines of the README on the private server: its best method."""
    fixed = ("source_dont_move=true", "sink_dont_move=true")  # the server moves streams to a canceller by itself
    echo = pulse.add_echo(20, *fixed)
    for method in ("webrtc", "speex"):
        try:
            module = pulse.load_module(
                "module-echo-cancel", f"aec_method={method}", "source_name=kiosk_mic", "sink_name=kiosk_spk",
                "source_master=mic.monitor", "sink_master=spk", *(ARGUMENTS if method == "webrtc" else ()),
            )  # fmt: skip
            break
        except PulseError as error:
            trouble = error
    else:
        pytest.fail(f"this PulseAudio has no echo canceller: {trouble}")
    yield Canceller(method, "pulse:kiosk_spk", "pulse:kiosk_mic")
    pulse.unload_module(module)
    pulse.unload_module(echo)


def test_devices_names_the_pair(canceller: Canceller) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kioskd", "devices"], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    capture, _, playback = done.stdout.partition("playback (for audio.speaker):")
    for name, listed in ((canceller.microphone, capture), (canceller.speaker, playback)):
        assert re.findall(r"^  (pulse:\S+) +echo canceller", listed, re.MULTILINE) == [name]


async def test_it_takes_the_answer_out_of_what_the_microphone_hears(
    pulse: PrivatePulse, canceller: Canceller, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    answer = await synthesise(TEXT)
    quieter = (samples_of(answer) * 10 ** (ECHO_DB / 20) * 32767).astype("<i2").tobytes()
    speaker = AlsaSpeaker(Audio(speaker=canceller.speaker))
    room = Room(speaker)
    files = {source: tmp_path / f"{source}.raw" for source in ("mic.monitor", "kiosk_mic")}
    recorders = [_record(pulse, source, path) for source, path in files.items()]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speaker.run, room.report)
            room.say(1, quieter)
            room.speaker.finish(1)
            await room.until(lambda: any(isinstance(event, SpeakingFinished) for event in room.events))
            nursery.cancel_scope.cancel()
    finally:
        for recorder in recorders:
            recorder.terminate()
            recorder.wait()
    before, after = (_learned(path) for path in files.values())
    gained_db = 20 * np.log10(_rms(before) / max(_rms(after), 1e-6))
    record_property("attenuation_db", gained_db)
    print(f"{canceller.method}: {gained_db:.1f} dB less echo, {LEARNING_S:.0f} s after its first word")
    assert _rms(before) > 0.005, "there is an echo to begin with"
    assert gained_db > LEAST_DB


def _record(pulse: PrivatePulse, source: str, path: Path) -> subprocess.Popen[bytes]:
    command = ["parec", f"--device={source}", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1", "--raw"]
    with path.open("wb") as sink:
        return subprocess.Popen([*command, "--latency-msec=20"], stdout=sink, env={**os.environ, **pulse.environment})


def _learned(path: Path) -> Floats:
    """What was heard once the canceller knew the room, to the end of the shorter of all records."""
    heard = samples_of(path.read_bytes()[: path.stat().st_size // 2 * 2])
    return heard[int(LEARNING_S * RATE_HZ) :]


def _rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(sound**2)))
