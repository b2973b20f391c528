"""The simulator's own reading and writing of WAV. Not kioskd.audio's: a mistake must not cancel itself out."""

from __future__ import annotations

import io
import wave

import numpy as np
import soxr

from kioskd.simulator.errors import ClientError
from kioskd.simulator.sound import RATE_HZ, SAMPLE_BYTES


def pcm_of(data: bytes, param: str) -> bytes:
    """A 16-bit WAV of any rate as s16le mono 24 kHz. Raises `ClientError`: it is none."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            if file.getsampwidth() != SAMPLE_BYTES or file.getnframes() == 0:
                raise wave.Error
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
            rate = file.getframerate()
    except (wave.Error, EOFError, ValueError):
        raise ClientError("The audio file could not be decoded or its format is not supported.", None, param) from None
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1).astype("<i2")
    if rate != RATE_HZ:
        mono = soxr.resample(mono, rate, RATE_HZ).astype("<i2")
    return bytes(np.ascontiguousarray(mono).tobytes())


def wav_of(pcm: bytes) -> bytes:
    """s16le mono 24 kHz as a WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm)
    return out.getvalue()
