"""What the capture thread is told, and what it tells: its commands, its listener, its device, its vitals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen

from kioskd.audio.utterance import Utterance
from kioskd.dialogue.events import FaultCleared, FaultRaised
from kioskd.value import Changing, Value


class CaptureDevice(Protocol):
    """What the thread needs of a PCM; `alsa.CapturePcm` is one."""

    @property
    def buffer_frames(self) -> int:
        """Frames in the device's buffer."""

    @property
    def period_frames(self) -> int:
        """Frames in a period."""

    def watch(self, descriptor: int) -> None:
        """Let `wait` return for this descriptor too."""

    def wait(self, timeout_ms: float) -> bool:
        """Wait for a period of sound."""

    def read(self) -> bytes | None:
        """What was captured, b"" for nothing yet, None for an overrun."""

    def close(self) -> None:
        """Give the device back."""


OpenDevice = Callable[[str, int, int], CaptureDevice]
"""(device, period_frames, buffer_frames) -> an open device; raises DeviceError."""


@frozen(eq=False, repr=False)
class Begin(Value):
    """Record into this utterance, from `pre_roll_bytes` before now; negative: only from so many bytes on."""

    utterance: Utterance
    pre_roll_bytes: int


@frozen(eq=False, repr=False)
class End(Value):
    """Record `post_roll_bytes` more, then finish the turn."""

    turn: int
    post_roll_bytes: int


@frozen(eq=False, repr=False)
class Discard(Value):
    """Stop recording."""


Command = Begin | End | Discard


class Listener(Protocol):
    """Where the thread's news go. Called in the capture thread: each passes on to the trio thread."""

    def captured(self, utterance: Utterance, chunk: bytes) -> None:
        """A network chunk of this utterance."""

    def finished(self, turn: int, utterance: Utterance | None = None, rest: bytes = b"") -> None:
        """After `End`: but for the `rest` nothing more of this turn's utterance comes. None: nothing was recorded."""

    def cut(self, utterance: Utterance) -> None:
        """The device was lost in the middle of this utterance."""

    def fault(self, event: FaultRaised | FaultCleared) -> None:
        """The device was lost, or is back."""


@define(eq=False, repr=False)
class Vitals(Changing):
    """How the thread is, for the watchdog and the owner: written by the thread, read anywhere."""

    heartbeat: float = 0.0
    """When the thread last turned, on the monotonic clock: at most 0.8 s ago."""
    moved_at: float = 0.0
    """When sound last came, or the device was opened, or an attempt to open it failed."""
    frames: int = 0
    """Frames captured since the start; they advance while the device is there."""
    xruns: int = 0
    """Overruns: how often sound was lost because nobody read it in time."""
    present: bool = False
    """True while the device delivers sound."""
    newest: bytes = field(default=b"", repr=False)
    """The newest block."""
