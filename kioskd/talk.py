"""One push-to-talk turn with a WAV as the microphone and a WAV as the speaker, through the real dialogue and link."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio
from attrs import define, evolve, field

from kioskd.audio.files import WavMicrophone, WavSpeaker
from kioskd.audio.level import rms_level
from kioskd.audio.pcm import ms_of
from kioskd.composition import build_endpoint
from kioskd.config import schema
from kioskd.daemon import Daemon, PanelEvent, stop_on_signals
from kioskd.dialogue.effects import Effect, State, View
from kioskd.dialogue.events import Event, Link, LinkChanged, Pressed, Released, StopRequested
from kioskd.health.turns import TurnReport, TurnWatch
from kioskd.stored_key import find_key

SILENCE_LEVEL = 0.001  # -60 dBFS: quieter is no answer that anybody hears
BREATH_MS = 100  # what a visitor holds the button beyond the last word


class PressOnce:
    """A panel whose visitor asks one question, and has left when the kiosk is ready again."""

    def __init__(self, microphone: WavMicrophone, hold_at_least_ms: int) -> None:
        self._microphone = microphone
        self._hold_at_least_ms = hold_at_least_ms
        self._shown = trio.Event()
        self._view = View(State.STARTING, Link.DOWN)

    async def run(self, report: Callable[[PanelEvent], None]) -> None:
        """Press, speak, let go."""
        report(Pressed())
        await trio.sleep(self._hold_at_least_ms / 1000)
        await self._microphone.spoken()
        await trio.sleep(BREATH_MS / 1000)
        report(Released())
        await trio.sleep_forever()

    async def answered(self) -> None:
        """Wait until the turn is over, whatever came of it: a press that is refused is over with its sign."""
        while self._view.state in (State.STARTING, State.READY) and self._view.sign is None:
            await self._next_view()
        while self._view.state in (State.LISTENING, State.THINKING, State.SPEAKING):
            await self._next_view()

    def show(self, view: View) -> None:
        """Look at the lamp."""
        self._view = view
        self._shown.set()

    async def _next_view(self) -> None:
        self._shown = trio.Event()
        await self._shown.wait()


@define
class Outcome:
    """What came of the turn; an observer of the daemon. `pcm`: all that the speaker played, s16le mono at 24 kHz."""

    report: TurnReport | None = None
    pcm: bytes = b""
    link: LinkChanged = field(factory=lambda: LinkChanged(Link.DOWN))
    connected_ms: int | None = None
    _began: float = field(factory=trio.current_time)
    _watch: TurnWatch = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._watch = TurnWatch(lambda report: setattr(self, "report", report))

    def __call__(self, what: Event | Effect, now: float) -> None:
        """See one event or effect."""
        if isinstance(what, LinkChanged):
            self.link = what
            if what.link is Link.UP and self.connected_ms is None:
                self.connected_ms = int((now - self._began) * 1000)
        self._watch(what, now)

    def close(self, pcm: bytes) -> None:
        """The turn is over; `pcm` was played."""
        self._watch.close()
        self.pcm = pcm

    @property
    def answered(self) -> bool:
        """True if an answer was played to its end and has sound in it."""
        report = self.report
        if report is None or report.sign is not None or not report.heard_ms or report.interrupted:
            return False
        return self.loudness > SILENCE_LEVEL

    @property
    def loudness(self) -> float:
        """RMS of all that was played, 0.0 to 1.0."""
        return rms_level(self.pcm)

    @property
    def trouble(self) -> str:
        """Why there is no answer, in one line."""
        report = self.report
        if report is None:
            why = "the kiosk took no question"
        elif report.reason:
            why = report.reason
        elif report.sign is not None:
            why = f"no answer: the kiosk gave the sign {report.sign.value!r}"
        elif not report.heard_ms:
            why = "nothing was played"
        else:
            why = f"the answer has no sound ({20 * math.log10(max(self.loudness, 1e-6)):.0f} dBFS)"
        return why if self.link.link is Link.UP else f"{why}; link {self.link.link.value}: {self.link.cause}"


async def talk(settings: schema.Settings, endpoint: schema.Endpoint, question: bytes) -> Outcome:
    """Say `question` (s16le mono, 24 kHz) at the pace of a voice, and hear the answer out."""
    needed_s = (ms_of(len(question)) + 2 * BREATH_MS) / 1000
    conversation = evolve(
        settings.conversation,
        pre_roll_ms=0,
        max_utterance_s=max(settings.conversation.max_utterance_s, needed_s),
        stop_grace_s=0,
    )
    microphone, speaker = WavMicrophone(question), WavSpeaker()
    panel = PressOnce(microphone, conversation.min_utterance_ms)
    # What the speaker played is the answer and nothing else: no sound says that the question was sent.
    silent = schema.Audio(signs=False)
    daemon = Daemon(
        conversation, microphone, speaker, panel, build_endpoint([endpoint], conversation, find_key), audio=silent
    )
    outcome = Outcome()
    daemon.observe(outcome)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_leave_after_answer, daemon, panel)
        nursery.start_soon(stop_on_signals, daemon)
        await daemon.run()
        nursery.cancel_scope.cancel()
    outcome.close(bytes(speaker.pcm))
    return outcome


async def _leave_after_answer(daemon: Daemon, panel: PressOnce) -> None:
    await panel.answered()
    daemon.post(StopRequested())
