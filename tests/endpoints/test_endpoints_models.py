"""The models that an endpoint offers, whatever it sends for a list of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import define

from kioskd.config.schema import Endpoint, EndpointKind
from kioskd.endpoints import credits

CHAT = Endpoint("lobby", "https://a.example/v1/chat/completions", "m", kind=EndpointKind.CHAT)


@define
class Answer:
    found: Any

    async def body(self, most: int) -> bytes:
        return json.dumps(self.found).encode()


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        (["b", "a"], ["a", "b"]),
        (
            {"data": [{"id": ["x"]}, {"id": {"x": 1}}, {"id": None}, {}, ["x"], 7, {"id": "a\u001b[2J"}, {"id": "a"}]},
            ["a"],
        ),
    ],
)
async def test_only_names_are_names(found: Any, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def open_stream(*_: Any) -> AsyncIterator[Answer]:
        yield Answer(found)

    monkeypatch.setattr(credits, "open_stream", open_stream)
    assert await credits.models_of(CHAT, "key") == names
