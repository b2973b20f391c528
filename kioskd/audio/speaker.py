"""The speaker of the kiosk: answers and earcons into an ALSA device, played by a thread of its own (`playback`)."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import trio

from kioskd.audio.alsa import open_playback
from kioskd.audio.earcons import earcon
from kioskd.audio.fade import FADE_FRAMES
from kioskd.audio.jitter import JitterBuffer
from kioskd.audio.level import rms_level
from kioskd.audio.loudness import Loudness
from kioskd.audio.pcm import RATE_HZ, bytes_of
from kioskd.audio.playback import Playback
from kioskd.audio.playback_port import OpenDevice
from kioskd.audio.ports import SpeakerEvent
from kioskd.audio.queue import PlaybackQueue
from kioskd.config.schema import Audio, Settings
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import SignFinished
from kioskd.pulse import Pulse

log = logging.getLogger(__name__)

MAX_ANSWER_MS = 30 * 60 * 1000  # 86 MB: far beyond any answer, and a Pi survives it
MAX_UNTOLD = 256  # events while nobody runs the speaker, between two runs; the dialogue waits for a handful
LONGEST_STOP_S = 2.0  # a thread that takes longer hangs in the kernel, and nothing but the process's end frees it


class AlsaSpeaker:
    """`ports.Speaker` on an ALSA device.

    While the device is lost, answers and signs end at once: nobody waits for what can't be heard.
    """

    def __init__(
        self,
        settings: Audio,
        clock: Callable[[], float] = time.monotonic,
        open_device: OpenDevice = open_playback,
        loudness: Loudness | None = None,
        sound_of: Callable[[Sign], bytes] = earcon,
        latency_of: Callable[[int | None], float] = lambda card: 0.0,
        new_wakeup: Callable[[], threading.Event] = threading.Event,
    ) -> None:
        """Nothing is opened before `run`; what is given until then is played first."""
        self._settings = settings
        self._clock = clock
        self._turn: int | None = None
        self._turn_bytes = 0
        self._untold: deque[SpeakerEvent] = deque(maxlen=MAX_UNTOLD)
        self._report: Callable[[SpeakerEvent], None] | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._jitter = JitterBuffer(_margin_ms(settings.period_frames))
        self._playback = Playback(
            *_opened_by(settings),
            queue=PlaybackQueue(self._jitter),
            emit=self._emit,
            clock=clock,
            open_device=open_device,
            loudness=loudness or Loudness(settings),
            sound_of=sound_of,
            latency_of=latency_of,
            wakeup=new_wakeup(),
        )

    def adjust(self, settings: Settings) -> None:
        """See `kioskd.pulse.Adjustable`. What waits in the card's buffer is heard as loud as it was."""
        before, self._settings = self._settings, settings.audio
        self._playback.adjust_loudness(settings.audio)
        if _opened_by(settings.audio) != _opened_by(before):
            self._jitter.margin_ms = _margin_ms(settings.audio.period_frames)
            self._playback.use(*_opened_by(settings.audio))

    @property
    def device(self) -> str:
        """Its name in the settings."""
        return self._settings.speaker

    @property
    def level(self) -> float:
        """The RMS of the period that is being heard, 0.0 to 1.0."""
        return rms_level(self._playback.audible)

    @property
    def heartbeat(self) -> float:
        """When the playback thread last turned, on the monotonic clock; also while idle or without a device."""
        return self._playback.heartbeat

    @property
    def pulse(self) -> Pulse:
        """It moves when its thread turns, which it does also while idle or without a device."""
        age_s = self._clock() - self._playback.heartbeat
        return Pulse(age_s, thread_age_s=age_s)

    @property
    def xruns(self) -> int:
        """Gaps heard in answers, because their sound came too late."""
        return self._playback.gaps

    @property
    def card(self) -> int | None:
        """The number of the sound card that is open; None for what isn't one, such as a sound server."""
        return self._playback.card

    @property
    def latency_ms(self) -> float:
        """How long sound is under way behind the device: so much less than was played has been heard."""
        return self._playback.latency_ms

    @latency_ms.setter
    def latency_ms(self, latency_ms: float) -> None:
        self._playback.latency_ms = latency_ms

    def begun_at(self, turn: int) -> float | None:
        """When this turn's answer left the device, on the monotonic clock; None before."""
        return self._playback.begun_at(turn)

    @property
    def pre_buffer_ms(self) -> float:
        """How late a piece of an answer may be without a gap; so long an answer waits, unless it comes ahead."""
        return max(0.0, self._jitter.target_ms)

    @property
    def present(self) -> bool:
        """True while the device is open."""
        return self._playback.present

    async def run(self, report: Callable[[SpeakerEvent], None]) -> None:
        """Hold the device open, reopen it whenever it is lost, until cancelled. Raises what the thread died of."""
        self._report = report
        self._token = trio.lowlevel.current_trio_token()
        self._tell()
        done = trio.Event()
        errors: list[Exception] = []
        thread = threading.Thread(target=self._work, args=(done, errors, self._token), name="speaker", daemon=True)
        thread.start()
        try:
            await done.wait()
        finally:
            self._playback.stop_thread()
            with trio.move_on_after(LONGEST_STOP_S, shield=True):
                await done.wait()
            self._report = self._token = None
            if done.is_set():
                thread.join()  # at its last instruction
            else:
                log.error("speaker %r: its thread hangs in the sound driver", self._settings.speaker)
        self._playback.crashed()
        if errors:
            raise errors[0]

    def reopen(self) -> None:
        """Give the device back and open it anew; the fault that was raised meanwhile ends with that."""
        self._playback.reopen()

    def play(self, turn: int, pcm: bytes) -> None:
        """Queue a piece of an answer, by reference -> `SpeakingStarted` at a turn's first frame."""
        if turn != self._turn:
            self._turn, self._turn_bytes = turn, 0
        before, limit = self._turn_bytes, bytes_of(MAX_ANSWER_MS)
        self._turn_bytes += len(pcm)
        if self._turn_bytes <= limit:
            self._playback.add(turn, pcm)
        elif before <= limit:
            log.warning("answer %d is longer than %d minutes: the rest is not played", turn, MAX_ANSWER_MS // 60_000)

    def finish(self, turn: int) -> None:
        """Nothing more of this turn comes -> `SpeakingFinished` when the last frame was heard."""
        self._playback.close_answer(turn)

    def stop(self, turn: int) -> None:
        """Silence at once -> `SpeakingStopped` with what was heard, even if nothing was playing."""
        self._playback.silence(turn)

    def give_sign(self, sign: Sign) -> None:
        """Queue a sign's earcon -> `SignFinished` when it was played, cut, or can't be played."""
        if self._settings.signs:
            self._playback.add_sign(sign)
        else:
            self._emit(SignFinished())

    def cut_sign(self) -> None:
        """End every earcon that plays or waits."""
        self._playback.cut_signs()

    def _work(self, done: trio.Event, errors: list[Exception], token: trio.lowlevel.TrioToken) -> None:
        try:
            self._playback.run()
        except Exception as error:  # the edge of the thread: `run` raises it where the supervisor sees it
            errors.append(error)
        finally:
            _soon(token, done.set)

    def _emit(self, event: SpeakerEvent) -> None:
        """Pass an event on, in order, from either thread; never by a direct call: the daemon may be in mid-step."""
        self._untold.append(event)
        token = self._token
        if token is not None:
            _soon(token, self._tell)

    def _tell(self) -> None:
        while self._untold and self._report is not None:
            self._report(self._untold.popleft())


def _opened_by(settings: Audio) -> tuple[str, int, int]:
    """What the device is opened with: name, period and buffer in frames."""
    return settings.speaker, settings.period_frames, settings.buffer_ms * RATE_HZ // 1000


def _margin_ms(period_frames: int) -> float:
    """What must still wait or play when more of an answer comes: the flow's guard, what it keeps back, and a moment."""
    period_ms = period_frames * 1000 / RATE_HZ
    return (period_ms + 10) + (period_ms + FADE_FRAMES * 1000 / RATE_HZ) + 5


def _soon(token: trio.lowlevel.TrioToken, call: Callable[[], object]) -> None:
    try:
        token.run_sync_soon(call)
    except trio.RunFinishedError:
        return  # nobody is left to hear it; the thread is a daemon and ends with the process
