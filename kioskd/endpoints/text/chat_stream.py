"""The events of a chat answer as they come over HTTP."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from kioskd.endpoints.http_stream import Answer
from kioskd.endpoints.text.chat_chunks import MORE_S, ChatAnswer


async def read_chunks(answer: Answer, found: ChatAnswer, feed: Callable[[str], None]) -> None:
    """Give the data of each event to `feed`, which tells `found`, until the answer is over or the body ends.

    A model that said how it ended is waited for no longer than `MORE_S`: some send nothing more, and close nothing.
    Raises ModelError, and what `feed` raises.
    """
    events = answer.events()
    while not found.over:
        data = None
        with trio.move_on_after(MORE_S if found.finished else math.inf):
            data = await anext(events, None)
        if data is None:
            return
        feed(data)
