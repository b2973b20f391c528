"""The shape of the settings about tools: what a model may have done on this machine. PURE, imports attrs only."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from kioskd.config.endpoint_schema import within
from kioskd.value import Value


class BuiltIn(Enum):
    """What the kiosk itself can do for a model."""

    SET_VOLUME = "set_volume"
    END_CONVERSATION = "end_conversation"
    CURRENT_TIME = "current_time"
    REPEAT_LAST = "repeat_last"


class ToolRunner(Enum):
    """Who starts an action's command."""

    SERVICE = "service"  # a unit of its own for each call, walled in by systemd
    CHILD = "child"  # a plain child process: for development


@frozen(eq=False, repr=False)
class Action(Value):
    """A command that a model may have run. `parameters` is the JSON Schema of its arguments, which come on stdin."""

    name: str
    description: str
    command: tuple[str, ...] = field(metadata={"items": (1, 64)})
    parameters: Mapping[str, Any] = field(
        factory=lambda: {"type": "object", "properties": {}, "additionalProperties": False}
    )
    longest_s: float = within(0.5, 60, 8)
    side_effects: bool = True
    network: bool = False


@frozen(eq=False, repr=False)
class Tools(Value):
    """What a model may have done here, besides talking; without lines of its own: nothing."""

    built_in: tuple[BuiltIn, ...] = field(default=(), metadata={"items": (0, 4)})
    actions: tuple[Action, ...] = field(default=(), metadata={"items": (0, 32)})
    runner: ToolRunner = ToolRunner.SERVICE
    answer_schema: Mapping[str, Any] | None = field(default=None)
    answer_action: str | None = None
    answer_spoken: str = "spoken"
