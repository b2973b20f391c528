"""Orders to the server from outside of the conversation: how to answer, when to be gone, and what it saw when."""

from __future__ import annotations

import json
import socket
from typing import Any


class Control:
    """The server's second port. Calls block for a moment: not while something is measured."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._lines = self._socket.makefile("rw")

    def close(self) -> None:
        """Leave."""
        self._lines.close()
        self._socket.close()

    def weather(self, **weather: float) -> None:
        """Change some of `canned.Weather`."""
        self._order(do="weather", weather=weather)

    def marks(self) -> list[tuple[str, float]]:
        """(what, when) since the last call, on the monotonic clock: append, commit, sound, back."""
        return [(what, at) for what, at in self._order(do="marks")]

    def break_off(self, seconds: float) -> None:
        """Reset every connection, and be gone for so long."""
        self._order(do="break", seconds=seconds)

    def _order(self, **order: object) -> Any:
        self._lines.write(json.dumps(order) + "\n")
        self._lines.flush()
        return json.loads(self._lines.readline())
