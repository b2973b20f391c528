"""The capture thread: it alone opens, reads and closes the microphone, and never waits without a timeout.

Idle it wakes every 800 ms and drains the device into the pre-roll ring; while an utterance is recorded,
when a network chunk is whole; at its beginning and end, every period. Commands come in through a deque and an eventfd,
so that a press acts at once. Sound is examined and cleaned a network chunk at a time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from attrs import define, field

from kioskd.audio.capture_port import Begin, CaptureDevice, Command, Discard, End, Listener, OpenDevice, Vitals
from kioskd.audio.conditioning import Conditioner
from kioskd.audio.errors import DeviceError, DeviceLostError, Direction
from kioskd.audio.hearing import Hearing
from kioskd.audio.outage import Outage
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.priority import be_prompt
from kioskd.audio.ring import PreRollRing
from kioskd.audio.utterance import FIRST_CHUNK_MS, Utterance
from kioskd.audio.wakeup import Wakeup

log = logging.getLogger(__name__)

BUFFER_PERIODS = 8
SHORTEST_BUFFER_MS = 2000  # an idle thread sleeps for less than half of it; gaps of 85 ms more were seen under load
LONGEST_SLEEP_S = 0.8  # each wake-up costs more than its work; the heartbeat shows them
EXAMINED_EVERY_S = 5.0  # while nothing is recorded; what drifts with a card's warmth takes minutes
STALLED_AFTER_S = 3.0  # a healthy device gives its first sound within a second, even over Bluetooth
TELL_FIRST_S = 0.05  # to close a device of a dead sound server takes 30 s, and pyalsaaudio stops all of Python for it
POST_ROLL_GRACE_S = 0.5  # beyond it the visitor's answer matters more than the last word's end
HEAD_START_S = 2.0  # a sound server may hold back this much before the first read
FASTEST_CLOCK = 1.1  # no crystal is that wrong: what comes faster is a file
QUIET_AFTER_OVERRUN_S = 60.0
MAX_COMMANDS = 64  # presses that a thread hung in the kernel may leave lying; the watchdog ends that state


@define(eq=False, repr=False)
class _Recording:
    """The utterance at hand, and what of it was not handed over yet."""

    utterance: Utterance
    handed_over: bool = False
    """Some of it, at least."""
    pending: bytearray = field(factory=bytearray)
    post_roll_bytes: int | None = None
    """Bytes to record yet; None while the button is down."""
    give_up_at: float = 0.0
    skip_bytes: int = 0
    """Of the kiosk's own sound, dying away, which belongs to no utterance."""
    kept_bytes: int = 0
    """Of the utterance, so far."""

    @property
    def chunk_bytes(self) -> int:
        """How much is handed over at once."""
        return bytes_of(self.utterance.chunk_ms if self.handed_over else FIRST_CHUNK_MS)

    def urgent(self, period_bytes: int) -> bool:
        """Each period counts: for the first chunk, and for the end."""
        return not self.handed_over or (self.post_roll_bytes is not None and self.post_roll_bytes <= 2 * period_bytes)

    def nap_s(self, period_s: float) -> float:
        """How long nothing of it need be read."""
        if self.post_roll_bytes is not None:
            return self.post_roll_bytes / FRAME_BYTES / RATE_HZ - 2 * period_s
        missing_s = (self.chunk_bytes - len(self.pending)) / FRAME_BYTES / RATE_HZ
        # It comes period by period, and never on the dot: half of one later it is there.
        return max(missing_s, period_s) + period_s / 2


@define(eq=False, repr=False)
class Capture:
    """One life of the capture thread: call `run` in a thread of its own, `stop` from any other."""

    device: str
    period_frames: int
    ring: PreRollRing
    listener: Listener
    vitals: Vitals
    outage: Outage
    """Of the microphone, not of this thread: a fault outlives it."""
    hearing: Hearing
    """As above."""
    commands: deque[Command]
    wakeup: Wakeup
    clock: Callable[[], float]
    open_device: OpenDevice
    _pcm: CaptureDevice | None = field(default=None, init=False)
    _conditioner: Conditioner = field(factory=Conditioner, init=False)
    _recording: _Recording | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _reopening: bool = field(default=False, init=False)
    _next: tuple[str, int, OpenDevice, Hearing] | None = field(default=None, init=False)
    _opened_at: float = field(default=0.0, init=False)
    _sound_at: float = field(default=0.0, init=False)
    _examined_at: float = field(default=0.0, init=False)
    _frames_since_open: int = field(default=0, init=False)
    _overruns: int = field(default=0, init=False)
    _overrun_at: float = field(default=0.0, init=False)

    def stop(self) -> None:
        """Let `run` return soon, its device closed."""
        self._stopping = True
        self.wakeup.set()

    def reopen(self) -> None:
        """Give the device back and open it anew, as soon as the thread turns. From any other thread."""
        self._reopening = True
        self.wakeup.set()

    def use(self, device: str, period_frames: int, open_device: OpenDevice, hearing: Hearing) -> None:
        """Another device, or the same one opened otherwise, as soon as the thread turns. From any other thread."""
        self._next = device, period_frames, open_device, hearing
        self.wakeup.set()

    def run(self) -> None:
        """Keep the device open and drained, and obey the commands, until stopped."""
        be_prompt()
        try:
            while not self._stopping:
                self.vitals.heartbeat = self.clock()
                try:
                    self._turn()
                except DeviceError as error:
                    self._lose(error)
        finally:
            self._close()

    def _turn(self) -> None:
        """Wait, read what there is, do what was asked: in this order, so that `Begin` and `End` fall on a sample."""
        if self._reopening:
            self._reopening = False
            self.hearing.forget()  # its fault ends with the next sound, and has to be found anew
            self._close()
        if self._next is not None:
            self._change_over(*self._next)
        if self._pcm is None and self.clock() >= self.outage.retry_at:
            self._open()
        self._wait()
        self.wakeup.clear()
        arrived = len(self.commands)  # what comes during the drain waits for the next: sound before it would be missed
        if self._pcm is not None:
            self._drain(self._pcm)
        for _ in range(arrived):
            self._obey(self.commands.popleft())
        self._end_overdue()

    def _change_over(self, device: str, period_frames: int, open_device: OpenDevice, hearing: Hearing) -> None:
        self._next = None
        self._close()
        self.outage.begin_anew(raised=self.hearing.deaf)
        self.device, self.period_frames, self.open_device, self.hearing = device, period_frames, open_device, hearing

    def _open(self) -> None:
        shortest = SHORTEST_BUFFER_MS * RATE_HZ // 1000
        pcm = self.open_device(self.device, self.period_frames, max(BUFFER_PERIODS * self.period_frames, shortest))
        pcm.watch(self.wakeup.descriptor)
        self._pcm = pcm
        self._opened_at = self._sound_at = self.vitals.moved_at = self.clock()
        self._frames_since_open = 0
        self._conditioner.reset()
        pcm.read()  # starts it

    def _wait(self) -> None:
        if self.commands:
            return
        recording = self._recording
        if self._pcm is None:
            self.wakeup.wait(min(LONGEST_SLEEP_S, self.outage.retry_at - self.clock()))
        elif recording is not None and recording.urgent(self._pcm.period_frames * FRAME_BYTES):
            self._pcm.wait(LONGEST_SLEEP_S * 1000)
        else:
            period_s = self._pcm.period_frames / RATE_HZ
            longest_s = max(self._sound_at + STALLED_AFTER_S - self.clock(), 0.0) + period_s / 2
            if recording is not None:
                longest_s = min(longest_s, recording.nap_s(period_s))
            self.wakeup.wait(min(longest_s, LONGEST_SLEEP_S, self._pcm.buffer_frames / RATE_HZ / 2))

    def _drain(self, pcm: CaptureDevice) -> None:
        """Take all that was captured. Raises DeviceError for a device that is lost, stalled or no microphone."""
        now = self.clock()
        plausible_frames = (now - self._opened_at + HEAD_START_S) * FASTEST_CLOCK * RATE_HZ
        blocks = []
        while block := pcm.read():
            blocks.append(block)
            self._frames_since_open += len(block) // FRAME_BYTES
            if self._frames_since_open > plausible_frames:  # not a byte is kept: ALSA's null "captures" stale memory
                raise DeviceError(
                    self.device, Direction.CAPTURE, "gives sound faster than real time: it is no microphone"
                )
        if blocks:
            self._hear(blocks, now)
        if block is None:
            self._overrun(now)
        elif self._overruns and now - self._overrun_at > QUIET_AFTER_OVERRUN_S:
            log.info("microphone: no overrun any more, after %d", self._overruns)
            self._overruns = 0
        if not blocks:
            self._hear_nothing(pcm, now)

    def _hear(self, blocks: list[bytes], now: float) -> None:
        self._sound_at = self.vitals.moved_at = now
        self.vitals.newest = blocks[-1]
        if not self.vitals.present:
            self.vitals.present = True
            if mended := self.outage.mended():
                self.listener.fault(mended)
        sound = b"".join(blocks)
        self.vitals.frames += len(sound) // FRAME_BYTES
        if self._recording is None and self._to_be_examined(now):
            self._examine(sound, learn=True)
        self._keep(sound, now)

    def _to_be_examined(self, now: float) -> bool:
        """Between utterances: what there is to learn of the microphone needs a look now and then."""
        return self.hearing.doubtful or not self._conditioner.settled or now - self._examined_at >= EXAMINED_EVERY_S

    def _examine(self, sound: bytes, learn: bool) -> bytes:
        """See whether it is heard, and `learn` what is constant in it; the same without that."""
        self._examined_at = self.clock()
        block = self._conditioner.process(sound, learn)
        if cleared := self.hearing.heard(block):
            self.listener.fault(cleared)
        return block.pcm

    def _hear_nothing(self, pcm: CaptureDevice, now: float) -> None:
        if now - self._sound_at > STALLED_AFTER_S:
            raise DeviceLostError(self.device, Direction.CAPTURE, f"gave no sound for {STALLED_AFTER_S:.0f} s")
        if self._recording is not None and not self.commands:
            self.wakeup.wait(pcm.period_frames / RATE_HZ)  # ready, yet nothing to read: don't spin

    def _overrun(self, now: float) -> None:
        self.vitals.xruns += 1
        self._overruns += 1
        self._overrun_at = self._sound_at = now  # what overruns captures
        self.ring.clear()  # a pre-roll has no hole in it
        level = logging.WARNING if self._overruns == 1 else logging.DEBUG
        log.log(level, "microphone %r: overrun, sound was lost; the machine is too busy", self.device)

    def _keep(self, block: bytes, now: float) -> None:
        recording = self._recording
        if recording is None:
            self.ring.push(block)
            return
        skipped = min(recording.skip_bytes, len(block))
        recording.skip_bytes -= skipped
        block = block[skipped:]
        if recording.post_roll_bytes is not None:
            block = block[: recording.post_roll_bytes]
            recording.post_roll_bytes -= len(block)
        recording.pending += block
        recording.kept_bytes += len(block)
        began_at = now - recording.kept_bytes / (FRAME_BYTES * RATE_HZ)  # what waited for its turn seems to be later
        recording.utterance.began_at = min(recording.utterance.began_at, began_at)
        if recording.post_roll_bytes == 0:
            self._finish(recording)
        elif len(recording.pending) >= recording.chunk_bytes:
            self._hand_over(recording)

    def _obey(self, command: Command) -> None:
        match command:
            case Begin(utterance, pre_roll_bytes):
                self.hearing.begin()
                self._recording = _Recording(utterance, skip_bytes=max(0, -pre_roll_bytes))
                self._recording.pending += self.ring.take(max(0, pre_roll_bytes))
                self._recording.kept_bytes = len(self._recording.pending)
                self._hand_over(self._recording)
            case End(turn, post_roll_bytes):
                self._end(turn, post_roll_bytes)
            case Discard():
                self._recording = None

    def _end(self, turn: int, post_roll_bytes: int) -> None:
        recording = self._recording
        if recording is None or recording.utterance.turn != turn:
            self.listener.finished(turn)
        elif not self.vitals.present or post_roll_bytes == 0:
            self._finish(recording)
        elif recording.post_roll_bytes is None:
            recording.post_roll_bytes = post_roll_bytes
            recording.give_up_at = self.clock() + post_roll_bytes / FRAME_BYTES / RATE_HZ + POST_ROLL_GRACE_S

    def _end_overdue(self) -> None:
        """A device that stalls in the post-roll must not keep the visitor waiting."""
        recording = self._recording
        if recording is None or recording.post_roll_bytes is None:
            return
        if self.clock() >= recording.give_up_at:
            self._finish(recording)

    def _finish(self, recording: _Recording) -> None:
        self._recording = None
        self.listener.finished(recording.utterance.turn, recording.utterance, self._rest_of(recording))
        if raised := self.hearing.end():
            self.listener.fault(raised)

    def _hand_over(self, recording: _Recording) -> None:
        if recording.pending:
            self.listener.captured(recording.utterance, self._rest_of(recording))
            recording.handed_over = True

    def _rest_of(self, recording: _Recording) -> bytes:
        """What was not handed over yet, cleaned; a voice teaches nothing about what is constant."""
        sound = bytes(recording.pending)
        recording.pending.clear()
        return self._examine(sound, learn=False) if sound else b""

    def _lose(self, error: DeviceError) -> None:
        self.hearing.forget()
        self.vitals.moved_at = self.clock()
        if self._pcm is not None:  # else an utterance may have begun without a device: it may yet hear something
            self._end_all()
        if raised := self.outage.failed(error, self.clock()):
            self.listener.fault(raised)
            self.wakeup.wait(TELL_FIRST_S)
        if self._pcm is not None:
            self._close()

    def _close(self) -> None:
        """Close the device; what was being recorded ends here, and the ring forgets."""
        self._end_all()
        if self._pcm is not None:
            self._pcm.close()
            self._pcm = None

    def _end_all(self) -> None:
        """Nothing more comes out of this device."""
        self.vitals.present = False
        self.vitals.newest = b""
        self.ring.clear()
        recording, self._recording = self._recording, None
        if recording is None:
            return
        if recording.post_roll_bytes is None:
            self._hand_over(recording)
            self.listener.cut(recording.utterance)
        else:
            self.listener.finished(recording.utterance.turn, recording.utterance, self._rest_of(recording))
