"""A response: what a client may ask of it, and how it is shown."""

from __future__ import annotations

from typing import Any

import trio
from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator import schema
from kioskd.simulator.errors import ClientError
from kioskd.simulator.items import MAX_ID_CHARS, History, Item, item_from
from kioskd.simulator.schema import anything, array, boolean, decimal, either, mapping, nullable, one_of, whole
from kioskd.simulator.session import BETA_VOICES, GA_VOICES, MAX_TOKENS, Session

MAX_METADATA = 16  # pairs; source: the `openai` package's `Metadata`
MAX_INPUT = 4096


def _metadata(value: Any, path: str) -> None:
    if value is None:
        return
    check = schema.text(512)
    mapping(dict.fromkeys(value, check) if isinstance(value, dict) else {})(value, path)
    if len(value) > MAX_METADATA:
        raise ClientError(
            f"Invalid '{path}': too many properties. Expected an object with at most {MAX_METADATA} properties.",
            "object_above_max_properties",
            path,
        )
    for key in value:
        schema.text(64)(key, f"{path}.{key}")


_COMMON: dict[str, schema.Check] = {
    "conversation": one_of("auto", "none"),
    "input": array(anything, high=MAX_INPUT),  # each is checked when it is made an item
    "instructions": nullable(schema.text()),
    "metadata": _metadata,
    "tools": nullable(array(anything, high=128)),
    "tool_choice": anything,
}
_LIMIT = nullable(either(one_of("inf"), whole(1, MAX_TOKENS)))
_GA = mapping(
    {
        **_COMMON,
        "output_modalities": array(one_of("text", "audio"), 1, 1),
        "max_output_tokens": _LIMIT,
        "parallel_tool_calls": boolean,
        "prompt": anything,
        "reasoning": anything,
        "audio": mapping(
            {
                "output": mapping(
                    {
                        "format": mapping({"type": one_of("audio/pcm"), "rate": whole(24000, 24000)}),
                        "voice": either(mapping({"id": schema.text()}, ("id",)), one_of(*GA_VOICES)),
                    }
                )
            }
        ),
    }
)
_BETA = mapping(
    {
        **_COMMON,
        "modalities": array(one_of("text", "audio"), 1, 2),
        "max_response_output_tokens": _LIMIT,
        "temperature": decimal(0.6, 1.2),
        "voice": one_of(*BETA_VOICES),
        "output_audio_format": one_of("pcm16"),
    }
)


@define(eq=False)
class Response:
    """One answer in the making. It is active from `response.created` until `response.done`."""

    id: str
    dialect: Dialect
    speaks: bool
    voice: Any
    max_tokens: int | None
    instructions: str
    temperature: float
    metadata: dict[str, str] | None
    conversation_id: str | None  # None: out of band, it leaves no trace in the conversation
    context: list[Item]
    tools: frozenset[str] = frozenset()  # that may be called
    status: str = "in_progress"
    details: dict[str, Any] | None = None
    output: list[Item] = field(factory=list)
    usage: dict[str, Any] | None = None
    active: bool = False
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    cancelled_by: str = ""  # the wire's reason: client_cancelled or turn_detected

    def cancel(self, reason: str) -> None:
        """Stop soon; what was said stays said."""
        self.cancelled_by = self.cancelled_by or reason
        self.scope.cancel()

    def rendered(self) -> dict[str, Any]:
        """The response object of `response.created` and `response.done`."""
        modalities = ["audio"] if self.speaks else ["text"]
        common = {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self.details,
            "output": [item.rendered(self.dialect) for item in self.output],
            "conversation_id": self.conversation_id,
            "max_output_tokens": self.max_tokens or "inf",
            "usage": self.usage,
            "metadata": self.metadata,
        }
        if self.dialect is Dialect.GA:
            output = {"format": {"type": "audio/pcm", "rate": 24000}, "voice": self.voice}
            return {**common, "output_modalities": modalities, "audio": {"output": output}}
        return {
            **common,
            "modalities": ["text", "audio"] if self.speaks else ["text"],
            "voice": self.voice,
            "output_audio_format": "pcm16",
            "temperature": self.temperature,
        }


def response_from(wanted: Any, session: Session, history: History, conversation_id: str, ids: Any) -> Response:
    """The response that a client asks for; what it leaves open is as in the session.

    `ids(prefix)` makes a new id. Raises `ClientError`.
    """
    wanted = {} if wanted is None else wanted
    is_ga = session.is_ga
    (_GA if is_ga else _BETA)(wanted, "response")
    modalities = wanted.get("output_modalities" if is_ga else "modalities")
    voice = wanted.get("audio", {}).get("output", {}).get("voice") if is_ga else wanted.get("voice")
    limit = wanted.get("max_output_tokens" if is_ga else "max_response_output_tokens")
    context = list(history)
    if "input" in wanted:
        context = [
            _input_item(given, f"response.input[{index}]", session.dialect, history, ids)
            for index, given in enumerate(wanted["input"])
        ]
    return Response(
        id=ids("resp"),
        dialect=session.dialect,
        speaks=session.speaks if modalities is None else "audio" in modalities,
        voice=voice or session.voice,
        max_tokens=session.max_output_tokens if limit is None else None if limit == "inf" else limit,
        instructions=wanted.get("instructions") or session.settings["instructions"],
        temperature=wanted.get("temperature", session.settings.get("temperature", 0.8)),
        metadata=wanted.get("metadata"),
        conversation_id=None if wanted.get("conversation") == "none" else conversation_id,
        context=context,
        tools=_tools(wanted, session),
    )


def _tools(wanted: dict[str, Any], session: Session) -> frozenset[str]:
    """The names of what may be called: the response's, or the session's."""
    merged = {**session.settings, **{name: value for name, value in wanted.items() if value is not None}}
    if merged.get("tool_choice") == "none":
        return frozenset()
    return frozenset(str(each.get("name")) for each in merged.get("tools") or () if isinstance(each, dict))


def _input_item(given: Any, path: str, dialect: Dialect, history: History, ids: Any) -> Item:
    if isinstance(given, dict) and given.get("type") == "item_reference":
        mapping({"type": anything, "id": schema.text(MAX_ID_CHARS)}, required=("id",))(given, path)
        return history.get(given["id"], "retrieve")
    return item_from(given, dialect, ids("item"), path)
