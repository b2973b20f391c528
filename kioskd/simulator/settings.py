"""What a simulator can be told."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from kioskd.config.schema import Dialect


class SimulatorError(RuntimeError):
    """The simulator can't serve; the message says what, where, and what to do."""


@frozen
class Pace:
    """How fast answers come. The real endpoint sends 2 s of speech in about 0.4 s."""

    speed: float = 5.0  # times real time
    created_after_s: float = 0.05  # before `response.created` nothing is active: a cancel is refused
    session_s: float = 3600.0  # then `session_expired` and close 1001 (a text socket: its own word, and close 1000)
    idle_s: float = 900.0  # a text socket without a request is closed (1000)


@frozen
class SimulatorSettings:
    """Where to listen, and as whom. `key` None takes any key, or none; `faq` None is the demonstration's."""

    port: int = 8900
    host: str = "127.0.0.1"
    dialect: Dialect = field(default=Dialect.GA, converter=Dialect)
    both: bool = False  # as a relay: who asks for the beta gets it, all others have `dialect`
    key: str | None = field(default=None, repr=False)
    faq: Path | None = None
    record: Path | None = None
    pace: Pace = field(factory=Pace)
    credits: float = 100.0  # what /v1/auth/verify tells

    @property
    def url(self) -> str:
        """The WebSocket's address, without its query."""
        return f"ws://{self.host}:{self.port}/v1/realtime"
