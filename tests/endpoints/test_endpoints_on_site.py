"""Answers without a network: what is said to whom, that failures are the owner's to read, and the site's own file."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import pytest
import trio
from attrs import define, field
from fake_peer import MS, utterance

from kioskd.config.schema import Conversation
from kioskd.endpoints.answering import AnswerEvent, Finished, Heard, Question, Sound, Words
from kioskd.endpoints.on_site import LIMITED, OnSite, SiteEars, Understood
from kioskd.endpoints.policy import OwnerMustAct, Retry, judge
from kioskd.endpoints.text.model import ModelError
from kioskd.local.site import FaqSite

QUESTION = bytes(500 * MS)


def spoken(text: str, language: str) -> bytes:
    return hashlib.sha256(f"{language} {text}".encode()).digest() * (480 * MS // 32)


@define(eq=False)
class FakeSite:
    """It understands `knows`, or fails as it is told to."""

    knows: Understood = field(factory=lambda: Understood("", "Ask at the desk."))
    language: str = "en-us"
    failing: Exception | None = None
    heard: list[bytes] = field(factory=list)
    stopped: int = 0

    async def run(self) -> None:
        await trio.sleep_forever()

    async def ready(self) -> None:
        if self.failing is not None:
            raise self.failing

    async def understand(self, pcm: bytes) -> Understood:
        await self.ready()
        self.heard.append(pcm)
        return self.knows

    async def speak(self, text: str, language: str) -> bytes:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            self.stopped += 1
            raise
        return spoken(text, language)


async def answered(site: FakeSite, language: str | None = None, pcm: bytes | None = QUESTION) -> list[AnswerEvent]:
    told: list[AnswerEvent] = []
    question = Question(1, utterance(1, pcm) if pcm is not None else None, [])
    assert await OnSite(Conversation(language=language), site).answer(question, told.append) is Finished.COMPLETE
    return told


def sound_of(told: list[AnswerEvent]) -> bytes:
    return b"".join(event.pcm for event in told if isinstance(event, Sound))


def words_of(told: list[AnswerEvent]) -> str:
    return "".join(event.text for event in told if isinstance(event, Words))


async def test_a_question_of_the_site_is_answered_in_its_words(autojump_clock: trio.testing.MockClock) -> None:
    site = FakeSite(Understood("when do you open", "At ten."))
    told = await answered(site)
    assert site.heard == [QUESTION]
    assert told[0] == Heard("when do you open") and words_of(told) == "At ten. "
    assert sound_of(told) == spoken("At ten.", "en-us")
    assert all(len(event.pcm) % 2 == 0 for event in told if isinstance(event, Sound))


async def test_the_owners_recording_goes_before_speech(autojump_clock: trio.testing.MockClock) -> None:
    told = await answered(FakeSite(Understood("hello", "Hello!", b"\1\2" * 30_000)))
    assert sound_of(told) == b"\1\2" * 30_000 and words_of(told) == "Hello! "


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (None, [(LIMITED["en"], "en-us"), ("Ask at the desk.", "en-us")]),
        ("en-GB", [(LIMITED["en"], "en-us"), ("Ask at the desk.", "en-us")]),
        ("de-AT", [(LIMITED["de"], "de")]),
        ("sw", [(LIMITED["en"], "en"), ("Ask at the desk.", "en-us")]),
    ],
)
async def test_who_is_not_understood_hears_honestly_how_little_can_be_answered(
    autojump_clock: trio.testing.MockClock, language: str | None, said: list[tuple[str, str]]
) -> None:
    told = await answered(FakeSite(), language)
    assert not any(isinstance(event, Heard) for event in told)
    assert sound_of(told) == b"".join(spoken(text, tongue) for text, tongue in said)
    assert sound_of(await answered(FakeSite(), language, None)) == sound_of(told), "nor is there a rest of an answer"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ValueError("/etc/kioskd/faq.yaml:3: what is this?"), OwnerMustAct),
        (OSError("no such file"), OwnerMustAct),
        (RuntimeError("the recogniser died"), Retry),
    ],
)
async def test_what_is_wrong_is_told_to_the_owner(error: Exception, verdict: type) -> None:
    site = FakeSite(failing=error)
    for attempt in (OnSite(Conversation(), site).check, SiteEars(site).check):
        with pytest.raises(ModelError) as caught:
            await attempt()
        assert caught.value.failure.message == str(error)
        assert isinstance(judge(caught.value.failure, 0, 0.5), verdict)
    with pytest.raises(ModelError):
        await answered(site)


async def test_a_visitor_who_speaks_stops_it(autojump_clock: trio.testing.MockClock) -> None:
    site = FakeSite()
    with trio.move_on_after(0.5):
        await answered(site)
    assert site.stopped == 1


async def test_hearing_by_a_site_knows_its_questions_only() -> None:
    site = FakeSite(Understood("when do you open", "At ten."))
    assert await SiteEars(site).transcribe(utterance(1, QUESTION), lambda _: None) == "when do you open"
    site.knows = Understood("", "Ask at the desk.")
    assert await SiteEars(site).transcribe(utterance(1, QUESTION), lambda _: None) == ""


# The site's own file, with real children

FAQ = """\
not_understood: Ask at the desk.
entries:
  - name: opening
    questions: [when do you open]
    answer: We open at ten.
    sound: ten.wav
"""


def site_of(folder: Path, recording: bytes) -> tuple[FaqSite[Understood], list[Path]]:
    asked: list[Path] = []

    def read_wav(path: Path, longest_s: float) -> bytes:
        asked.append(path)
        return recording

    (folder / "faq.yaml").write_text(FAQ)
    return FaqSite(folder / "faq.yaml", Understood, read_wav, lambda: datetime(2026, 1, 1)), asked


async def test_a_file_is_read_and_its_questions_are_recognised(tmp_path: Path, nursery: trio.Nursery) -> None:
    pytest.importorskip("pocketsphinx")
    site, recordings = site_of(tmp_path, b"\1\2" * 100)
    nursery.start_soon(site.run)
    await site.ready()
    question = await site.speak("when do you open", "en-us")
    assert await site.understand(question) == Understood("when do you open", "We open at ten.", b"\1\2" * 100)
    assert recordings == [tmp_path / "ten.wav"]
    assert await site.understand(bytes(24_000)) == Understood("", "Ask at the desk.")


async def test_a_file_with_mistakes_is_told_with_its_lines(tmp_path: Path, nursery: trio.Nursery) -> None:
    site, _ = site_of(tmp_path, b"")
    (tmp_path / "faq.yaml").write_text(FAQ + "  - name: nothing\n")
    nursery.start_soon(site.run)
    with pytest.raises(ModelError, match=r"faq\.yaml:7"):
        await OnSite(Conversation(), site).check()
