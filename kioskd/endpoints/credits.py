"""What an account still holds, and which models it may ask: plain requests, loaded only where they are wanted."""

from __future__ import annotations

import json

from kioskd.config.schema import Endpoint
from kioskd.endpoints.http_stream import client_for, open_stream
from kioskd.endpoints.text.checking import BODY_MAX, KeyCheck, asking, house_of
from kioskd.endpoints.text.model import ModelError

MAX_MODELS = 1000


async def credits_of(settings: Endpoint, key: str) -> float | None:
    """The credits that are left, in the seller's own unit; None where none are told, or nobody answers."""
    check = KeyCheck(settings)
    async with client_for(settings) as client:
        try:
            await check.run(client, key)
        except ModelError:
            return None  # the link tells what is wrong with a key
    return check.credits


async def models_of(settings: Endpoint, key: str) -> list[str]:
    """The names of the models there, in the order of the alphabet. Raises ModelError; ValueError for no list."""
    async with client_for(settings) as client:
        request = asking(client, settings, key, f"{house_of(settings.url)}/models")
        async with open_stream(client, settings, request) as answer:
            found = json.loads(await answer.body(BODY_MAX))
    listed = found.get("data") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise ValueError("it answers without a list of models")
    names = [each.get("id") if isinstance(each, dict) else each for each in listed[:MAX_MODELS]]
    return sorted({name for name in names if isinstance(name, str) and name.isprintable()})
