"""The recogniser on espeak-ng's speech, and with a child that dies, hangs, or is cancelled."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from kioskd.local import hear
from kioskd.local.faq import FaqError, load_faq
from kioskd.local.hear import Heard, Recogniser, RecogniserError
from kioskd.local.speak import synthesise

pytestmark = pytest.mark.long

pytest.importorskip("pocketsphinx")

DEMO = load_faq(Path(__file__).parents[2] / "config" / "demo-faq.yaml")
SECOND = bytes(48_000)


def children() -> list[int]:
    """The recognisers that this process has started and not yet buried."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"kioskd.local.recogniser" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def faq_asking(folder: Path, question: str):
    path = folder / "faq.yaml"
    path.write_text(f"not_understood: Pardon?\nentries:\n- name: it\n  questions:\n  - {question}\n  answer: Yes.\n")
    return load_faq(path)


async def test_questions_are_recognised_and_nothing_else() -> None:
    async with Recogniser(DEMO) as recogniser:
        for question, name in (
            ("Where are the toilets?", "toilets"),
            ("How do I get out of here?", "exit"),
            ("What are your opening hours?", "opening hours"),
            ("Please tell me a story!", "story"),
        ):
            heard = await recogniser.hear(await synthesise(question, "en-us"))
            assert heard.entry is not None, question
            assert heard.entry.name == name
            assert heard.text in [known.text for known in heard.entry.questions]
        for question in (
            "I would like to order two large pizzas.",
            "How many people live in this town?",
            "The weather was terrible last weekend.",
            "Good morning, everybody.",
        ):
            assert await recogniser.hear(await synthesise(question, "en-us")) == Heard("", None), question


async def test_noise_and_silence_around_a_question_do_no_harm() -> None:
    spoken = np.frombuffer(await synthesise("what can you do", "en-us"), "<i2").astype(float)
    padded = np.concatenate([np.zeros(7200), spoken, np.zeros(7200)])
    noise = np.random.default_rng(1).normal(0, np.sqrt((spoken**2).mean()) / 10, len(padded))
    async with Recogniser(DEMO) as recogniser:
        for sound in (padded, padded + noise):
            heard = await recogniser.hear(np.clip(sound, -32768, 32767).astype("<i2").tobytes())
            assert heard.text == "what can you do"


async def test_no_speech_is_no_question() -> None:
    noise = np.random.default_rng(2).normal(0, 2000, 48_000).astype("<i2").tobytes()
    async with Recogniser(DEMO) as recogniser:
        for sound in (b"", b"x", bytes(2), bytes(9_599), SECOND, 5 * SECOND, noise, 21 * SECOND):
            assert await recogniser.hear(sound) == Heard("", None), len(sound)


async def test_the_same_sound_is_heard_the_same_whatever_came_before() -> None:
    exit_question, other = await synthesise("where is the exit"), await synthesise("good morning everybody")
    async with Recogniser(DEMO) as recogniser:
        first = await recogniser.hear(exit_question)
        await recogniser.hear(other)
        assert await recogniser.hear(exit_question) == first
        assert first.text == "where is the exit"


async def test_two_who_ask_at_once_both_get_their_own_answer() -> None:
    sounds = {text: await synthesise(text, "en-us") for text in ("where is the exit", "who are you")}
    got: dict[str, str] = {}

    async with Recogniser(DEMO) as recogniser:

        async def ask(text: str) -> None:
            got[text] = (await recogniser.hear(sounds[text])).text

        async with trio.open_nursery() as nursery:
            for text in sounds:
                nursery.start_soon(ask, text)
    assert got == {text: text for text in sounds}


async def test_words_of_jsgf_are_words(tmp_path: Path) -> None:
    async with Recogniser(faq_asking(tmp_path, "is this grammar public")) as recogniser:
        assert (await recogniser.hear(await synthesise("is this grammar public", "en-us"))).entry is not None


async def test_a_word_that_the_dictionary_lacks_is_told_with_its_line(tmp_path: Path) -> None:
    faq = faq_asking(tmp_path, "where is the zorblax")
    with pytest.raises(FaqError, match=rf"^{faq.path}:5: .* `zorblax`"):
        async with Recogniser(faq):
            pass
    assert children() == []


async def test_a_child_killed_mid_question_is_replaced_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    question = await synthesise("who are you", "en-us")
    heard: list[Heard] = []
    caplog.set_level("INFO", "kioskd")

    async with Recogniser(DEMO) as recogniser:

        async def ask() -> None:
            heard.append(await recogniser.hear(question))

        (old,) = children()
        os.kill(old, signal.SIGSTOP)  # so that the question is surely still unanswered
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            os.kill(old, signal.SIGKILL)
        assert [one.text for one in heard] == ["who are you"]
        assert children() != [old]
        await ask()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert children() == []


async def test_cancelling_kills_the_child_and_the_next_question_is_answered() -> None:
    question = await synthesise("who are you", "en-us")
    async with Recogniser(DEMO) as recogniser:
        (old,) = children()
        os.kill(old, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recogniser.hear, question)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert children() == []
        assert (await recogniser.hear(question)).text == "who are you"


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("import time; time.sleep(1000)", "gave no answer within"),
        ("print('hello, world! ' * 9)", "garbage"),
        ("import sys; sys.stdout.buffer.write(bytes([0, 0, 0, 2]) + b'[]')", "garbage"),
        ("raise SystemExit(3)", "died"),
    ],
)
async def test_a_child_that_is_no_recogniser_is_told(monkeypatch, program: str, what: str) -> None:
    monkeypatch.setattr(hear, "_command", lambda: [sys.executable, "-c", program])
    if "sleep" in program:
        monkeypatch.setattr(hear, "START_TIMEOUT_S", 0.05)
    with pytest.raises(RecogniserError, match=what):
        async with Recogniser(DEMO):
            pass


async def test_a_child_that_keeps_dying_is_given_up(monkeypatch) -> None:
    async with Recogniser(DEMO) as recogniser:
        (old,) = children()
        monkeypatch.setattr(hear, "_command", lambda: [sys.executable, "-c", "raise SystemExit(3)"])
        os.kill(old, signal.SIGKILL)
        with pytest.raises(RecogniserError, match="died, twice"):
            await recogniser.hear(SECOND)


async def test_an_interpreter_that_is_missing_is_told(monkeypatch) -> None:
    monkeypatch.setattr(hear, "_command", lambda: ["/nowhere/python"])
    with pytest.raises(RecogniserError, match="can't be started"):
        async with Recogniser(DEMO):
            pass


async def test_a_missing_package_is_told_with_its_remedy(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "pocketsphinx.py").write_text("raise ModuleNotFoundError('no', name='pocketsphinx')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RecogniserError, match="pocketsphinx is not installed; run `pip install"):
        async with Recogniser(DEMO):
            pass
