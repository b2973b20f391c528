"""What the kiosk itself does for a model: its volume, the hour, the end of a conversation, the last answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, field, frozen

from kioskd.config.schema import Settings
from kioskd.dialogue import effects as f
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import AnswerEnded, Event, Speaker, Transcript
from kioskd.endpoints.toolbox import ToolOffer
from kioskd.value import Value

QUIETEST = 10  # per cent: a visitor can't make the kiosk mute for the next words
MAX_WORDS = 4000  # characters of an answer that is said again

_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_PERCENT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"percent": {"type": "integer", "minimum": QUIETEST, "maximum": 100}},
    "required": ["percent"],
    "additionalProperties": False,
}


class RefusedError(Exception):
    """Nothing was done; the text is for the model."""


@frozen(eq=False, repr=False)
class BuiltInTool(Value):
    """One of them. `do` takes turn and arguments, returns what JSON can hold, and may raise RefusedError."""

    offer: ToolOffer
    do: Callable[[int, Mapping[str, Any]], Any] = field(eq=False)
    side_effects: bool = True


class OwnTools:
    """The tools, over what the daemon lends. An observer of it, and adjusted by its settings.

    The volume that a visitor wished for ends with the conversation; the owner's ceiling stays one.
    """

    def __init__(
        self,
        settings: Settings,
        adjust_speaker: Callable[[Settings], None],
        end_conversation: Callable[[int], None],
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._settings = settings
        self._adjust_speaker = adjust_speaker
        self._end_conversation = end_conversation
        self._now = now
        self._wished = False
        self._turn, self._words, self._last = 0, "", ""

    @property
    def tools(self) -> dict[str, BuiltInTool]:
        """By name."""
        listed = [
            BuiltInTool(
                ToolOffer("set_volume", "Sets how loud this kiosk speaks, until this visitor has gone.", _PERCENT),
                self._set_volume,
            ),
            BuiltInTool(
                ToolOffer(
                    "end_conversation",
                    "Call this when the visitor says goodbye: after your answer this conversation is forgotten.",
                    _NOTHING,
                ),
                self._end,
            ),
            BuiltInTool(
                ToolOffer("current_time", "The date and the time of day at this kiosk.", _NOTHING),
                self._current_time,
                side_effects=False,
            ),
            BuiltInTool(
                ToolOffer("repeat_last", "The words of your last answer, for you to say again.", _NOTHING),
                self._repeat_last,
                side_effects=False,
            ),
        ]
        return {each.offer.name: each for each in listed}

    def adjust(self, settings: Settings) -> None:
        """See `kioskd.pulse.Adjustable`: the owner's volume counts again."""
        self._settings, self._wished = settings, False

    def __call__(self, what: Event | Effect, now: float) -> None:
        """An observer of the daemon."""
        match what:
            case Transcript(turn, Speaker.KIOSK, text):
                self._words = f"{self._words} {text}".strip() if turn == self._turn else text
                self._turn = turn
            case AnswerEnded(turn) if turn == self._turn and self._words:
                self._last = self._words[:MAX_WORDS]
            case f.Ask() | f.AskAgain():
                self._last, self._words = self._words[:MAX_WORDS] or self._last, ""
            case f.ForgetVisitor():
                self._words = self._last = ""
                if self._wished:
                    self._wished = False
                    self._adjust_speaker(self._settings)

    def _set_volume(self, turn: int, given: Mapping[str, Any]) -> Any:
        audio = self._settings.audio
        percent = min(int(given["percent"]), audio.volume_ceiling)
        self._wished = True
        self._adjust_speaker(evolve(self._settings, audio=evolve(audio, volume=percent, night=None)))
        return {"percent": percent}

    def _end(self, turn: int, given: Mapping[str, Any]) -> Any:
        self._end_conversation(turn)
        return "Say goodbye in one short sentence."

    def _current_time(self, turn: int, given: Mapping[str, Any]) -> Any:
        now = self._now()
        return {"time": now.isoformat(timespec="minutes"), "weekday": now.strftime("%A")}

    def _repeat_last(self, turn: int, given: Mapping[str, Any]) -> Any:
        if not self._last:
            raise RefusedError("there is no answer yet")
        return {"say_exactly_this_again": self._last}
