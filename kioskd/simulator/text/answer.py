"""An answer as all wires give it: words or a tool call, perhaps sound, as long as was allowed, and what it cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from attrs import field, frozen

from kioskd.simulator import usage
from kioskd.simulator.brain import Brain, BrainError, Call, Understanding
from kioskd.simulator.errors import ClientError
from kioskd.simulator.sound import BYTES_PER_MS, SAMPLE_BYTES
from kioskd.simulator.text import prompt as prompts
from kioskd.simulator.text.prompt import Prompt
from kioskd.simulator.usage import Tokens

_ARGUMENT_CHARS = 8  # of a tool call's arguments come at a time


class End(Enum):
    """Why an answer ends, in chat's words."""

    STOP = "stop"
    LENGTH = "length"
    CALLS = "tool_calls"
    FILTER = "content_filter"


@frozen
class Answer:
    """One whole answer. `words` put together are `text`; `pcm` is s16le mono 24 kHz."""

    end: End
    words: Sequence[str]
    read: Tokens
    cached: int
    said: Tokens
    question: Understanding
    question_pcm: bytes = field(default=b"", repr=False)
    call: Call | None = None
    pcm: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """What is said."""
        return "".join(self.words)

    @property
    def arguments(self) -> Sequence[str]:
        """The tool call's arguments, in pieces."""
        text = self.call.arguments if self.call else ""
        return [text[start : start + _ARGUMENT_CHARS] for start in range(0, len(text), _ARGUMENT_CHARS)]


class ServerFault(ClientError):  # noqa: N818 - it is the server's, and told as its errors are
    """The model can't answer: 500."""


async def answer(brain: Brain, prompt: Prompt, limit: int | None = None, spoken: bool = False) -> Answer:
    """What the model says in `limit` tokens at most. Raises `ServerFault`."""
    try:
        thought = await prompts.think(brain, prompt)
        call = thought.reply if isinstance(thought.reply, Call) else None
        text = thought.reply if isinstance(thought.reply, str) else ""
        words, end = re.findall(r"\S+\s*|^\s+", text), End.STOP if call is None else End.CALLS
        pcm = await brain.speak(text) if spoken and text else b""
    except BrainError as error:
        raise ServerFault(str(error), "server_error", type="server_error") from None
    cost = usage.of_output(text, len(pcm) // BYTES_PER_MS).total
    if limit is not None and cost > limit:
        end = End.LENGTH
        words = words[: len(words) * limit // cost]
        pcm = pcm[: len(pcm) * limit // cost // SAMPLE_BYTES * SAMPLE_BYTES]
    said = usage.of_output("".join(words), len(pcm) // BYTES_PER_MS)
    if call is not None:
        said = Tokens(usage.of_text(call.name + call.arguments) + 5)
    read, cached = prompts.tokens(prompt), prompts.cached_tokens(prompt)
    return Answer(end, words, read, cached, said, thought.question, thought.pcm, call, pcm)
