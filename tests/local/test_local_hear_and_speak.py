"""Hearing and speaking, with the real programs: what the FAQ has is understood, what it hasn't is not."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import trio

from kioskd.config.places import shipped
from kioskd.local import speak
from kioskd.local.faq import Faq, FaqError, load_faq, questions_of
from kioskd.local.hear import Recogniser
from kioskd.local.speak import SpeechError, synthesise

SECOND = 48_000  # bytes
STRANGE = (
    "where can I buy a green elephant",
    "please call me a taxi",
    "what is the capital of france",
    "who painted this picture",
    "open the door please",
    "how tall is the eiffel tower",
    "is there a hospital nearby",
    "hello hello one two three",
    "can you sing a song for me",
    "i would like to order a pizza",
)


@pytest.fixture
def faq() -> Faq:
    return load_faq(shipped("demo-faq.yaml"))


@pytest.fixture
async def recogniser(faq: Faq) -> AsyncIterator[Recogniser]:
    async with Recogniser(faq) as ears:
        yield ears


async def test_the_faq_is_understood_and_strange_questions_are_not(faq: Faq, recogniser: Recogniser) -> None:
    questions = [question.text for question in questions_of(faq)]
    right = [text for text in questions if (await recogniser.hear(await synthesise(text))).text == text]
    assert len(right) >= 0.95 * len(questions), set(questions) - set(right)
    taken = [text for text in STRANGE if (await recogniser.hear(await synthesise(text))).entry]
    assert taken == []


async def test_silence_and_noise_are_nothing(recogniser: Recogniser) -> None:
    noise = np.random.default_rng(1).normal(0, 300, 24_000).astype("<i2").tobytes()
    for sound in (b"", b"\0", bytes(2 * SECOND), noise):
        heard = await recogniser.hear(sound)
        assert (heard.text, heard.entry) == ("", None)


async def test_a_child_that_dies_is_replaced(recogniser: Recogniser) -> None:
    question = await synthesise("what time is it")
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    for child in children.read_text().split():
        if "recogniser" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)
    assert (await recogniser.hear(question)).text == "what time is it"


async def test_a_cancelled_question_leaves_ears_that_hear(recogniser: Recogniser) -> None:
    question = await synthesise("what time is it")
    with trio.move_on_after(0.01):
        await recogniser.hear(question * 5)
    assert (await recogniser.hear(question)).text == "what time is it"


async def test_a_word_that_no_dictionary_has_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "faq.yaml"
    text = shipped("demo-faq.yaml").read_text().replace("what time is it", "what zwrkl is it", 1)
    path.write_text(text)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "zwrkl" in row)
    with pytest.raises((FaqError, ExceptionGroup)) as caught:
        async with Recogniser(load_faq(path)):
            pass
    assert f"{path}:{line}" in str(caught.value) and "zwrkl" in str(caught.value)


async def test_speech_is_sound_of_the_right_length() -> None:
    short, long = await synthesise("yes"), await synthesise("this is a much longer sentence than the other")
    assert 0.2 * SECOND < len(short) < len(long) < 6 * SECOND and len(short) % 2 == 0
    samples = np.frombuffer(long, "<i2").astype(float)
    assert 500 < np.sqrt((samples**2).mean()) < 12_000
    assert await synthesise("") == b""


async def test_speech_takes_any_text_as_text() -> None:
    assert len(await synthesise("$(reboot); --help `x` [[dI2]] <b>\0")) > 0


async def test_without_espeak_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        await speak.synthesise("yes")
