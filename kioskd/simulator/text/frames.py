"""The pieces in which an answer leaves, and the place of each in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Protocol

import trio
from attrs import define, field, frozen

from kioskd.simulator.faults.replies import CutOffError, Faults
from kioskd.simulator.settings import Pace

PIECES_PER_S = 20.0  # at a pace of 1: about as fast as a model writes at five times that


class Place(Enum):
    """Where in an answer a frame is."""

    OPENING = "opening"
    PIECE = "piece"
    FINISH = "finish"  # whoever reads it knows that the answer is whole, or why it isn't
    AFTER = "after"


@frozen
class Frame:
    """One JSON object of the wire's."""

    body: dict[str, Any]
    place: Place


class Wire(Protocol):
    """How one answer travels, and how its wire says what goes wrong."""

    async def send(self, body: dict[str, Any] | str) -> None:
        """One message; a text goes as it is. Raises what its channel raises when the client has gone."""

    async def end(self, done: bool) -> None:
        """Nothing more comes of this answer. `done`: it is said so ("[DONE]"), where the wire has a word for that."""

    async def cut_off(self) -> None:
        """End the connection, in the middle. Raises `CutOffError` where the door must end, too."""

    def failure(self, kind: str) -> list[dict[str, Any]]:
        """What this wire says of the fault of this name, in place of the rest of the answer."""


@define(eq=False)
class Delivery:
    """Sends one answer, as the faults will have it. `finish(end)` makes the wire's last frames for another end."""

    wire: Wire
    faults: Faults
    pace: Pace
    finish: Callable[[str], Iterable[Frame]]
    held_s: float = 3.0  # how much later than its end a buffered answer comes
    slow_s: float = 1.0  # between the pieces of a slow one
    sent: bool = field(default=False, init=False)  # a piece of the answer itself

    async def run(self, frames: Iterable[Frame]) -> None:
        """Send them all, or what the fault leaves of them. Raises `CutOffError`."""
        await trio.sleep(self.pace.created_after_s)
        held: list[dict[str, Any]] = []
        for frame in frames:
            kind = self.faults.chance(self.sent)
            match kind:
                case "answer-stall":
                    await trio.sleep_forever()
                case "answer-disconnect":
                    await self.wire.cut_off()
                    return
                case "cut-with-done" | "cut-without-done":
                    await self.wire.end(done=kind == "cut-with-done")
                    return
                case "finish-length" | "finish-filter":
                    await self._send_all(self.finish("length" if kind == "finish-length" else "content_filter"))
                    await self.wire.end(done=True)
                    return
                case "unknown-frame":
                    await self.wire.send({"type": "response.mood.updated", "object": "mood", "mood": "serene"})
                case "garbage-frame":
                    await self.wire.send('{"choices": [{"delta": {"con')
                case None | "":
                    pass
                case _ if failure := self.wire.failure(kind):
                    for body in failure:
                        await self.wire.send(body)
                    await self.wire.end(done=False)
                    return
            if self.faults.holds:
                held.append(frame.body)
            else:
                await self.wire.send(frame.body)
            if frame.place is Place.PIECE:
                self.sent = True
                await trio.sleep(self.slow_s if self.faults.is_slow else 1 / PIECES_PER_S / self.pace.speed)
        if held:
            await trio.sleep(self.held_s)
        for body in held:
            await self.wire.send(body)
        await self.wire.end(done=True)

    async def _send_all(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            await self.wire.send(frame.body)


__all__ = ["CutOffError", "Delivery", "Frame", "Place", "Wire"]
