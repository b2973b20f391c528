"""How a question is answered where there is no session: one call a turn, sound in, sound out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from attrs import frozen

from kioskd.dialogue.events import Usage
from kioskd.endpoints.port import Utterance
from kioskd.realtime.replay import Said


@frozen
class Question:
    """One turn. `sound`: the utterance (still growing until it was asked); None: the rest of the answer before is

    wanted: its last words are the last of `said`, and the answerer adds `realtime.replay.CONTINUE`. `said`: what was
    said before, oldest first, within the settings' bounds. `heard`: what `sound` was found to be when it was asked
    before, which nobody has to find out (and pay) again; "" where it never was.
    """

    turn: int
    sound: Utterance | None
    said: Sequence[Said]
    heard: str = ""


@frozen
class Heard:
    """What the visitor said, in words."""

    text: str


@frozen
class Words:
    """The next words of the answer, as they are written (its sound may come later)."""

    text: str


@frozen(repr=False)
class Sound:
    """The next piece of the answer's sound: s16le mono at 24 kHz, whole samples."""

    pcm: bytes


AnswerEvent = Heard | Words | Sound | Usage
Take = Callable[[AnswerEvent], None]


class Finished(Enum):
    """How an answer ended."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"  # by a limit or a filter of the model's
    CUT = "cut"  # by a connection that went away in the middle


class Answerer(Protocol):
    """Answers one question at a time. `endpoints.turnwise` makes the port of it."""

    async def run(self) -> None:
        """Keep what connections or children it needs, until cancelled."""

    async def check(self) -> None:
        """Whether it would answer: key, address, children; at no cost. Raises text.model.ModelError."""

    async def answer(self, question: Question, take: Take) -> Finished:
        """Give the answer piece by piece to `take` (in the trio thread). Cancelled, it stops everything at once.

        Raises text.model.ModelError where no answer comes, or no more of it for another cause than a lost connection.
        """

    def prepare(self, utterance: Utterance) -> None:
        """A visitor begins to speak: what can be done ahead (a connection, a stream of the sound) may be."""

    def forget(self) -> None:
        """Another conversation begins."""
