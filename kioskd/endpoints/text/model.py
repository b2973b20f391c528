"""What a text model is to those who use it: messages in, the answer's words out, over whatever wire. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from attrs import field, frozen

from kioskd.dialogue.events import Usage
from kioskd.endpoints.policy import Failure
from kioskd.endpoints.toolbox import ToolCall, ToolOffer


class Role(Enum):
    """Who a message is from."""

    VISITOR = "user"
    KIOSK = "assistant"


@frozen
class Message:
    """A piece of the conversation. One of the kiosk's may carry tool calls; `answers_call` names the call whose result

    `text` is (its role doesn't count then).
    """

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    answers_call: str = ""


@frozen
class Request:
    """One question with all that led to it, oldest first. `schema`: the answer must be JSON that satisfies it."""

    turn: int
    instructions: str
    messages: Sequence[Message]
    tools: Sequence[ToolOffer] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    model: str = ""  # another one than the settings'


@frozen
class Delta:
    """The next words of the answer."""

    text: str


TextEvent = Delta | ToolCall | Usage
Take = Callable[[TextEvent], None]


class Finish(Enum):
    """How an answer ended at the model."""

    WHOLE = "whole"
    TOOL_CALLS = "tool calls"  # their results are wanted; the answer follows in the next request
    CUT = "cut"  # by a limit, or by a connection that went away in the middle
    STOPPED = "stopped"  # by a limit or a filter of the model's before its first word: the same question ends so again


class ModelError(Exception):
    """No answer, or no more of it: `failure` says why, without secrets; `policy.judge` says what follows."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class TextModel(Protocol):
    """A text model behind its wire. One request at a time."""

    async def run(self) -> None:
        """Keep what connections it needs, until cancelled; a wire without lasting connections just sleeps."""

    async def check(self) -> None:
        """Whether it would answer: key and address, at no cost. Raises ModelError."""

    async def answer(self, request: Request, take: Take) -> Finish:
        """Hand the answer to `take` piece by piece (in the trio thread). Cancelled: it is stopped at the model, too.

        Raises ModelError for a failure before the first piece; after it, a lost connection is Finish.CUT.
        """

    def forget(self) -> None:
        """Another conversation begins: what the model's side keeps of this one isn't used again."""
