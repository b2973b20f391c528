"""The owner's own sounds for the signs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kioskd.audio.earcons import earcon
from kioskd.audio.pcm import RATE_HZ
from kioskd.audio.sign_sounds import LONGEST_S, SignSounds, problems
from kioskd.audio.wav import write_wav
from kioskd.config.load import parse
from kioskd.config.schema import Sounds
from kioskd.dialogue.effects import Sign


def spoken(path: Path, value: int = 7, seconds: float = 1.0) -> str:
    write_wav(path, value.to_bytes(2, "little") * int(seconds * RATE_HZ))
    return str(path)


def first(pcm: bytes) -> int:
    return int.from_bytes(pcm[:2], "little")


def test_by_default_every_sign_has_its_tone() -> None:
    sounds = SignSounds(Sounds())
    assert sounds.of(Sign.LISTENING) == b"", "but for the one that the lamp tells better"
    assert all(sounds.of(sign) == earcon(sign) != b"" for sign in Sign if sign is not Sign.LISTENING)


def test_a_recording_replaces_a_tone_and_none_silences_it(tmp_path: Path) -> None:
    sounds = SignSounds(Sounds(too_short=spoken(tmp_path / "a.wav"), out_of_order="none"))
    assert first(sounds.of(Sign.TOO_SHORT)) == 7
    assert sounds.of(Sign.OUT_OF_ORDER) == b""
    assert sounds.of(Sign.SORRY) == earcon(Sign.SORRY)


@pytest.mark.parametrize(
    ("language", "heard"), [("de", 1), ("de-AT", 1), ("de-CH", 2), ("fr", 9), (None, 9), ("deu", 9)]
)
def test_the_apology_is_the_visitors_languages(tmp_path: Path, language: str | None, heard: int) -> None:
    de, swiss, any_ = (spoken(tmp_path / f"{n}.wav", n) for n in (1, 2, 9))
    sounds = SignSounds(Sounds(sorry=any_, sorry_in={"de": de, "de-CH": swiss}), language)
    assert first(sounds.of(Sign.SORRY)) == heard
    assert sounds.of(Sign.TOO_SHORT) == earcon(Sign.TOO_SHORT)


@pytest.mark.parametrize("value", ["here.wav", "/nowhere/sorry.wav", "TONE", "text"])
def test_a_recording_that_can_not_be_used_is_told_and_the_tone_is_played(
    tmp_path: Path, value: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spoken(tmp_path / "here.wav")  # where a service runs is no place to find it
    if value == "text":
        (tmp_path / "text.wav").write_text("this is no sound")
        value = str(tmp_path / "text.wav")
    settings = Sounds(sorry=value)
    assert SignSounds(settings).of(Sign.SORRY) == earcon(Sign.SORRY)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and value in record.getMessage() and "'sorry'" in record.getMessage()
    (problem,) = problems(settings)
    assert problem.startswith("audio.sounds.sorry: ") and value in problem


def test_a_recording_is_no_longer_than_the_dialogue_waits(tmp_path: Path) -> None:
    short = spoken(tmp_path / "short.wav", seconds=LONGEST_S)
    long = spoken(tmp_path / "long.wav", seconds=LONGEST_S + 0.1)
    (problem,) = problems(Sounds(sorry=short, sorry_in={"de": long, "en": short}))
    assert problem.startswith("audio.sounds.sorry_in.de: ") and "shorten it" in problem


def test_they_are_settings() -> None:
    text = """
endpoints: [{name: e, url: "wss://example.com/v1/realtime", model: m}]
audio:
  sounds: {too_short: none, sorry: "/a.wav", sorry_in: {de: "/b.wav"}}
"""
    sounds = parse(text, "kioskd.yaml").audio.sounds
    assert sounds == Sounds(too_short="none", sorry="/a.wav", sorry_in={"de": "/b.wav"})
