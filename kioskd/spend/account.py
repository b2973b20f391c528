"""What each turn takes, read off the daemon's events and effects as they pass. PURE. Times are the daemon's clock."""

from __future__ import annotations

import math
from collections.abc import Callable

from attrs import define, evolve, field, frozen

from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.spend.prices import Amounts
from kioskd.value import Value

GRACE_S = 5.0  # after an answer's end its usage may still come; then it is estimated
KEPT_TURNS = 16  # that are waited for, or whose usage may come late

# What a realtime model makes of sound, by its maker's guide to costs: a token per 100 ms heard, one per 50 ms spoken.
HEARD_MS_A_TOKEN, SPOKEN_MS_A_TOKEN = 100, 50
CHARACTERS_A_TOKEN = 4  # of European languages, roughly
CHARACTERS_A_SECOND = 15  # spoken, of the same languages


@frozen(eq=False, repr=False)
class Taken(Value):
    """What a turn took, to be booked. `late`: its estimate was booked already, and counts no more."""

    turn: int
    endpoint: str
    model: str
    amounts: Amounts
    estimated: bool = False
    late: bool = False
    wait_ms: int | None = None


@define(eq=False, repr=False)
class _Turn:
    endpoint: str
    asked_at: float
    model: str = ""
    heard_ms: int = 0
    spoken_ms: float = 0.0
    asked_characters: int = 0
    said_characters: int = 0
    wait_ms: int | None = None
    usage: Amounts | None = None
    ended: bool = False
    due: float = math.inf
    booked: bool = False
    estimated: bool = False


@define(eq=False, repr=False)
class Account:
    """An observer of the daemon; `on_taken` gets each turn that took something, once, and what comes late for it.

    `serving` is who answers just now, `model_of` the model there that a question goes to. `is_sound`: whether that one
    counts sound in tokens (else the text).
    """

    serving: Callable[[], str]
    is_sound: Callable[[str], bool]
    model_of: Callable[[str, str], str]
    on_taken: Callable[[Taken], None]
    instructions: Callable[[], str] = lambda: ""
    _turns: dict[int, _Turn] = field(factory=dict, init=False)
    _heard_ms: dict[int, int] = field(factory=dict, init=False)
    _due: float = field(default=math.inf, init=False)

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        if now >= self._due:
            self.settle(now)
        match what:
            case e.AnswerAudio(turn, _, duration_ms):
                if (known := self._turns.get(turn)) is not None:
                    if known.wait_ms is None:
                        known.wait_ms = round((now - known.asked_at) * 1000)
                        known.endpoint = self.serving()
                    known.spoken_ms += duration_ms
            case f.Ask(turn) | f.AskAgain(turn) | f.ContinueAnswer(turn):
                self._open(turn, now)
            case e.UtteranceEnded(turn, duration_ms):
                if turn in self._turns:
                    self._turns[turn].heard_ms = duration_ms
                else:
                    self._heard_ms = {turn: duration_ms}
            case e.Transcript(turn, speaker, text) if turn in self._turns:
                if speaker is e.Speaker.VISITOR:
                    known = self._turns[turn]
                    known.asked_characters, known.endpoint = len(text), self.serving()
                    known.model = self.model_of(known.endpoint, text)
                else:
                    self._turns[turn].said_characters += len(text)
            case e.Usage(turn):
                self._note_usage(turn, what, now)
            case e.AnswerEnded(turn) if turn in self._turns:
                known = self._turns[turn]
                known.ended = True
                self._wait(known, now + (0.0 if known.usage is not None else GRACE_S), now)
            case f.CancelAnswer(turn) | f.Interrupt(turn) if turn in self._turns:
                self._wait(self._turns[turn], now + GRACE_S, now)

    def settle(self, now: float) -> None:
        """Book what is due."""
        for turn in [turn for turn, known in self._turns.items() if known.due <= now]:
            self._book(turn)
        self._due = min((known.due for known in self._turns.values()), default=math.inf)

    def close(self) -> None:
        """Nothing more will be seen: book all that took something."""
        for turn in list(self._turns):
            self._book(turn)

    @property
    def due(self) -> float:
        """When something is to be settled, infinite: nothing is."""
        return self._due

    def _open(self, turn: int, now: float) -> None:
        if turn in self._turns:
            self._book(turn)
            del self._turns[turn]
        self._turns[turn] = _Turn(self.serving(), now, heard_ms=self._heard_ms.pop(turn, 0))
        self._let_go()

    def _let_go(self) -> None:
        while len(self._turns) > KEPT_TURNS:
            oldest = next(iter(self._turns))
            self._book(oldest)
            del self._turns[oldest]

    def _note_usage(self, turn: int, usage: e.Usage, now: float) -> None:
        known = self._turns.get(turn)
        if known is None:  # long over, or none of this life's
            known = self._turns[turn] = _Turn(self.serving(), now, booked=True)
            self._let_go()
        taken = Amounts(
            usage.input_text, usage.input_audio, usage.cached_text, usage.cached_audio,
            usage.output_text, usage.output_audio,
        )  # fmt: skip
        known.usage = taken if known.usage is None else known.usage + taken
        if known.booked:
            whole = self._whole(known) if known.estimated else taken
            late, known.estimated = known.estimated, False
            model = known.model or self.model_of(known.endpoint, "")
            self.on_taken(Taken(turn, known.endpoint, model, whole, late=late, wait_ms=known.wait_ms if late else None))
        elif known.ended or known.due < math.inf:
            self._wait(known, now, now)

    def _wait(self, known: _Turn, due: float, now: float) -> None:
        known.due = min(known.due, due)
        self._due = min(self._due, known.due)
        if known.due <= now:
            self.settle(now)

    def _book(self, turn: int) -> None:
        known = self._turns[turn]
        known.due = math.inf
        if known.booked:
            return
        known.booked = True
        whole = self._whole(known)
        if known.usage is None:
            if not known.spoken_ms and not known.said_characters:
                return  # nothing came of it
            known.estimated = True
        model = known.model or self.model_of(known.endpoint, "")
        self.on_taken(Taken(turn, known.endpoint, model, whole, known.estimated, wait_ms=known.wait_ms))

    def _whole(self, known: _Turn) -> Amounts:
        usage = known.usage if known.usage is not None else self._estimate(known)
        return evolve(usage, heard_ms=known.heard_ms, spoken_ms=round(known.spoken_ms), characters=self._said(known))

    def _said(self, known: _Turn) -> int:
        """Characters. Of an answer that was broken off the words never come: the sound says how many there were."""
        if known.said_characters or self.is_sound(known.endpoint):
            return known.said_characters
        return round(known.spoken_ms * CHARACTERS_A_SECOND / 1000)

    def _estimate(self, known: _Turn) -> Amounts:
        """Tokens from durations, or from lengths; what was said before is not in it."""
        said = math.ceil(self._said(known) / CHARACTERS_A_TOKEN)
        told = math.ceil(len(self.instructions()) / CHARACTERS_A_TOKEN)
        if not self.is_sound(known.endpoint):
            return Amounts(input_text=told + math.ceil(known.asked_characters / CHARACTERS_A_TOKEN), output_text=said)
        return Amounts(
            input_text=told,
            input_audio=math.ceil(known.heard_ms / HEARD_MS_A_TOKEN),
            output_text=said,
            output_audio=math.ceil(known.spoken_ms / SPOKEN_MS_A_TOKEN),
        )
