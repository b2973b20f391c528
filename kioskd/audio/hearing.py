"""Does the microphone hear? Judged by what it gave while somebody spoke. No I/O but the log, no clock."""

from __future__ import annotations

import logging

from attrs import define, field

from kioskd.audio.conditioning import Block
from kioskd.audio.errors import DeviceError, Direction
from kioskd.audio.pcm import RATE_HZ
from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised

log = logging.getLogger(__name__)

NOTHING = 10.0  # RMS of 32768 (-70 dBFS): a room with a person in it is louder, at any sensible gain
DEAF_AFTER = 3  # presses in a row: one person may press without a word
SHORTEST_FRAMES = RATE_HZ * 3 // 10  # who presses for less may not have spoken
CLIPPED_SHARE = 0.001  # of an utterance's frames at the rails: audible distortion, not one slammed door
CLEAN_AFTER = 10  # presses without clipping end a spell of it


@define(eq=False, repr=False)
class Hearing:
    """One microphone's. Only whole utterances count; any sound at any time shows that it hears."""

    device: str
    deaf: bool = field(default=False, init=False)
    """The fault is raised."""
    _silent_presses: int = field(default=0, init=False)
    _clipped_presses: int = field(default=0, init=False)  # in the present spell
    _clean_presses: int = field(default=0, init=False)  # since the last clipped one
    _frames: int = field(default=0, init=False)
    _clipped: int = field(default=0, init=False)
    _heard: bool = field(default=False, init=False)  # something: then nobody need listen for how loud it is

    @property
    def doubtful(self) -> bool:
        """The last press was silent: every sound counts."""
        return self._silent_presses > 0

    def begin(self) -> None:
        """An utterance begins."""
        self._frames = self._clipped = 0
        self._heard = False

    def heard(self, block: Block) -> FaultCleared | None:
        """A block of an utterance, or from between two; the event to report if deafness ends with it."""
        self._frames += block.frames
        self._clipped += block.clipped
        if self._heard or block.loudest < NOTHING:
            return None
        self._heard = True
        self._silent_presses = 0
        if not self.deaf:
            return None
        self.deaf = False
        log.info("microphone %r hears again", self.device)
        return FaultCleared(Fault.MICROPHONE)

    def end(self) -> FaultRaised | None:
        """An utterance is whole; the fault to report if the microphone heard nothing once too often."""
        if self._frames < SHORTEST_FRAMES:
            return None
        self._judge_clipping()
        if self._heard:
            return None
        self._silent_presses += 1
        if self.deaf or self._silent_presses < DEAF_AFTER:
            return None
        self.deaf = True
        error = DeviceError(
            self.device,
            Direction.CAPTURE,
            f"hears nothing for {DEAF_AFTER} presses",
            remedy="see whether it is muted or its gain at zero (`alsamixer`), then run `kioskd devices --test`",
        )
        log.warning("%s", error)
        return FaultRaised(Fault.MICROPHONE, str(error))

    def forget(self) -> None:
        """The device was lost, which is a fault of its own: the next one is judged anew."""
        self.deaf = False
        self._silent_presses = 0
        self.begin()

    def _judge_clipping(self) -> None:
        if self._clipped > CLIPPED_SHARE * self._frames:
            self._clipped_presses += 1
            self._clean_presses = 0
            level = logging.WARNING if self._clipped_presses == 1 else logging.DEBUG
            share = 100 * self._clipped / self._frames
            log.log(
                level,
                "microphone %r: too loud, %.1f %% of what was said is clipped; turn its gain down (`alsamixer`, F4)",
                self.device,
                share,
            )
        elif self._clipped_presses:
            self._clean_presses += 1
            if self._clean_presses >= CLEAN_AFTER:
                log.info("microphone: clipped no more, after %d presses", self._clipped_presses)
                self._clipped_presses = self._clean_presses = 0
