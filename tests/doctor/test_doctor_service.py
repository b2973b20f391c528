"""The key as the unit loads it, a daemon that hangs or can't be asked, and who holds which stream of a card."""

from __future__ import annotations

from pathlib import Path

import pytest

from kioskd.audio.errors import Direction
from kioskd.audio.verdict import Verdict as SoundVerdict
from kioskd.config.schema import Audio, Endpoint, KeySource, Settings
from kioskd.doctor import basics, pins, service, sound
from kioskd.doctor.finding import Verdict
from kioskd.doctor.patient import Patient

SECRET = "sk-nobody-must-read-this-0123456789"


def patient(root: Path, **more: object) -> Patient:
    key = KeySource(credential="api-key")
    endpoint = Endpoint(name="lobby", url="wss://api.example.com/v1/realtime", model="m", key=key)
    audio = Audio(microphone="plughw:0,0", speaker="plughw:CARD=0,DEV=0")
    return Patient(root / "k.yaml", Settings(endpoints=(endpoint,), audio=audio), root=root, environ={}, **more)  # type: ignore[arg-type]


def put(file: Path, text: str, mode: int = 0o600) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


@pytest.mark.parametrize("place", ["etc/credstore/kioskd-api-key", "run/credentials/kioskd.service/api-key"])
async def test_a_key_is_found_where_the_unit_has_it_from(tmp_path: Path, place: str) -> None:
    put(tmp_path / place, SECRET)
    examined = patient(tmp_path)
    assert (await basics.credential(examined)).verdict is Verdict.PASS
    assert basics.find_key(examined, examined.settings.endpoints[0]) == SECRET  # type: ignore[union-attr]


async def test_a_key_of_another_name_is_not_the_units(tmp_path: Path) -> None:
    put(tmp_path / "etc/credstore/api-key", SECRET)
    found = await basics.credential(patient(tmp_path))
    assert found.verdict is Verdict.FAIL
    assert "/etc/credstore/kioskd-api-key" in found.remedy


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
async def test_a_credential_that_others_may_have_is_told(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "etc/credstore/kioskd-api-key"
    put(file, SECRET, mode)
    found = await basics.credential(patient(tmp_path))
    assert (found.verdict, found.remedy) == (Verdict.FAIL, f"sudo chmod 600 {file}")


async def test_the_devices_of_a_daemon_that_does_not_answer_are_left_to_it(tmp_path: Path) -> None:
    hanging = patient(tmp_path, silence="kioskd does not answer")
    for look in (sound.microphone, sound.speaker, sound.chirp, pins.lines):
        found = await look(hanging)
        assert (found.verdict, found.text) == (Verdict.SKIP, "see 'vitals'")
    assert (await service.vitals(hanging)).verdict is Verdict.FAIL


def test_a_chirp_that_was_heard_tells_latency_and_echo() -> None:
    heard = sound.judged(SoundVerdict.FINE, "the microphone hears the speaker", 60.2, 183.6)
    assert heard.verdict is Verdict.PASS
    assert heard.text == (
        "the microphone hears the speaker, 60 ms after it was played; "
        "the room is quiet 184 ms after the kiosk's last sound"
    )
    assert sound.judged(SoundVerdict.FINE, "it works", 60.2, None).text == "it works, 60 ms after it was played"


async def test_a_unit_that_runs_but_has_no_socket_is_told(tmp_path: Path) -> None:
    alone = patient(tmp_path)
    assert (await service.vitals(alone)).verdict is Verdict.SKIP
    alone.notes["active"] = True
    found = await service.vitals(alone)
    assert (found.verdict, "control socket" in found.text) == (Verdict.FAIL, True)


def stream(root: Path, name: str, holder: str = "") -> None:
    owner = "state: RUNNING\nowner_pid   : 41\n" if holder else "closed\n"
    put(root / f"proc/asound/card0/{name}/status", owner)
    put(root / "proc/41/status", "Tgid:\t41\n")
    put(root / "proc/41/comm", f"{holder}\n") if holder else None


@pytest.mark.parametrize(
    ("streams", "silence", "verdict"),
    [
        ({"pcm0p/sub0": "", "pcm0c/sub0": ""}, "", Verdict.PASS),
        ({"pcm0p/sub0": "aplay", "pcm0c/sub0": ""}, "", Verdict.FAIL),
        ({"pcm0p/sub0": "", "pcm0c/sub0": "arecord"}, "", Verdict.FAIL),
        # Another device of the card, and another stream of the device, are in nobody's way.
        ({"pcm0p/sub0": "", "pcm1p/sub0": "aplay", "pcm0c/sub0": ""}, "", Verdict.PASS),
        ({"pcm0p/sub0": "aplay", "pcm0p/sub1": "", "pcm0c/sub0": ""}, "", Verdict.PASS),
        ({"pcm0p/sub0": "aplay", "pcm0p/sub1": "aplay", "pcm0c/sub0": ""}, "", Verdict.FAIL),
        # The daemon that hangs is no other program.
        ({"pcm0p/sub0": "kioskd", "pcm0c/sub0": "kioskd"}, "does not answer", Verdict.PASS),
        ({"pcm0p/sub0": "aplay", "pcm0c/sub0": "aplay"}, "does not answer", Verdict.FAIL),
    ],
)
async def test_only_who_holds_the_kiosks_own_stream_is_in_its_way(
    tmp_path: Path, streams: dict[str, str], silence: str, verdict: Verdict
) -> None:
    for name, holder in streams.items():
        stream(tmp_path, name, holder)
    found = await sound.holder(patient(tmp_path, silence=silence))
    assert found.verdict is verdict, found
    if verdict is Verdict.FAIL:
        assert "(pid 41)" in found.text and "41" in found.remedy


@pytest.mark.parametrize("name", ["hw:0,1", "plughw:0,DEV=1", "plughw:CARD=0,DEV=1,SUBDEV=0", "hw:0,1,0"])
async def test_every_way_to_name_a_device_is_understood(tmp_path: Path, name: str) -> None:
    stream(tmp_path, "pcm0p/sub0")
    stream(tmp_path, "pcm1p/sub0", "aplay")
    stream(tmp_path, "pcm0c/sub0")
    settings = Settings(endpoints=(), audio=Audio(microphone="hw:0,0", speaker=name))
    found = await sound.holder(Patient(tmp_path / "k.yaml", settings, root=tmp_path))
    assert found.verdict is Verdict.FAIL, found


@pytest.mark.parametrize(
    ("direction", "on", "off", "told"),
    [
        (Direction.PLAYBACK, ["Headphone"], ["Master"], ["Master"]),
        (Direction.PLAYBACK, ["Headphone"], ["Speaker"], []),  # as where a plug mutes the other
        (Direction.PLAYBACK, [], ["Speaker"], ["Speaker"]),
        (Direction.CAPTURE, ["Mic"], ["Line", "CD"], []),
        (Direction.CAPTURE, [], ["Mic", "Line"], ["Mic", "Line"]),
        (Direction.CAPTURE, ["Mic"], ["Capture"], ["Capture"]),
        (Direction.CAPTURE, ["Mic"], ["Master"], []),
        (Direction.CAPTURE, [], [], []),
    ],
)
def test_one_of_several_inputs_or_outputs_may_be_off(
    direction: Direction, on: list[str], off: list[str], told: list[str]
) -> None:
    assert sound.in_the_way(direction, on, off) == told
