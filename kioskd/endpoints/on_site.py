"""Answers without any network: the site's own questions, recognised and spoken on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio
from attrs import frozen

from kioskd.config.schema import Conversation
from kioskd.endpoints.answering import Finished, Heard, Question, Sound, Take, Words
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.port import Utterance
from kioskd.endpoints.text.model import ModelError
from kioskd.realtime.codec import BYTES_PER_MS

PIECE_BYTES = 200 * BYTES_PER_MS  # the loop breathes between two of them

# What is said where nothing was understood, before the site's own words. No promise, and no blame.
LIMITED = {
    "de": "Ich kann gerade nur wenige Fragen beantworten.",
    "en": "I can only answer a few questions right now.",
    "es": "En este momento solo puedo responder a unas pocas preguntas.",
    "fr": "Je ne peux répondre qu'à quelques questions pour le moment.",
    "it": "Al momento posso rispondere solo a poche domande.",
    "nl": "Ik kan nu maar een paar vragen beantwoorden.",
    "pl": "W tej chwili mogę odpowiedzieć tylko na kilka pytań.",
    "pt": "De momento só posso responder a algumas perguntas.",
}


@frozen
class Understood:
    """What a site makes of an utterance.

    Attributes:
        question: As the site's file has it; empty where nothing in it was asked.
        answer: To be spoken; where nothing was asked: the site's own words for that.
        pcm: The answer as a recording of the owner's, s16le mono at 24 kHz; empty: it is to be spoken.
    """

    question: str
    answer: str
    pcm: bytes = b""


class Site(Protocol):
    """The site's questions and answers (see `kioskd.local.site`).

    What goes wrong is told in words for the owner: OSError and ValueError where the owner must mend it, RuntimeError
    where trying again may help.
    """

    @property
    def language(self) -> str:
        """Of its questions and answers."""

    async def run(self) -> None:
        """Keep the recogniser's child, until cancelled."""

    async def ready(self) -> None:
        """Return once it can hear and speak."""

    async def understand(self, pcm: bytes) -> Understood:
        """An utterance, s16le mono at 24 kHz. Cancelled, it stops its child."""

    async def speak(self, text: str, language: str) -> bytes:
        """A text as s16le mono at 24 kHz. Cancelled, it stops its child."""


class OnSite:
    """An Answerer over a site. What was said before means nothing to it."""

    def __init__(self, conversation: Conversation, site: Site) -> None:
        self._site = site
        self._language = (conversation.language or site.language).lower()

    async def run(self) -> None:
        """See Answerer."""
        with _told():
            await self._site.run()

    async def check(self) -> None:
        """See Answerer."""
        with _told():
            await self._site.ready()

    async def answer(self, question: Question, take: Take) -> Finished:
        """See Answerer. An answer has no rest that could be wanted: the visitor is told how little can be answered."""
        with _told():
            pcm = question.sound.since(0) if question.sound is not None else b""
            understood = await self._site.understand(pcm)
            if understood.question:
                take(Heard(understood.question))
            for text, language in self._texts(understood):
                take(Words(text + " "))
                sound = understood.pcm or await self._site.speak(text, language)
                for start in range(0, len(sound), PIECE_BYTES):
                    take(Sound(sound[start : start + PIECE_BYTES]))
                    await trio.lowlevel.checkpoint()
        return Finished.COMPLETE

    def _texts(self, understood: Understood) -> list[tuple[str, str]]:
        """What is said, and in which language: the owner's words only to visitors who speak the owner's language."""
        own = (understood.answer, self._site.language)
        if understood.question:
            return [own]
        main = self._language.partition("-")[0]
        is_own = main == self._site.language.partition("-")[0]
        if main not in LIMITED:
            return [(LIMITED["en"], "en"), own]
        return [(LIMITED[main], self._site.language if is_own else main), *([own] if is_own else [])]

    def prepare(self, utterance: Utterance) -> None:
        """See Answerer. Nothing can be done ahead: the recogniser wants the utterance whole."""

    def forget(self) -> None:
        """See Answerer. It remembers nothing."""


class SiteEars:
    """Hearing for a text model: what is understood are the questions of a site (see voice.hearing.Ears)."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self) -> None:
        """See Ears."""
        with _told():
            await self._site.run()

    async def check(self) -> None:
        """See Ears."""
        with _told():
            await self._site.ready()

    async def transcribe(self, utterance: Utterance, partial: Callable[[str], None]) -> str:
        """See Ears."""
        with _told():
            return (await self._site.understand(utterance.since(0))).question


class _told:  # noqa: N801  (it reads as a statement)
    """What the site can't do is a failure for the owner to mend."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            raise ModelError(Failure(Kind.SETTINGS, str(error))) from None
        if isinstance(error, RuntimeError):  # a child that died may do better next time
            raise ModelError(Failure(Kind.ERROR, str(error))) from None
