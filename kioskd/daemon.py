"""The composition root: introduces the parts to the dialogue, and performs the effects that it asks for."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from kioskd.audio.hands_free import SilenceWatch
from kioskd.audio.last_answer import LastAnswer
from kioskd.audio.pcm import BYTES_PER_MS
from kioskd.audio.ports import Microphone, Speaker
from kioskd.config.schema import Audio, Conversation
from kioskd.dialogue import effects as f
from kioskd.dialogue.effects import Effect, State, View
from kioskd.dialogue.events import (
    AnswerAudio,
    AnswerEnded,
    DoublePressed,
    Ending,
    Event,
    Fault,
    FaultCleared,
    FaultRaised,
    FoundHeld,
    Link,
    LinkChanged,
    OwnerHeld,
    OwnerPressed,
    Pressed,
    Released,
    Started,
    StopRequested,
    Tapped,
    Tick,
)
from kioskd.dialogue.kiosk import Kiosk
from kioskd.endpoints.port import Again, Endpoint, LinkStatus, Utterance
from kioskd.supervision import describe, supervise

log = logging.getLogger(__name__)

Observer = Callable[[Event | Effect, float], None]
PanelEvent = (
    Pressed | Released | Tapped | DoublePressed | FoundHeld | OwnerPressed | OwnerHeld | FaultRaised | FaultCleared
)
Words = Callable[[], Awaitable[bytes]]  # something to be said, s16le mono at 24 kHz; it may raise


class Panel(Protocol):
    """What the visitor touches and sees."""

    async def run(self, report: Callable[[PanelEvent], None]) -> None:
        """Watch the button and drive the lamp until cancelled."""

    def show(self, view: View) -> None:
        """The lamp shows this from now on."""


class Daemon:
    """The running kiosk. Observers see every event before, and every effect as, it is performed.

    Of `audio` only what the dialogue asks counts. `answer_kept_ms` of the last answer are kept to be repeated;
    `announce` and `test_sound` are what the owner's button brings about, and end in words.
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
        test_sound: Words | None = None,
    ) -> None:
        self._kiosk = Kiosk(conversation, audio)
        self._microphone = microphone
        self._speaker = speaker
        self._panel = panel
        self._endpoint = endpoint
        self._observers = list(observers)
        self._utterance: Utterance | None = None  # the latest: a cut answer may make it be asked again
        self._silence = SilenceWatch(conversation)
        self._last_answer = LastAnswer(answer_kept_ms)
        self._announce = announce
        self._test_sound = test_sound
        self._nursery: trio.Nursery | None = None
        self._waiting: deque[Event] = deque()  # bounded by what one event can bring about before the next
        self._performing = False
        self._deadline_came_nearer = trio.Event()
        self._timer_due = float("inf")
        self._scope = trio.CancelScope()

    @property
    def view(self) -> View:
        """What can be seen of the kiosk from outside."""
        return self._kiosk.view

    @property
    def link(self) -> LinkStatus:
        """How the link is, and why."""
        return self._endpoint.status

    @property
    def level(self) -> float:
        """The loudness that the visitor cares about, 0.0 to 1.0: their own while they speak, else the kiosk's."""
        return (self._microphone if self.view.state is State.LISTENING else self._speaker).level

    def observe(self, observer: Observer) -> None:
        """Let one more see everything from now on."""
        self._observers.append(observer)

    async def run(self) -> None:
        """Run until the dialogue leaves (after a `StopRequested`). Every part is closed on return."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for name, run, on_crash in (
                    ("microphone", lambda: self._microphone.run(self.post), self._lose(Fault.MICROPHONE)),
                    ("speaker", lambda: self._speaker.run(self.post), self._lose(Fault.SPEAKER)),
                    ("panel", lambda: self._panel.run(self.post), self._lose(Fault.PANEL)),
                    ("endpoint", lambda: self._endpoint.run(self.post), self._lose_link),
                    ("endpointer", lambda: self._silence.run(self.post), lambda cause: None),
                ):
                    nursery.start_soon(supervise, name, run, on_crash)
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
        due = self._kiosk.deadline
        if due is not None and due < self._timer_due:
            self._deadline_came_nearer.set()

    def _take(self, event: Event) -> None:
        now = trio.current_time()
        self._tell(event, now)
        for effect in self._kiosk.step(event, now):
            self._tell(effect, now)
            self._perform(effect)

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
                self._endpoint.cancel(turn)
            case f.Interrupt(turn, heard_ms):
                self._endpoint.interrupt(turn, heard_ms)
            case f.ForgetVisitor():
                self._utterance = None
                self._last_answer.forget()
                self._endpoint.forget()
            case f.RepeatAnswer(turn):
                self._say(turn, *self._last_answer.pieces)
            case f.Announce(turn):
                self._tell_owner(turn, self._announce)
            case f.TestSound(turn):
                self._tell_owner(turn, self._test_sound)
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
            case f.Exit():
                self._scope.cancel()

    def _say(self, turn: int, *pieces: bytes) -> None:
        """The kiosk's own words are an answer like any other."""
        for pcm in pieces:
            self.post(AnswerAudio(turn, pcm, len(pcm) / BYTES_PER_MS))
        self.post(AnswerEnded(turn, Ending.COMPLETE))

    def _tell_owner(self, turn: int, words: Words | None) -> None:
        if words is None or self._nursery is None:
            self.post(AnswerEnded(turn, Ending.FAILED, "this kiosk can't do that"))
        else:
            self._nursery.start_soon(self._find_words, turn, words)

    async def _find_words(self, turn: int, words: Words) -> None:
        try:
            pcm = await words()
        except Exception as error:  # whatever the owner asked for must not end the kiosk
            log.warning("the owner's button: %s", describe(error))
            self.post(AnswerEnded(turn, Ending.FAILED, describe(error)))
        else:
            self._say(turn, pcm)

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


async def stop_on_signals(daemon: Daemon) -> None:
    """SIGTERM and SIGINT stop the kiosk politely; a second one at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("%s: stopping", signal.Signals(number).name)
            daemon.post(StopRequested())
