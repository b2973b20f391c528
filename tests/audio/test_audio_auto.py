"""`auto`: which card is taken, and one channel of several; on a made-up /proc."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kioskd.audio.alsa import open_capture, open_playback
from kioskd.audio.auto import Choice, choose, names_to_try, resolve
from kioskd.audio.channels import channels_to_open, fewest, picked
from kioskd.audio.errors import DeviceBusyError, DeviceMissingError, Direction, WrongFormatError

JACK = ("Headphones", "bcm2835_headpho - bcm2835 Headphones", "bcm2835 Headphones : : playback 8")
HDMI = ("vc4hdmi0", "vc4-hdmi - vc4-hdmi-0", "MAI PCM i2s-hifi-0 : : playback 1")
HAT = ("seeed2micvoicec", "seeed2micvoicec - seeed-2mic-voicecard", "wm8960-hifi-0 : : playback 1 : capture 1")
USB = ("Device", "USB-Audio - USB PnP Sound Device", "USB Audio : USB Audio : playback 1 : capture 1")
USB_MICROPHONE = ("Blue", "USB-Audio - Yeti", "USB Audio : USB Audio : capture 1")
LOOPBACK = ("Loopback", "Loopback - Loopback", "Loopback PCM : Loopback PCM : playback 8 : capture 8")


def proc_of(tmp_path: Path, *cards: tuple[str, str, str]) -> Path:
    asound = tmp_path / "asound"
    asound.mkdir()
    for number, (name, _, _) in enumerate(cards):
        (asound / f"card{number}").mkdir()
        (asound / f"card{number}" / "id").write_text(f"{name}\n")
    lines = [f" {n} [{name:<15}]: {driver}\n    somewhere\n" for n, (name, driver, _) in enumerate(cards)]
    (asound / "cards").write_text("".join(lines))
    (asound / "pcm").write_text("".join(f"{n:02}-00: {pcm}\n" for n, (_, _, pcm) in enumerate(cards)))
    return tmp_path


@pytest.mark.parametrize(
    ("cards", "microphone", "speaker"),
    [
        ((HDMI, JACK, HAT, USB), "Device", "Device"),
        ((HDMI, LOOPBACK, JACK, HAT), "seeed2micvoicec", "seeed2micvoicec"),
        ((LOOPBACK, HDMI, JACK, USB_MICROPHONE), "Blue", "Headphones"),
        ((LOOPBACK, HDMI), "Loopback", "vc4hdmi0"),
        ((USB, USB_MICROPHONE), "Device", "Device"),
    ],
)
def test_the_order_is_usb_then_hat_then_jack_then_hdmi(
    tmp_path: Path, cards: tuple[tuple[str, str, str], ...], microphone: str, speaker: str
) -> None:
    proc = proc_of(tmp_path, *cards)
    assert resolve("auto", Direction.CAPTURE, proc) == f"plughw:CARD={microphone},DEV=0"
    assert resolve("auto", Direction.PLAYBACK, proc) == f"plughw:CARD={speaker},DEV=0"


def test_a_card_without_the_direction_is_not_taken_and_without_any_it_is_alsas_default(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, JACK, HDMI)
    assert choose(Direction.CAPTURE, proc) is None
    assert resolve("auto", Direction.CAPTURE, proc) == "default"
    assert choose(Direction.PLAYBACK, proc) == Choice("plughw:CARD=Headphones,DEV=0", "headphone jack")
    assert resolve("auto", Direction.PLAYBACK, tmp_path / "no-proc") == "default"


@pytest.mark.parametrize("name", ["default", "hw:1,0", "automatic", "mic"])
def test_any_other_name_stays(name: str, tmp_path: Path) -> None:
    assert resolve(name, Direction.CAPTURE, proc_of(tmp_path, USB)) == name


def test_it_is_resolved_at_each_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that has gone since (or went away at boot): the next opening takes another."""
    there = iter([["hw:CARD=Gone"], ["hw:CARD=Other"]] * 2)
    monkeypatch.setattr("kioskd.audio.alsa.names_to_try", lambda *_: next(there))
    for opening in (open_capture, open_playback):
        for name in ("Gone", "Other"):
            with pytest.raises(DeviceMissingError, match=name):
                opening("auto", 480, 3840)


def test_a_card_that_another_program_holds_is_passed_over_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proc = proc_of(tmp_path, JACK, HAT, USB)
    names = names_to_try("auto", Direction.PLAYBACK, proc)
    assert names == [f"plughw:CARD={card},DEV=0" for card in ("Device", "seeed2micvoicec", "Headphones")]
    assert names_to_try("mic", Direction.CAPTURE, proc) == ["mic"]
    tried = []

    def opened(asked: str, name: str, direction: Direction, *_: object) -> tuple[int, int, object]:
        tried.append(name)
        if name != names[free]:
            raise DeviceBusyError(name, direction, "is in use by music (pid 7)")
        return 480, 3840, FakePcm()

    monkeypatch.setattr("kioskd.audio.alsa.names_to_try", lambda *_: names)
    monkeypatch.setattr("kioskd.audio.alsa._opened", opened)
    for free in (0, 2):
        tried.clear()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert open_playback("auto", 480, 3840).device == names[free]
        assert tried == names[: free + 1]
        assert ("in use by music (pid 7)" in caplog.text) is (free > 0)
    free = 3
    names.append("unheard of")
    monkeypatch.setattr("kioskd.audio.alsa.names_to_try", lambda *_: names[:3])
    with pytest.raises(DeviceBusyError, match="CARD=Device"):
        open_playback("auto", 480, 3840)


class FakePcm:
    def polldescriptors(self) -> list[tuple[int, int]]:
        return []


def test_without_card_and_default_the_remedy_is_to_plug_one_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kioskd.audio.alsa.NO_CARD", "no-such-device")
    monkeypatch.setattr("kioskd.audio.alsa.names_to_try", lambda *_: ["no-such-device"])
    for opening, noun in ((open_capture, "microphone"), (open_playback, "speaker")):
        with pytest.raises(DeviceMissingError, match=f"{noun} 'auto': there is no sound card.*plug one in"):
            opening("auto", 480, 3840)


@pytest.mark.parametrize(
    ("native", "channel", "asked"), [((1, 2), 0, 1), ((1, 2), 1, 2), ((4,), 0, 4), ((2, 4, 8), 2, 4), ((8, 2), 1, 2)]
)
def test_as_many_channels_are_opened_as_the_card_has_unmixed(native: tuple[int, ...], channel: int, asked: int) -> None:
    assert fewest(native, channel, "hw:1") == asked


def test_a_channel_that_a_card_lacks_is_named_with_what_it_has() -> None:
    with pytest.raises(WrongFormatError, match=r"no channel 2: it has 2.*audio\.microphone_channel"):
        fewest((1, 2), 2, "hw:1")


def test_what_is_no_card_is_asked_for_stereo_at_least_and_mixed_is_one() -> None:
    assert [channels_to_open("pulse:x", channel) for channel in (None, 0, 1, 5)] == [1, 2, 2, 6]


def test_one_channel_is_picked_out_of_the_frames() -> None:
    frames = b"".join(n.to_bytes(2, "little") for n in range(12))
    assert picked(frames, 2, 4) == b"\x02\0\x06\0\x0a\0"
    assert picked(frames, 0, 1) == frames
