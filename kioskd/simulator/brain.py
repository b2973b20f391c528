"""Who understands and answers behind the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import trio
from attrs import define, field, frozen

from kioskd.local.answer import answer_text
from kioskd.local.faq import Faq, FaqError, normalise
from kioskd.local.hear import Heard, Recogniser, RecogniserError
from kioskd.local.speak import SpeechError, synthesise


class BrainError(RuntimeError):
    """No answer can be given; the message says why. It reaches the client as a failed response."""


@frozen
class Understanding:
    """What was said ("" for silence), and whether there is an answer to it. `topic` is the brain's own."""

    text: str
    understood: bool
    topic: object = None


class Brain(Protocol):
    """Any of these may take its time, may be cancelled at any await, and may raise `BrainError`."""

    async def hear(self, pcm: bytes) -> Understanding:
        """Understand speech: s16le mono 24 kHz, not empty."""

    async def read(self, text: str) -> Understanding:
        """Understand a written question."""

    async def answer(self, said: Understanding) -> str:
        """What to say to it; also where it was not understood."""

    async def speak(self, text: str) -> bytes:
        """The text spoken: s16le mono 24 kHz, whole frames."""


@define
class FaqBrain:
    """Understands the questions of a FAQ, by the recogniser and the voice that the kiosk itself has."""

    faq: Faq
    recogniser: Recogniser
    _turn_to_hear: trio.Lock = field(factory=trio.Lock, init=False)  # a recogniser hears one thing at a time

    async def hear(self, pcm: bytes) -> Understanding:
        """Recognise with pocketsphinx in its child process."""
        async with self._turn_to_hear:
            try:
                heard = await self.recogniser.hear(pcm)
            except (FaqError, RecogniserError) as error:
                raise BrainError(str(error)) from error
        return Understanding(heard.text, heard.entry is not None, heard)

    async def read(self, text: str) -> Understanding:
        """Find the question that is written just so, but for case and punctuation."""
        wanted = normalise(text)
        for entry in self.faq.entries:
            if any(question.text == wanted for question in entry.questions):
                return Understanding(text, True, Heard(wanted, entry))
        return Understanding(text, False, Heard(wanted, None))

    async def answer(self, said: Understanding) -> str:
        """The entry's answer, at this machine's time."""
        heard = said.topic if isinstance(said.topic, Heard) else Heard(said.text, None)
        return answer_text(self.faq, heard, datetime.now())

    async def speak(self, text: str) -> bytes:
        """Speak with espeak-ng."""
        try:
            return await synthesise(text, self.faq.language)
        except SpeechError as error:
            raise BrainError(str(error)) from error
