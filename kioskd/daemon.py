"""The composition root: introduces the parts to the dialogue, and performs the effects that it asks for."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from kioskd.audio.hands_free import SilenceWatch
from kioskd.audio.last_answer import LONGEST_MS, LastAnswer
from kioskd.audio.ports import Microphone, Speaker
from kioskd.audio.sound_check import Outcome, SoundCheck
from kioskd.audio.utterance import Utterance
from kioskd.audio.verdict import Report, with_tail
from kioskd.config.schema import Audio, Conversation, DoublePress, Settings
from kioskd.dialogue import effects as f
from kioskd.dialogue.effects import Effect, State, View
from kioskd.dialogue.events import (
    DoublePressed,
    Event,
    Fault,
    FaultCleared,
    FaultRaised,
    FoundHeld,
    GoodbyeSaid,
    Link,
    LinkChanged,
    OwnerHeld,
    OwnerPressed,
    OwnerSays,
    Pressed,
    Released,
    Started,
    StopRequested,
    Tapped,
    Tick,
)
from kioskd.dialogue.kiosk import Kiosk
from kioskd.dialogue.scene import Scene
from kioskd.endpoints.port import Again, Endpoint, LinkStatus
from kioskd.health.vitals import Reading
from kioskd.own_words import OwnWords, SpokenVerdict, Words
from kioskd.parts import LIMITS_S, Parts
from kioskd.pulse import Adjustable

log = logging.getLogger(__name__)

Observer = Callable[[Event | Effect, float], None]
PanelEvent = (
    Pressed | Released | Tapped | DoublePressed | FoundHeld | OwnerPressed | OwnerHeld | FaultRaised | FaultCleared
)


class Panel(Protocol):
    """What the visitor touches and sees."""

    async def run(self, report: Callable[[PanelEvent], None]) -> None:
        """Watch the button and drive the lamp until cancelled."""

    def show(self, view: View) -> None:
        """The lamp shows this from now on."""


class Daemon:
    """The running kiosk. Observers see every event before, and every effect as, it is performed.

    Of `audio` only what the dialogue asks counts. `answer_kept_ms` of the last answer are kept to be repeated;
    `announce`, and `sound` with its `spoken_verdict`, are what the owner's button brings about. `limits_s` by vital.
    `adjustable` is what else goes by the settings.
    """

    def __init__(
        self,
        conversation: Conversation,
        microphone: Microphone,
        speaker: Speaker,
        panel: Panel,
        endpoint: Endpoint,
        observers: Sequence[Observer] = (),
        *,
        audio: Audio | None = None,
        answer_kept_ms: int = 0,
        announce: Words | None = None,
        sound: SoundCheck | None = None,
        spoken_verdict: SpokenVerdict | None = None,
        limits_s: Mapping[str, float] = LIMITS_S,
        adjustable: Sequence[Adjustable] = (),
    ) -> None:
        self._conversation, self._audio = conversation, audio or Audio()
        self._kiosk = Kiosk(conversation, self._audio)
        self._microphone = microphone
        self._speaker = speaker
        self._panel = panel
        self._endpoint = endpoint
        self._observers = list(observers)
        self._utterance: Utterance | None = None  # of the turn at hand: a cut answer may make it be asked again
        self._silence = SilenceWatch(conversation)
        self._last_answer = LastAnswer(answer_kept_ms)
        self._own = OwnWords(self.post, announce, sound, spoken_verdict)
        self._tail_ms: float | None = None  # the measured one that the dialogue knows
        self._owners_words = b""  # while the dialogue decides whether they are said
        self._words_brought = 0
        self._words_turn: int | None = None
        self._waiting: deque[Event] = deque()  # bounded by what one event can bring about before the next
        self._performing = False
        self._deadline_came_nearer = trio.Event()
        self._timer_due = float("inf")
        self._scope = trio.CancelScope()
        self._adjustable = list(adjustable)
        self.parts = Parts(limits_s)
        for name, vital, part, run, lose in (
            ("microphone", "capture", microphone, lambda: microphone.run(self.post), self._lose(Fault.MICROPHONE)),
            ("speaker", "playback", speaker, lambda: speaker.run(self.post), self._lose(Fault.SPEAKER)),
            ("panel", "panel", panel, lambda: panel.run(self.post), self._lose(Fault.PANEL)),
            ("endpoint", "link", endpoint, lambda: endpoint.run(self.post), self._lose_link),
            ("endpointer", "", self._silence, lambda: self._silence.run(self.post), lambda cause: None),
            ("self-test", "", self._own, self._own.run, lambda cause: None),
        ):
            self.parts.add(name, vital, part, run, lose)

    @property
    def view(self) -> View:
        """What can be seen of the kiosk from outside."""
        return self._kiosk.view

    @property
    def memory(self) -> tuple[Scene, View | None]:
        """What the flight recorder writes down, so that its record can be replayed."""
        return self._kiosk.memory

    @property
    def deadline(self) -> float | None:
        """When time alone changes something, on trio's clock; None: never."""
        return self._kiosk.deadline

    @property
    def link(self) -> LinkStatus:
        """How the link is, and why."""
        return self._endpoint.status

    @property
    def level(self) -> float:
        """The loudness that the visitor cares about, 0.0 to 1.0: their own while they speak, else the kiosk's."""
        return (self._microphone if self.view.state is State.LISTENING else self._speaker).level

    @property
    def microphone(self) -> Microphone:
        """What hears, for those who watch over it."""
        return self._microphone

    @property
    def speaker(self) -> Speaker:
        """What is heard, for those who watch over it."""
        return self._speaker

    def say(self, pcm: bytes) -> int | None:
        """Say these words of the owner's, s16le mono at 24 kHz; the number of their turn, None while they can't be."""
        self._owners_words, self._words_turn = pcm, None
        self._words_brought += 1
        self.post(OwnerSays(self._words_brought))
        self._owners_words = b""
        return self._words_turn

    async def test_sound(self) -> Report:
        """Test speaker and microphone, while nobody talks; what came of it. Raises SoundTestError, in words."""
        return await self._own.test_sound()

    @property
    def last_test(self) -> Outcome | None:
        """The newest self-test; None before the first."""
        return self._own.last_test

    def readings(self, now: float) -> tuple[Reading, ...]:
        """How each vital moves."""
        return self.parts.readings(now)

    def goodbye(self, turn: int) -> None:
        """The visitor of this turn is leaving; may be called while an event is being taken."""
        self.post(GoodbyeSaid(turn))

    def observe(self, observer: Observer) -> None:
        """Let one more see everything from now on."""
        self._observers.append(observer)

    def adjust(self, settings: Settings) -> None:
        """Go on by these settings, from the next event on. When, the caller minds (`config.effect`)."""
        self._conversation, self._audio = settings.conversation, settings.audio
        self._adopt()
        self._silence.adjust(settings.conversation)
        self._last_answer.resize(kept_ms(settings))
        for each in self._adjustable:  # what the parts make use of
            each.adjust(settings)
        self.parts.adjust(settings)
        self._mind_deadline()

    async def run(self) -> None:
        """Run until the dialogue leaves (after a `StopRequested`). Every part is closed on return."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._own.start(nursery)
                self.parts.start(nursery)
                nursery.start_soon(self._keep_time)
                self.post(Started())

    def post(self, event: Event) -> None:
        """Take an event, in the trio thread. What its effects report at once is taken after it, in order."""
        self._waiting.append(event)
        if self._performing:
            return
        self._performing = True
        try:
            while self._waiting:
                self._take(self._waiting.popleft())
        finally:
            self._performing = False
        self._mind_deadline()

    def _mind_deadline(self) -> None:
        due = self.deadline
        if due is not None and due < self._timer_due:
            self._deadline_came_nearer.set()

    def _take(self, event: Event) -> None:
        now = trio.current_time()
        if self._own.tail_ms != self._tail_ms:  # measured anew, or another card was opened
            self._adopt()
        self._tell(event, now)
        for effect in self._kiosk.step(event, now):
            self._tell(effect, now)
            self._perform(effect)

    def _adopt(self) -> None:
        """The dialogue goes by numbers alone: which tail counts is decided here."""
        self._tail_ms = self._own.tail_ms
        self._kiosk.adopt(self._conversation, with_tail(self._audio, self._tail_ms))

    def _tell(self, what: Event | Effect, now: float) -> None:
        for observer in self._observers:
            observer(what, now)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case f.BeginUtterance(turn, pre_roll_ms):
                self._utterance = self._microphone.begin(turn, pre_roll_ms)
                self._endpoint.begin(self._utterance)
            case f.AwaitSilence():
                if self._utterance is not None:
                    self._silence.watch(self._utterance)
            case f.EndUtterance(turn, post_roll_ms):
                self._silence.forget()
                self._microphone.end(turn, post_roll_ms)
            case f.DiscardUtterance(turn):
                self._silence.forget()
                self._utterance = None
                self._microphone.discard(turn)
                self._endpoint.discard(turn)
            case f.Ask(turn):
                self._last_answer.expect(turn)
                self._endpoint.ask(turn)
            case f.AskAgain(turn):
                self._last_answer.expect(turn)
                if self._utterance is not None:
                    self._endpoint.begin(Again(turn, self._utterance))
                self._endpoint.ask(turn)
            case f.ContinueAnswer(turn):
                self._last_answer.expect(turn, rest=True)
                self._endpoint.continue_answer(turn)
            case f.CancelAnswer(turn):
                self._own.give_up(turn)
                self._endpoint.cancel(turn)
            case f.Interrupt(turn, heard_ms):
                self._endpoint.interrupt(turn, heard_ms)
            case f.ForgetVisitor():
                self._utterance = None
                self._last_answer.forget()
                self._endpoint.forget()
            case f.RepeatAnswer(turn):
                self._own.say(turn, *self._last_answer.pieces)
            case f.Announce(turn):
                self._own.announce(turn)
            case f.TestSound(turn):
                self._own.test(turn)
            case f.CheckSound(turn):
                self._own.check(turn)
            case f.SayWords(turn):
                self._words_turn = turn
                self._own.say(turn, self._owners_words)
            case f.Play(turn, pcm):
                self._last_answer.add(turn, pcm)
                self._speaker.play(turn, pcm)
            case f.FinishSpeaking(turn):
                self._speaker.finish(turn)
            case f.StopSpeaking(turn):
                self._speaker.stop(turn)
            case f.GiveSign(sign):
                self._speaker.give_sign(sign)
            case f.CutSign():
                self._speaker.cut_sign()
            case f.Show(view):
                self._panel.show(view)
                if view.state is State.READY:
                    self._utterance = None
            case f.Exit():
                self._scope.cancel()

    async def _keep_time(self) -> None:
        """Give the dialogue its ticks. A deadline that moved away costs one idle tick, not a wake-up a move."""
        while True:
            self._deadline_came_nearer = trio.Event()
            due = self._kiosk.deadline
            self._timer_due = float("inf") if due is None else due
            with trio.move_on_at(self._timer_due):
                await self._deadline_came_nearer.wait()
                continue
            self.post(Tick())

    def _lose(self, fault: Fault) -> Callable[[str], None]:
        return lambda cause: self.post(FaultRaised(fault, cause))

    def _lose_link(self, cause: str) -> None:
        self.post(LinkChanged(Link.DOWN, cause))


def kept_ms(settings: Settings) -> int:
    """How much of the last answer is kept to be repeated."""
    return LONGEST_MS if settings.panel.button.double_press is DoublePress.REPEAT else 0


async def stop_on_signals(daemon: Daemon) -> None:
    """SIGTERM and SIGINT stop the kiosk politely; a second one at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("%s: stopping", signal.Signals(number).name)
            daemon.post(StopRequested())
