"""What the tools of this machine are to those who let a model call them, and what the rounds of it cost. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import astuple, field, frozen

from kioskd.dialogue.events import Usage
from kioskd.value import Value

ROUNDS_MAX = 5  # a turn: a model that calls more often goes round in circles
CALLS_MAX = 8  # a round
TOO_MANY = '{"error": "too many calls at once; this one was not run"}'


@frozen(eq=False, repr=False)
class ToolCall(Value):
    """The model wants a tool to be run. `arguments` is JSON as the model wrote it, valid or not."""

    call_id: str
    name: str
    arguments: str


@frozen(eq=False, repr=False)
class ToolOffer(Value):
    """A tool that the model may call. `parameters` is a JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(hash=False)


@frozen(eq=False, repr=False)
class Structured(Value):
    """Answers are JSON that satisfies `schema`: the member `spoken` is said, the whole goes to `Toolbox.answer`."""

    schema: Mapping[str, Any] = field(hash=False)
    spoken: str


class Toolbox(Protocol):
    """The tools that the settings declare, as they are now: they may change between two questions."""

    @property
    def offers(self) -> Sequence[ToolOffer]:
        """What a model may call."""

    @property
    def structured(self) -> Structured | None:
        """What an answer in text has to be; None: plain words."""

    async def call(self, turn: int, call: ToolCall) -> str:
        """Run it, if it is offered: its result as JSON, or the words for the model where it failed. Never raises."""

    async def answer(self, turn: int, text: str) -> None:
        """Hand a structured answer to the action that takes them, which no model can call. Never raises."""


async def results_of(toolbox: Toolbox, turn: int, calls: Sequence[ToolCall]) -> list[str]:
    """Of each call, one after the other."""
    return [await toolbox.call(turn, call) if number < CALLS_MAX else TOO_MANY for number, call in enumerate(calls)]


def summed(one: Usage | None, other: Usage) -> Usage:
    """What the rounds of a turn cost together."""
    if one is None:
        return other
    turn, *counts = astuple(one)
    return Usage(turn, *(a + b for a, b in zip(counts, astuple(other)[1:], strict=True)))
