"""The microphone of the kiosk: utterances out of an ALSA device, recorded by a thread of its own (`capture`)."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import trio
from attrs import define, field

from kioskd.audio.alsa import open_capture
from kioskd.audio.capture import MAX_COMMANDS, Capture
from kioskd.audio.capture_port import Begin, Command, Discard, End, OpenDevice, Vitals
from kioskd.audio.hearing import Hearing
from kioskd.audio.level import sound_level
from kioskd.audio.outage import Outage
from kioskd.audio.pcm import bytes_of
from kioskd.audio.ports import MicrophoneEvent
from kioskd.audio.ring import PreRollRing
from kioskd.audio.utterance import Utterance
from kioskd.audio.wakeup import Wakeup
from kioskd.config.schema import Audio, Settings
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised, UtteranceEnded
from kioskd.pulse import Pulse

log = logging.getLogger(__name__)

LONGEST_POST_ROLL_MS = 2000  # the settings allow no more; it fits into an utterance beside pre-roll and speech
LONGEST_STOP_S = 2.0  # a thread that takes longer hangs in the kernel, and nothing but the process's end frees it


class AlsaMicrophone:
    """`ports.Microphone` on an ALSA device.

    While the device is lost, utterances are empty and still end. No sound belongs to two utterances.
    """

    def __init__(
        self,
        settings: Audio,
        pre_roll_max_ms: int,
        max_utterance_ms: int,
        clock: Callable[[], float] = time.monotonic,
        open_device: OpenDevice | None = None,
        new_wakeup: Callable[[], Wakeup] = Wakeup,
    ) -> None:
        """Keep up to `pre_roll_max_ms` from before a press; utterances of `max_utterance_ms` of speech at most."""
        self._new_wakeup = new_wakeup
        self._settings = settings
        self._adjusts_channel = open_device is None
        self._pre_roll_max_bytes = bytes_of(pre_roll_max_ms)
        self._limit_bytes = bytes_of(pre_roll_max_ms + max_utterance_ms + LONGEST_POST_ROLL_MS)
        self._clock = clock
        self._open_device = open_device or partial(open_capture, channel=settings.microphone_channel)
        self._outage = Outage(Fault.MICROPHONE)
        self._hearing = Hearing(settings.microphone)
        self._commands: deque[Command] = deque(maxlen=MAX_COMMANDS)
        self._vitals = Vitals()
        self._capture: Capture | None = None
        self._utterance: Utterance | None = None
        self._report: Callable[[MicrophoneEvent], None] | None = None

    @property
    def level(self) -> float:
        """The RMS of the newest block, 0.0 to 1.0; 0.0 while the device is lost."""
        return sound_level(self._vitals.newest)

    @property
    def heartbeat(self) -> float:
        """When the capture thread last turned, on the monotonic clock; also while idle or without a device."""
        return self._vitals.heartbeat

    @property
    def pulse(self) -> Pulse:
        """It moves when sound comes, or a lost device is tried again."""
        now = self._clock()
        return Pulse(now - self._vitals.moved_at, thread_age_s=now - self._vitals.heartbeat)

    @property
    def frames(self) -> int:
        """Frames captured since the start; they advance while the device is present."""
        return self._vitals.frames

    @property
    def xruns(self) -> int:
        """How often sound was lost because nobody read it in time."""
        return self._vitals.xruns

    @property
    def present(self) -> bool:
        """True while the device delivers sound."""
        return self._vitals.present

    async def run(self, report: Callable[[MicrophoneEvent], None]) -> None:
        """Hold the device open, reopen it whenever it is lost, until cancelled. Raises what the thread died of."""
        self._report = report
        wakeup = self._new_wakeup()
        gateway = _Gateway(self, trio.lowlevel.current_trio_token())
        self._capture = capture = Capture(
            device=self._settings.microphone,
            period_frames=self._settings.period_frames,
            ring=PreRollRing(self._pre_roll_max_bytes),
            listener=gateway,
            vitals=self._vitals,
            outage=self._outage,
            hearing=self._hearing,
            commands=self._commands,
            wakeup=wakeup,
            clock=self._clock,
            open_device=self._open_device,
        )
        gateway.thread = threading.Thread(target=gateway.work, args=(capture,), name="microphone", daemon=True)
        gateway.thread.start()
        try:
            await gateway.done.wait()
        finally:
            capture.stop()
            with trio.move_on_after(LONGEST_STOP_S, shield=True):
                await gateway.done.wait()
            self._capture = None
            self._report = None
            if gateway.done.is_set():
                gateway.thread.join()  # at its last instruction
                wakeup.close()
            else:
                log.error("microphone %r: its thread hangs in the sound driver", self._settings.microphone)
        self._outage.crashed()
        self._hearing.forget()
        if gateway.error is not None:
            raise gateway.error

    def reopen(self) -> None:
        """Give the device back and open it anew; the fault that was raised meanwhile ends with its first sound."""
        self._outage.crashed()
        if self._capture is not None:
            self._capture.reopen()

    def adjust(self, settings: Settings) -> None:
        """See `kioskd.pulse.Adjustable`. Another device, or format, is opened as soon as the thread turns."""
        before, self._settings = self._settings, settings.audio
        talk = settings.conversation
        pre_roll_bytes, capture = bytes_of(talk.pre_roll_ms), self._capture
        self._limit_bytes = bytes_of(talk.pre_roll_ms + int(talk.max_utterance_s * 1000) + LONGEST_POST_ROLL_MS)
        if pre_roll_bytes != self._pre_roll_max_bytes:
            self._pre_roll_max_bytes = pre_roll_bytes
            if capture is not None:
                capture.ring = PreRollRing(pre_roll_bytes)
        if _opened_by(settings.audio) == _opened_by(before):
            return
        if self._adjusts_channel:
            self._open_device = partial(open_capture, channel=settings.audio.microphone_channel)
        self._hearing = Hearing(settings.audio.microphone)
        if capture is not None:
            capture.use(settings.audio.microphone, settings.audio.period_frames, self._open_device, self._hearing)

    def begin(self, turn: int, pre_roll_ms: int) -> Utterance:
        """Record a new utterance that begins `pre_roll_ms` in the past, as far as the ring goes back.

        Negative: it begins so long from now, when the kiosk's own sound has died away.
        """
        self._drop()
        self._utterance = utterance = Utterance(turn, self._limit_bytes)
        self._command(Begin(utterance, bytes_of(pre_roll_ms)))
        return utterance

    def end(self, turn: int, post_roll_ms: int) -> None:
        """Record `post_roll_ms` more, then end it -> `UtteranceEnded` (at once where the device is lost)."""
        if self._utterance is not None and self._utterance.turn == turn:
            self._command(End(turn, bytes_of(post_roll_ms)))

    def discard(self, turn: int) -> None:
        """Stop recording; nothing follows."""
        if self._utterance is not None and self._utterance.turn == turn:
            self._drop()
            self._command(Discard())

    def _drop(self) -> None:
        if self._utterance is not None:
            self._utterance.end()
            self._utterance = None

    def _command(self, command: Command) -> None:
        self._commands.append(command)
        if self._capture is not None:
            self._capture.wakeup.set()

    def _finished(self, turn: int, recorded: Utterance | None, rest: bytes) -> None:
        if recorded is not None:
            recorded.append(rest)
        utterance = self._utterance
        if utterance is None or utterance.turn != turn:
            return  # discarded, or told already
        utterance.end()
        self._utterance = None
        self._tell(UtteranceEnded(turn, utterance.duration_ms))

    def _tell(self, event: MicrophoneEvent) -> None:
        if self._report is not None:
            self._report(event)


def _opened_by(settings: Audio) -> tuple[object, ...]:
    """What the device is opened with."""
    return settings.microphone, settings.microphone_channel, settings.period_frames


@define(eq=False, repr=False)
class _Gateway:
    """From the capture thread into the trio thread: one `run_sync_soon` a network chunk."""

    _microphone: AlsaMicrophone
    _token: trio.lowlevel.TrioToken
    done: trio.Event = field(factory=trio.Event, init=False)
    error: Exception | None = field(default=None, init=False)
    thread: threading.Thread = field(init=False)

    def work(self, capture: Capture) -> None:
        """The thread's whole life."""
        try:
            capture.run()
        except Exception as error:  # the edge of the thread: `run` raises it where the supervisor sees it
            self.error = error
        finally:
            self._soon(self.done.set)

    def captured(self, utterance: Utterance, chunk: bytes) -> None:
        """A network chunk; `Utterance` itself refuses what comes after it ended."""
        self._soon(utterance.append, chunk)

    def finished(self, turn: int, utterance: Utterance | None = None, rest: bytes = b"") -> None:
        """The end of a turn's utterance, in one call with its last piece: whoever sends it finds both together."""
        self._soon(self._microphone._finished, turn, utterance, rest)

    def cut(self, utterance: Utterance) -> None:
        """It goes no further; `UtteranceEnded` waits for `end`."""
        self._soon(utterance.end)

    def fault(self, event: FaultRaised | FaultCleared) -> None:
        """News of the device."""
        self._soon(self._microphone._tell, event)

    def _soon(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            self._token.run_sync_soon(call, *arguments)
        except trio.RunFinishedError:
            return  # nobody is left to hear it; the thread is a daemon and ends with the process
