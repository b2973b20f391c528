"""Writes down what a kiosk does, so that it can be replayed: checkpoints, events, effects, one line each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from kioskd import __version__
from kioskd.config.schema import Audio, Conversation
from kioskd.config.secrets import mask_keys
from kioskd.dialogue.effects import Effect, View
from kioskd.dialogue.events import Event
from kioskd.dialogue.scene import Scene
from kioskd.health.flight.codec import EVENTS, TOLD_AT_MOST, effect_line, encode_json, event_line
from kioskd.health.flight.memory import dump_memory, dump_settings

CHECKPOINT_S = 60.0  # so much is lost at most where a replay can't begin earlier
CHECKPOINT_CHARACTERS = 64 << 10  # a 32nd of the ring, for the same reason

Observer = Callable[[Event | Effect, float], None]
_EVENTS = frozenset(EVENTS.values())


class Watched(Protocol):
    """A daemon, as far as the recorder looks at it."""

    @property
    def memory(self) -> tuple[Scene, View | None]:
        """All that its next step depends on."""

    def observe(self, observer: Observer) -> None:
        """Let `observer` see everything from now on."""


@define(eq=False, repr=False)
class Tape:
    """`write` gets each line (ASCII, without its end). One daemon at a time: the one watched last.

    `on_error` is told what went wrong while writing, once; without it, the daemon is.
    """

    write: Callable[[str], None]
    on_error: Callable[[Exception], None] | None = None
    _session: _Session | None = field(default=None, init=False)

    def watch(self, daemon: Watched) -> None:
        """Write down everything from now on. Where other settings begin to count, a checkpoint has them."""
        session = _Session(self, daemon)
        self._session = session
        daemon.observe(session)

    def note(self, words: str) -> None:
        """A line between the events: what no event tells. Never anything that was said, and no secrets."""
        self.write(encode_json({"note": mask_keys(words[:TOLD_AT_MOST]), "wall": time.time()}))

    def stop(self) -> None:
        """Write nothing more."""
        self._session = None

    def is_current(self, session: _Session) -> bool:
        """A daemon that was replaced may still have something to say, but not here."""
        return session is self._session


@define(eq=False, repr=False)
class _Session:
    """An observer of one daemon."""

    _tape: Tape
    _daemon: Watched
    _counting: tuple[Conversation, Audio] | None = None
    _settings: dict[str, object] = field(factory=dict)
    _begun: bool = False
    _due_at: float = 0.0
    _written: int = 0

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event before, or effect as, it is performed."""
        if not self._tape.is_current(self):
            return
        try:
            self._write(what, now)
        except Exception as error:  # a recorder is never worth a kiosk
            if self._tape.on_error is None:
                raise
            self._tape.on_error(error)

    def _write(self, what: Event | Effect, now: float) -> None:
        if type(what) in _EVENTS:
            self._look_at_settings()
            if not self._begun or now >= self._due_at or self._written >= CHECKPOINT_CHARACTERS:
                self._write_checkpoint(now)
            line = event_line(what, now)  # type: ignore[arg-type]  # it is one of EVENTS
        else:
            line = effect_line(what)  # type: ignore[arg-type]  # all that is no event
        self._written += len(line)
        self._tape.write(line)

    def _look_at_settings(self) -> None:
        """What the dialogue goes by is what is recorded: whoever changes it need not remember to tell."""
        scene = self._daemon.memory[0]
        counting = scene.settings, scene.around.audio
        known = self._counting
        if known is None or known[0] is not counting[0] or known[1] is not counting[1]:
            self._counting = counting
            settings = dump_settings(*counting)
            if settings != self._settings:
                self._settings, self._due_at = settings, -math.inf

    def _write_checkpoint(self, now: float) -> None:
        """Before an event nothing is under way: what the kiosk remembers is all that there is."""
        checkpoint = {
            "begins": not self._begun,
            "version": __version__,
            "wall": time.time(),
            "monotonic": time.monotonic(),
            "settings": self._settings,
            "memory": dump_memory(*self._daemon.memory),
        }
        self._begun, self._due_at, self._written = True, now + CHECKPOINT_S, 0
        self._tape.write(encode_json({"checkpoint": checkpoint, "at": now}))
