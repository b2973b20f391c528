"""The simulator's own arithmetic of sound. Not kioskd.audio's: a mistake must not cancel itself out."""

from __future__ import annotations

import base64
import binascii

from kioskd.simulator.errors import audio_too_long, invalid_audio

RATE_HZ = 24_000
SAMPLE_BYTES = 2
BYTES_PER_MS = RATE_HZ * SAMPLE_BYTES // 1000
BYTES_PER_S = RATE_HZ * SAMPLE_BYTES
MAX_AUDIO_CHARS = 15 * 2**20  # REALTIME.md: 15 MiB an event; of base64, or the 16 MiB of a message would forestall it


def decoded(audio: str, path: str) -> bytes:
    """Base64 to PCM. Raises `ClientError`: no base64, half a sample, or more than 15 MiB."""
    if len(audio) > MAX_AUDIO_CHARS:
        raise audio_too_long(path, MAX_AUDIO_CHARS)
    try:
        pcm = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_audio(path) from None
    if len(pcm) % SAMPLE_BYTES:
        raise invalid_audio(path)
    return pcm


def encoded(pcm: bytes) -> str:
    """PCM to base64."""
    return base64.b64encode(pcm).decode("ascii")
