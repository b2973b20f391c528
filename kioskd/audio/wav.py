"""Sound files: read from any rate, channel count and sample format; written in kioskd's own."""

from __future__ import annotations

import io
import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import BinaryIO

from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ

# "unknown length", by programs that write into a pipe: espeak-ng, sox, ffmpeg
_STREAMED = range(0x7FFF0000, 0x1_0000_0000)


class WavError(Exception):
    """A sound file can't be used; its text names the file, the cause and the remedy, in one line."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        super().__init__(f"{path}: {cause}")


def read_wav(path: Path, limit_s: float) -> bytes:
    """The sound of a WAV file (or FLAC, OGG) of at most `limit_s`, as s16le mono at 24 kHz. Raises WavError."""
    try:
        if path.is_dir():
            raise WavError(path, "is a directory; name a WAV file in it")
        with _opened(path) as file:
            _check_whole(path, file)
            pcm = _decoded(path, file, limit_s)
    except FileNotFoundError as error:
        raise WavError(path, "there is no such file") from error
    except OSError as error:
        raise WavError(path, f"can't be read ({error.strerror})") from error
    except ValueError as error:
        raise WavError(path, "is not the name of a file") from error
    if not pcm:
        raise WavError(path, "holds no sound; record it again")
    return pcm


def write_wav(path: Path, pcm: bytes) -> None:
    """Write s16le mono at 24 kHz as a WAV file: whole, or not at all. Raises WavError."""
    import wave  # no running kiosk writes one

    encoded = io.BytesIO()
    with wave.open(encoded, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(FRAME_BYTES)
        writer.setframerate(RATE_HZ)
        writer.writeframes(pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES])
    partial: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            partial = Path(file.name)
            file.write(encoded.getbuffer())
            os.fchmod(file.fileno(), 0o644)
        partial.replace(path)
    except OSError as error:
        if partial is not None:
            partial.unlink(missing_ok=True)
        raise WavError(path, f"can't be written ({error.strerror})") from error


def _opened(path: Path) -> BinaryIO:
    """A regular file. Raises WavError, OSError, and ValueError for what is no path."""
    if path.exists() and not path.is_file():  # to open is to act: a FIFO waits for its writer, a watchdog is armed
        raise WavError(path, "is not a regular file")
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise WavError(path, "is not a regular file")
    return file


def _check_whole(path: Path, file: BinaryIO) -> None:
    """Raise WavError for a file that is empty or ends early: libsndfile would play what there is, without a word."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise WavError(path, "is empty; record it again")
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            missing = length - (size - file.tell())
            if missing > 0 and length not in _STREAMED:
                raise WavError(path, f"is truncated: {missing} of {size + missing} bytes are missing; copy it again")
            if name == b"data":
                break
            file.seek(length + length % 2, os.SEEK_CUR)  # chunks are aligned to 2 bytes
    file.seek(0)


def _decoded(path: Path, file: BinaryIO, limit_s: float) -> bytes:
    # its import sets up BLAS, and has to come first
    from kioskd.audio.arrays import np

    import soundfile  # isort: skip
    import soxr  # isort: skip

    try:
        with soundfile.SoundFile(file) as sound:
            frames = int(limit_s * sound.samplerate)
            samples = sound.read(frames + 1, dtype="float64", always_2d=True).mean(axis=1)
            rate = sound.samplerate
    except soundfile.LibsndfileError as error:
        raise WavError(path, f"is no sound file that can be read ({error.error_string.rstrip('.')})") from error
    if len(samples) > frames:
        raise WavError(path, f"is longer than {limit_s:g} s; shorten it")
    if rate != RATE_HZ:
        samples = soxr.resample(samples, rate, RATE_HZ)
    pcm: bytes = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
    return pcm
