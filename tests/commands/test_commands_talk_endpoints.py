"""`kioskd talk` with each kind of endpoint, those of config/demo-endpoints.yaml, against a live `kioskd simulate`."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from kioskd.audio.pcm import BYTES_PER_MS
from kioskd.audio.wav import read_wav, write_wav
from kioskd.config import kinds, places
from kioskd.config.load import load
from kioskd.config.schema import By, EndpointKind
from kioskd.demo.verdict import was_heard
from kioskd.local.speak import synthesise

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "config" / "demo-endpoints.yaml"
NAMES = [
    "realtime",
    "realtime-beta",
    "responses",
    "responses-nested",
    "chat-ws",
    "chat-ws-url-key",
    "chat-sse",
    "chat-plain",
    "audio-sse",
    "cascade",
    "local",
]
QUESTION = "when do you open"
ANSWER = "We are open every day except Monday, from ten in the morning until six in the evening."
GUARD_S = 120
KEY = "any-key-will-do-0123456789"
ENVIRONMENT = {**os.environ, "KIOSKD_DEMO_KEY": KEY}


def test_the_settings_have_every_kind_of_endpoint() -> None:
    endpoints = load(SETTINGS).endpoints
    assert [each.name for each in endpoints] == NAMES
    assert {each.kind for each in endpoints} == set(EndpointKind)
    cascade = next(each for each in endpoints if each.name == "cascade")
    assert (cascade.hearing.by, cascade.speech.by) == (By.ENDPOINT, By.LOCAL) and cascade.hearing.url


def test_they_are_installed_and_shown_to_the_owner() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "config/demo-endpoints.yaml" in setup["options.data_files"]["share/kioskd"].split()
    readme = (ROOT / "README.md").read_text()
    assert [name for name in NAMES if f"| `{name}` |" not in readme] == []


def test_an_faq_that_is_shipped_is_named_without_a_path(tmp_path: Path) -> None:
    assert kinds.fault_of_faq("demo-faq.yaml") == ""
    assert places.named_file("demo-faq.yaml") == ROOT / "config" / "demo-faq.yaml"
    own = tmp_path / "faq.yaml"
    own.touch()
    assert places.named_file(str(own)) == own
    for name in ("", ".", "profiles", "nowhere.yaml", "../config/demo-faq.yaml", "profiles/openai.yaml"):
        assert places.named_file(name) is None
        assert "beginning with /" in kinds.fault_of_faq(name)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the settings for the port of a simulator that is running."""
    command = [sys.executable, "-m", "kioskd", "simulate", "--dialect", "both", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as simulator:
        assert simulator.stdout is not None
        listening = re.match(r"listening on ws://127\.0\.0\.1:(\d+)/v1/realtime \(both\)", simulator.stdout.readline())
        assert listening is not None
        copy = tmp_path_factory.mktemp("talk") / "kioskd.yaml"
        copy.write_text(SETTINGS.read_text().replace(":8900/", f":{listening[1]}/"))
        yield copy
        simulator.terminate()


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_each_of_them_answers(settings: Path, tmp_path: Path, name: str) -> None:
    question, heard = tmp_path / "q.wav", tmp_path / "a.wav"
    write_wav(question, trio.run(synthesise, QUESTION, "en"))
    talk = [sys.executable, "-m", "kioskd", "talk", str(question), "--out", str(heard)]
    done = subprocess.run(
        [*talk, "--endpoint", name, "--config", str(settings)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        timeout=GUARD_S,
    )
    assert done.returncode == 0, done.stderr
    answer = trio.run(synthesise, ANSWER, "en")
    assert was_heard(answer, len(answer) // BYTES_PER_MS, read_wav(heard, 60)), done.stdout
    assert f"kiosk:    {ANSWER}" in done.stdout
    assert KEY not in done.stdout + done.stderr
