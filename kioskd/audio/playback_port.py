"""What the playback thread needs of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class PlaybackDevice(Protocol):
    """A PCM that never waits; `alsa.PlaybackPcm` is one. All methods raise DeviceLostError."""

    @property
    def buffer_frames(self) -> int:
        """Frames in the device's buffer."""

    @property
    def period_frames(self) -> int:
        """Frames in a period."""

    @property
    def card(self) -> int | None:
        """The number of the sound card; None for what isn't one, such as a sound server."""

    def avail(self) -> int:
        """Room in frames, or a negative errno."""

    def write(self, data: bytes) -> int | None:
        """The number of frames taken; None for an underrun, with nothing taken."""

    def drop(self) -> None:
        """Silence at once."""

    def close(self) -> None:
        """Give the device back."""


OpenDevice = Callable[[str, int, int], PlaybackDevice]
"""(device, period_frames, buffer_frames) -> an open device; raises DeviceError."""
