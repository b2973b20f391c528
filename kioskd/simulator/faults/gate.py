"""The faults of a whole server: at each upgrade, and then on each connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from attrs import define, field, frozen

from kioskd.config.schema import Dialect
from kioskd.simulator.conversation import Channel, ChannelClosed
from kioskd.simulator.faults.catalogue import KINDS, Kind, Level, Phase
from kioskd.simulator.faults.channel import FaultyChannel, tell
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.faults.upgrade import Rejection, rejection_of, second_refused
from kioskd.simulator.observer import Observer, Unwatched

_SECOND = "second-connection-refused"
_SILENCE = "upgrade-then-silence"


@frozen
class Admission:
    """The upgrade is accepted; if `silent`, nothing else will happen."""

    silent: bool = False


class _Phased(Protocol):
    @property
    def phase(self) -> Phase:
        """How far it is."""


@define(eq=False)
class Gate:
    """All connections of a server go through one. `clock` is Unix time."""

    faults: FaultSource
    dialect: Dialect
    observer: Observer = field(factory=Unwatched)
    clock: Callable[[], float] = time.time
    _open: dict[object, _Phased | None] = field(factory=dict, init=False)  # by peer; None is a silent one
    _second_is_due: bool = field(default=False, init=False)  # drawn while no other connection was open
    _seconds_refused: int = field(default=0, init=False)

    def knock(self) -> Rejection | Admission:
        """What an upgrade gets whose path and key are right."""
        if self._second_is_due and self._open:
            return self._refuse_second()
        kind = self.faults.draw(Level.UPGRADE, Phase.CONNECT)
        if kind is None:
            return Admission()
        if kind.name == _SECOND:
            if self._open:
                return self._refuse_second()
            self._second_is_due = True
            return Admission()
        self._tell(kind)
        return rejection_of(kind.name, self.clock()) or Admission(silent=kind.name == _SILENCE)

    @contextmanager
    def admitted(
        self, channel: Channel, admission: Admission, peer: object, dialect: Dialect | None = None
    ) -> Iterator[Channel]:
        """While this connection lasts: the channel to converse over. `peer`: who it is, for `phase_of`.

        `dialect`: another one than the server's.
        """
        spoken = dialect or self.dialect
        faulty = None if admission.silent else FaultyChannel(channel, self.faults, spoken, self.observer)
        self._open[peer] = faulty
        try:
            yield channel if faulty is None else faulty
        finally:
            del self._open[peer]

    @contextmanager
    def visited(self, peer: object, visit: _Phased) -> Iterator[None]:
        """While a text door attends to this peer."""
        self._open[peer] = visit
        try:
            yield
        finally:
            self._open.pop(peer, None)

    def phase_of(self, peer: object) -> Phase:
        """How far the connection of this peer is; CONNECT for one that nothing was said to."""
        channel = self._open.get(peer)
        return Phase.CONNECT if channel is None else channel.phase

    def _refuse_second(self) -> Rejection:
        self._second_is_due = False
        self._tell(KINDS[_SECOND])
        self._seconds_refused += 1
        return second_refused(self._seconds_refused - 1)

    def _tell(self, kind: Kind) -> None:
        tell(self.observer, kind, Phase.CONNECT)


async def stay_silent(channel: Channel) -> None:
    """Hear the client out, and say nothing, until it has gone."""
    try:
        while True:
            await channel.receive()
    except ChannelClosed:
        return
