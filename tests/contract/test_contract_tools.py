"""What we send about tools over the Realtime wire, held against the types of the `openai` package."""

from __future__ import annotations

import json
from typing import Any

import openai.types.beta.realtime as beta_types
import openai.types.realtime as ga_types
import pytest
from attrs import evolve
from pydantic import BaseModel

from kioskd.config.schema import Conversation, Dialect, Endpoint
from kioskd.config.tool_schema import BuiltIn, Tools
from kioskd.realtime import codec
from kioskd.realtime.dialects import session_settings
from kioskd.tools.built_in import OwnTools
from kioskd.tools.runner import NoRunner
from kioskd.tools.toolbox import KioskTools

ENDPOINT = Endpoint("a", "wss://a/v1/realtime", "m")
TYPES: dict[Dialect, Any] = {Dialect.GA: ga_types, Dialect.BETA: beta_types}


def unknown(model: BaseModel, path: str = "") -> list[str]:
    """What the type does not have, at any depth."""
    found = [f"{path}.{name}" for name in model.model_extra or {}]
    for name in model.model_fields_set:
        value = getattr(model, name, None)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                found += unknown(each, f"{path}.{name}")
    return found


@pytest.mark.parametrize("dialect", list(Dialect))
def test_offers_and_results_are_what_the_server_takes(dialect: Dialect) -> None:
    own = OwnTools(None, lambda _: None, lambda _: None).tools  # type: ignore[arg-type]
    offers = KioskTools(Tools(built_in=tuple(BuiltIn)), lambda _: NoRunner("none"), own).offers
    assert len(offers) == len(BuiltIn)
    types = TYPES[dialect]
    update = json.loads(
        codec.session_update(session_settings(evolve(ENDPOINT, dialect=dialect), Conversation(), offers))
    )
    sent = types.SessionUpdateEvent.model_validate(update)
    assert [tool.name for tool in sent.session.tools] == [each.value for each in BuiltIn]
    assert [name for name in unknown(sent) if "tool" in name] == []
    item = json.loads(codec.function_output("call_1", '{"result": 7}'))
    created = types.ConversationItemCreateEvent.model_validate(item)
    assert created.item.type == "function_call_output"
    assert unknown(created) == []
