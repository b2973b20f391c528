"""Who understands and answers behind the wire."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, runtime_checkable

import trio
from attrs import define, field, frozen

from kioskd.local.answer import answer_text, wants
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


@frozen
class Situation:
    """What else a question's answer may depend on. `asked` finds the question before, if there was one."""

    asked: Callable[[], Awaitable[str | None]]
    result: str | None = None  # of the tool that this question had called
    tools: frozenset[str] = frozenset()  # that may be called


@frozen
class Call:
    """A tool is to be run first. `arguments` is a JSON object."""

    name: str
    arguments: str


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


@runtime_checkable
class Reasoner(Protocol):
    """A brain that also knows what led to a question, and tools."""

    async def consider(self, said: Understanding, situation: Situation) -> str | Call:
        """What to say to it, or to do first."""


async def reply_of(brain: Brain, said: Understanding, situation: Situation) -> str | Call:
    """What any brain says to it."""
    return await brain.consider(said, situation) if isinstance(brain, Reasoner) else await brain.answer(said)


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
        return answer_text(self.faq, _heard(said), datetime.now())

    async def consider(self, said: Understanding, situation: Situation) -> str | Call:
        """The entry's answer; its tool's call before, where the tool may be called."""
        heard = _heard(said)
        entry = heard.entry
        if entry is not None and entry.tool in situation.tools and situation.result is None:
            return Call(entry.tool, entry.arguments)
        asked = await situation.asked() if entry is not None and "asked" in wants(entry.answer) else None
        result = None if situation.result is None else _told(situation.result)
        return answer_text(self.faq, heard, datetime.now(), asked=asked, result=result)

    async def speak(self, text: str) -> bytes:
        """Speak with espeak-ng."""
        try:
            return await synthesise(text, self.faq.language)
        except SpeechError as error:
            raise BrainError(str(error)) from error


def _heard(said: Understanding) -> Heard:
    return said.topic if isinstance(said.topic, Heard) else Heard(said.text, None)


def _told(result: str) -> str:
    """A tool's result as it is said: of a JSON object its names and values."""
    try:
        value = json.loads(result)
    except (ValueError, RecursionError):
        return result
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)
