"""The dialogue's one door: events and the time go in, effects come out. PURE.

What concerns every state (`Surroundings`) is noticed first; then the table decides. An event that belongs to another
turn than the current one comes too late and is dropped before either.
"""

from __future__ import annotations

from collections.abc import Callable

from kioskd.config.schema import Audio, Conversation
from kioskd.dialogue.button import held_on
from kioskd.dialogue.effects import Effect, Show, Sign, State, View
from kioskd.dialogue.events import Event, Fault, SpeakingStopped
from kioskd.dialogue.scene import Scene
from kioskd.dialogue.surroundings import Surroundings
from kioskd.dialogue.table import TABLE
from kioskd.dialogue.turn import Turn

TURN_DUE: dict[State, Callable[[Turn, Conversation], float]] = {
    State.LISTENING: Turn.utterance_due,
    State.THINKING: Turn.answer_due,
    State.SPEAKING: Turn.speaking_due,
}


class Kiosk:
    """What the kiosk does. `now` is in seconds of any clock that never goes back."""

    def __init__(self, settings: Conversation, audio: Audio | None = None) -> None:
        """Of `audio` only its echo and the sign that a question is sent count; without it: the defaults."""
        self._scene = Scene(settings, Surroundings(settings, audio or Audio()))
        self._shown: View | None = None

    @classmethod
    def resumed(cls, scene: Scene, shown: View | None) -> Kiosk:
        """A kiosk that goes on from what another one's `memory` was."""
        kiosk = cls(scene.settings, scene.around.audio)
        kiosk._scene, kiosk._shown = scene, shown
        return kiosk

    def adopt(self, settings: Conversation, audio: Audio) -> None:
        """Go on by these settings, from the next step on."""
        scene = self._scene
        scene.settings = scene.around.settings = settings
        scene.around.audio = audio

    @property
    def memory(self) -> tuple[Scene, View | None]:
        """All that the next `step` depends on besides its event: to be written down, not to be changed."""
        return self._scene, self._shown

    @property
    def view(self) -> View:
        """What can be seen of the kiosk from outside."""
        return self._scene.view

    @property
    def turn(self) -> int | None:
        """The number of the turn under way."""
        return self._scene.turn.number if self._scene.turn else None

    @property
    def deadline(self) -> float | None:
        """When a `Tick` is due; None while time alone changes nothing."""
        scene = self._scene
        if scene.state is State.STOPPED:
            return None
        due = list(scene.around.timers())
        if scene.turn:
            due.append(TURN_DUE[scene.state](scene.turn, scene.settings))
        if scene.stop_by is not None:
            due.append(scene.stop_by)
        if scene.held_on_at is not None:
            due.append(scene.held_on_at)
        if scene.state is State.READY and scene.visitor_seen_at is not None:
            due.append(scene.visitor_seen_at + scene.settings.forget_after_s)
        return min(due, default=None)

    def step(self, event: Event, now: float) -> list[Effect]:
        """What is to be done about `event`, in this order."""
        scene = self._scene
        scene.effects = []
        before = scene.around.faults
        if self._is_current(event) and scene.around.notice(event, now):
            TABLE[scene.state, type(event)](scene, event, now)
            if scene.held_on_at is not None and now >= scene.held_on_at:
                held_on(scene, now)
        self._tell_faults(scene.around.faults - before, now)
        if scene.state is not State.STOPPED and self._shown != scene.view:
            self._shown = scene.view
            scene.effects.append(Show(scene.view))
        return scene.effects

    def _tell_faults(self, new: frozenset[Fault], now: float) -> None:
        """By ear, where nobody is talking and anything can be heard. In a turn, its end tells."""
        scene = self._scene
        if new and not scene.effects and scene.state is State.READY and Fault.SPEAKER not in scene.around.faults:
            scene.give_sign(Sign.FAULT, now)

    def _is_current(self, event: Event) -> bool:
        number: int | None = getattr(event, "turn", None)
        if number is None or number == self.turn:
            return True
        return isinstance(event, SpeakingStopped) and number == self._scene.silencing
