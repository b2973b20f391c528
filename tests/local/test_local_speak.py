"""Speech out of espeak-ng, and an espeak-ng that is missing, hangs or never ends."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from kioskd.local import speak
from kioskd.local.speak import SpeechError, synthesise

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.fixture
def espeak_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Put a shell script in espeak-ng's place."""

    def install(script: str) -> None:
        fake = tmp_path / "espeak-ng"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


async def test_speech_lasts_as_long_as_espeak_says_at_24_khz() -> None:
    text = "The exit is behind you."
    spoken = subprocess.run(
        ["espeak-ng", "-v", "en", "-s", str(speak.WORDS_PER_MINUTE), "--stdout", text], capture_output=True, check=True
    ).stdout
    pcm = await synthesise(text)
    assert len(pcm) % 2 == 0
    assert len(pcm) / 48_000 == pytest.approx((len(spoken) - 44) / 44_100, rel=0.01)
    assert np.abs(np.frombuffer(pcm, "<i2").astype(int)).max() > 5_000


@pytest.mark.parametrize("text", ["; rm -rf / `id` $(id)", "<b>&\"'", "[[h@l'oU]]", "-v", "naïve — café", "\x00 hello"])
async def test_any_text_is_only_text(text: str) -> None:
    assert await synthesise(text)


async def test_phoneme_brackets_are_spelled_not_sung() -> None:
    assert await synthesise("[[t]]") == await synthesise("[ [t]]")


async def test_nothing_to_say() -> None:
    assert await synthesise("  \n") == b""


@pytest.mark.parametrize(
    ("text", "language", "what"),
    [
        ("hello", "zz", "can't speak `zz`: .*does not exist"),
        ("hello", "--help", "is no language"),
        ("hello", "../en", "is no language"),
        ("x" * 5_000, "en", "4000 at most"),
    ],
)
async def test_what_cannot_be_said_is_told(text: str, language: str, what: str) -> None:
    with pytest.raises(SpeechError, match=what):
        await synthesise(text, language)


async def test_a_missing_espeak_is_told_with_its_package(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        await synthesise("hello")


@pytest.mark.parametrize("script", ["exec sleep 1000", "exec cat /dev/zero"])
async def test_an_espeak_that_never_ends_is_ended(espeak_is, monkeypatch, script: str) -> None:
    espeak_is(script)
    monkeypatch.setattr(speak, "TIMEOUT_S", 0.1)
    with pytest.raises(SpeechError, match="gave no speech within"):
        await synthesise("hello")


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("cat > /dev/null; echo out of voices >&2; exit 1", "out of voices"),
        ("cat > /dev/null; exit 7", "exit status 7"),
        ("cat > /dev/null; echo this is no sound, is it", "wrote no WAV"),
        ("exec /nowhere", "can't speak"),
    ],
)
async def test_an_espeak_that_fails_is_told(espeak_is, script: str, what: str) -> None:
    espeak_is(script)
    with pytest.raises(SpeechError, match=what):
        await synthesise("hello")


async def test_cancelling_ends_the_child(espeak_is, tmp_path: Path) -> None:
    espeak_is(f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 1000")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(synthesise, "hello")
        while not (tmp_path / "pid").exists():
            await wait_all_tasks_blocked(0.01)
        pid = (tmp_path / "pid").read_text().strip()
        nursery.cancel_scope.cancel()
    assert not Path(f"/proc/{pid}").exists()
