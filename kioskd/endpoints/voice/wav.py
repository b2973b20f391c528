"""Sound as a WAV file, in memory. PURE."""

from __future__ import annotations

import struct

RATE_HZ = 24_000
SAMPLE_BYTES = 2
HEADER_BYTES = 44
_PCM = 1  # WAVE_FORMAT_PCM


def wav_of(pcm: bytes) -> bytes:
    """s16le mono at 24 kHz, behind its header. Half a sample at the end is left out."""
    pcm = pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES]
    form = struct.pack("<HHIIHH", _PCM, 1, RATE_HZ, RATE_HZ * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks
