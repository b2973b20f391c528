"""A lost sound device: told once, tried again with back-off, told when it is over. No I/O but the log, no clock."""

from __future__ import annotations

import logging

from attrs import define, field

from kioskd.dialogue.events import Fault, FaultCleared, FaultRaised
from kioskd.landmarks import FAULT, FAULT_OVER

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 1.5  # a plugged-in device is back within 2 s: opening it and its first sound take time too


@define(eq=False, repr=False)
class Outage:
    """What is known of one device's absence. `retry_at` is on the caller's monotonic clock."""

    fault: Fault
    retry_at: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _raised: bool = field(default=False, init=False)  # for the device before

    @property
    def lasting(self) -> bool:
        """True from the first failure until the device is back."""
        return self._failures > 0

    def failed(self, error: Exception, now: float) -> FaultRaised | None:
        """The device failed, once more perhaps; the fault to report if it is news."""
        delay_s = min(FIRST_RETRY_S * 2.0 ** min(self._failures, 16), LONGEST_RETRY_S)
        self._failures += 1
        self.retry_at = now + delay_s
        if self._failures > 1:
            log.debug("%s (attempt %d)", error, self._failures)
            return None
        log.warning("%s", error, extra=FAULT)
        return FaultRaised(self.fault, str(error))

    def crashed(self) -> None:
        """The part itself crashed, and its supervisor raised the fault: the next sound ends that one too."""
        self._failures = max(1, self._failures)

    def begin_anew(self, raised: bool = False) -> None:
        """Another device from now on: its first failure is news, its first sound ends a fault `raised` before."""
        self._raised = raised or self._raised or self.lasting
        self._failures, self.retry_at = 0, 0.0

    def mended(self) -> FaultCleared | None:
        """The device moves sound again; the event to report if it had been lost."""
        if not self.lasting and not self._raised:
            return None
        log.info("the %s is back, after %d failed attempts", self.fault.value, self._failures, extra=FAULT_OVER)
        self._failures, self.retry_at, self._raised = 0, 0.0, False
        return FaultCleared(self.fault)
