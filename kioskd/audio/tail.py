"""How long a room goes on when the kiosk falls silent: the decay behind the chirp of a self-test. PURE."""

from __future__ import annotations

from kioskd.audio.arrays import Floats, np
from kioskd.audio.pcm import RATE_HZ

WINDOW_FRAMES = RATE_HZ // 100
QUIET_WINDOWS = 5  # 50 ms in a row: the pause between two reflections is shorter
_CALM_FRAMES = RATE_HZ * 3 // 10  # of the end: who coughs before the chirp does not cough there too
_NEAR = 2**0.5  # times the room's own level: then what is left of the chirp is no louder than the room
_FAR = 0.01  # of the chirp's level: 40 dB below it nobody understands a word, in a room however quiet
_RISE = 4.0  # a decay gets no louder again by 12 dB: that is somebody else


def quiet_from(sound: Floats, room_frames: int, ended: int, level: float) -> int | None:
    """The frame of `sound` at which it is quiet, not before `ended`, where the microphone heard the chirp's last one.

    Its first `room_frames` were heard before the chirp, whose RMS was `level`; all in samples of 16 bits. None: it
    didn't get quiet, or not by itself.
    """
    voices = _of_voices(sound)
    levels = _levels(voices[ended:])
    if len(levels) < QUIET_WINDOWS or room_frames < WINDOW_FRAMES:
        return None
    calm = min(float(np.median(_levels(part))) for part in (voices[:room_frames], voices[-_CALM_FRAMES:]))
    limit = max(_NEAR * calm, _FAR * level)
    stretches = np.lib.stride_tricks.sliding_window_view(levels <= limit, QUIET_WINDOWS).all(axis=1)
    if not stretches.any():
        return None
    window = int(np.argmax(stretches))
    decay = levels[:window]
    if np.any(decay > _RISE * np.maximum(np.minimum.accumulate(decay), limit)):
        return None
    return ended + window * WINDOW_FRAMES


def _of_voices(sound: Floats) -> Floats:
    """The same without what is lower or higher than a chirp and a voice: a fan's rumble comes and goes by 10 ms."""
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    # Soft edges: hard ones would ring on behind the chirp.
    spectrum *= np.clip((hz - 200) / 200, 0, 1) * np.clip((6000 - hz) / 2000, 0, 1)
    return np.asarray(np.fft.irfft(spectrum, len(sound)))


def _levels(sound: Floats) -> Floats:
    """The RMS of each whole window."""
    windows = sound[: len(sound) // WINDOW_FRAMES * WINDOW_FRAMES].reshape(-1, WINDOW_FRAMES)
    return np.asarray(np.sqrt(np.mean(windows * windows, axis=1)))
