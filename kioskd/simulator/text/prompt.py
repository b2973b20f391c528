"""What a model is asked, whatever the wire, and what it makes of that: it knows nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import evolve, field, frozen

from kioskd.simulator import usage
from kioskd.simulator.brain import Brain, Call, Situation, Understanding, reply_of
from kioskd.simulator.sound import BYTES_PER_MS
from kioskd.simulator.usage import CACHE_BLOCK, Tokens

NOTHING_LEFT = "That was all."


class Who(Enum):
    """Whose a line of the conversation is."""

    USER = "user"
    KIOSK = "assistant"
    CALL = "call"  # a tool call of the model's
    RESULT = "result"  # what the tool said


@frozen
class Line:
    """A line. A spoken one has `pcm` (s16le mono 24 kHz), and `said` once it was understood."""

    who: Who
    text: str = ""
    pcm: bytes = field(default=b"", repr=False)
    said: Understanding | None = None
    call_id: str = ""


@frozen
class Prompt:
    """All that the model is told, oldest first. `tools` may be called; the answer must be JSON of `schema`."""

    instructions: str
    lines: Sequence[Line]
    tools: frozenset[str] = frozenset()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


@frozen
class Thought:
    """What the model says or calls, and the question as it understood it."""

    reply: str | Call
    question: Understanding
    pcm: bytes = field(default=b"", repr=False)  # of the question, if it was spoken


async def think(brain: Brain, prompt: Prompt) -> Thought:
    """The model's answer to the last question. Raises `BrainError`.

    A question that begins with "continue" is no new one: the rest of the answer before is wanted.
    """
    asked = [place for place, line in enumerate(prompt.lines) if line.who is Who.USER and not _wants_more(line)]
    place = asked[-1] if asked else -1
    question = prompt.lines[place] if asked else Line(Who.USER)
    since = prompt.lines[place + 1 :]
    said = await _understood(brain, question)

    async def asked_before() -> str | None:
        return (await _understood(brain, prompt.lines[asked[-2]])).text if len(asked) > 1 else None

    results = [line.text for line in since if line.who is Who.RESULT]
    situation = Situation(asked_before, results[-1] if results else None, prompt.tools)
    reply = await reply_of(brain, said, situation)
    if isinstance(reply, str):
        if any(_wants_more(line) for line in since):
            reply = rest_of(reply, " ".join(line.text for line in since if line.who is Who.KIOSK))
        if prompt.schema is not None:
            reply = json.dumps(fitting(prompt.schema, reply, said.understood), ensure_ascii=False)
    return Thought(reply, said, question.pcm)


async def _understood(brain: Brain, line: Line) -> Understanding:
    if line.said is not None:
        return line.said
    return await brain.hear(line.pcm) if line.pcm else await brain.read(line.text)


def _wants_more(line: Line) -> bool:
    return line.who is Who.USER and re.match(r"continue\b", line.text.strip(), re.IGNORECASE) is not None


def rest_of(answer: str, said: str) -> str:
    """The answer without as many words as were said of it."""
    return " ".join(answer.split()[len(said.split()) :]) or NOTHING_LEFT


def fitting(schema: Mapping[str, Any], text: str, understood: bool) -> Any:
    """A JSON value that fits a simple JSON Schema and says the text: in every string, and so on."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next((each for each in schema["enum"] if str(each).lower() in text.lower()), schema["enum"][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: fitting(each, text, understood) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [fitting(schema.get("items", {}), text, understood)]
    if kind in ("integer", "number"):
        found = re.search(r"\d+", text)
        number = int(found[0]) if found else 0
        return max(min(number, schema.get("maximum", number)), schema.get("minimum", 0))
    return {"boolean": understood, "null": None}.get(kind, text[: schema.get("maxLength", len(text))])


def tokens(prompt: Prompt) -> Tokens:
    """What the model reads."""
    text = usage.of_text(prompt.instructions) + sum(3 + usage.of_text(line.text) for line in prompt.lines)
    return Tokens(text, sum(usage.of_input_audio(len(line.pcm) // BYTES_PER_MS) for line in prompt.lines))


def cached_tokens(prompt: Prompt) -> int:
    """How much of it the model has read before: all but the last question, in whole blocks."""
    questions = [place for place, line in enumerate(prompt.lines) if line.who is Who.USER]
    before = evolve(prompt, lines=prompt.lines[: questions[-1] if questions else 0])
    return tokens(before).text // CACHE_BLOCK * CACHE_BLOCK
