"""The whole kiosk at once: the headless demo, its files, and whether they agree with each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kioskd.audio.pcm import BYTES_PER_MS
from kioskd.audio.wav import read_wav
from kioskd.demo.verdict import find, was_heard

pytestmark = pytest.mark.sound

ROOT = Path(__file__).parents[2]
STEP_MS = 10
ACCURACY_MS = 25  # what is inherent to Pulse's null sink


def demo(out: Path, *questions: str) -> subprocess.CompletedProcess[str]:
    asked = [word for question in questions for word in ("--question", question)]
    command = [sys.executable, "-m", "kioskd.demo", "--headless", "--out", str(out), *asked]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=ROOT)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    done = demo(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def marks(out: Path, kind: str) -> list[dict[str, Any]]:
    return [mark for mark in json.loads((out / "timeline.json").read_text()) if mark["kind"] == kind]


def test_every_file_is_there_and_tells_its_part(played: Path) -> None:
    names = {path.name for path in played.iterdir()}
    wavs = {f"{kind}-{number}.wav" for kind in ("question", "heard", "sent") for number in (1, 2)}
    assert wavs | {"speaker.wav", "timeline.json"} <= names
    states = [mark["state"] for mark in marks(played, "state")]
    for state in ("ready", "listening", "thinking", "speaking", "stopped"):
        assert state in states
    assert [mark["action"] for mark in marks(played, "button")] == ["pressed", "released"] * 2
    assert len(marks(played, "interrupt")) == 1 and len(marks(played, "latency")) == 2
    assert marks(played, "lamp")
    assert {mark["text"] for mark in marks(played, "transcript")} >= {"tell me a story", "what are your opening hours"}


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_spoken_is_what_the_endpoint_received(played: Path, number: int) -> None:
    question = read_wav(played / f"question-{number}.wav", 60)
    heard = read_wav(played / f"heard-{number}.wav", 60)
    assert find(question, heard).correlation > 0.9


def smooth(pcm: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Without what half a sample of delay, which a resampler on the way may add, turns into something else."""
    return np.convolve(np.frombuffer(pcm, "<i2").astype(float), np.ones(8) / 8, "same")


def test_what_was_heard_ends_where_the_interrupt_says(played: Path) -> None:
    heard_ms = marks(played, "interrupt")[0]["heard_ms"]
    sent, speaker = read_wav(played / "sent-1.wav", 600), read_wav(played / "speaker.wav", 600)
    start_ms = find(sent[: 1000 * BYTES_PER_MS], speaker).at_ms
    answer, record = smooth(sent), smooth(speaker)[round(start_ms * 24) :]
    step = STEP_MS * 24
    last_ms = 0
    for at in range(0, min(len(answer), len(record)) - step, step):
        said, played_back = answer[at : at + step], record[at : at + step]
        if np.abs(said).max() > 200:  # a pause of the voice tells nothing
            missing = said - played_back
            if missing @ missing > 0.5 * (said @ said):
                break
            last_ms = at // 24 + STEP_MS
    assert abs(heard_ms - last_ms) <= ACCURACY_MS + STEP_MS


def test_the_second_answer_is_whole_and_comes_after_the_first(played: Path) -> None:
    speaker = read_wav(played / "speaker.wav", 600)
    answer = read_wav(played / "sent-2.wav", 60)
    assert was_heard(answer, len(answer) // BYTES_PER_MS, speaker)
    assert not was_heard(read_wav(played / "sent-1.wav", 600), 10_000, speaker)


def test_what_is_not_in_the_faq_is_not_understood(tmp_path: Path) -> None:
    done = demo(tmp_path, "where can I buy a green elephant")
    assert done.returncode != 0
    assert "not understood" in done.stdout.lower()
    assert "Traceback" not in done.stderr
