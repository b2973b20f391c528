"""numpy, imported with one BLAS thread: half of the memory, and nothing here multiplies matrices."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read once, when numpy is first imported

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Singles", "np", "pcm_of", "samples_of"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_FULL_SCALE = 32767.0


def samples_of(pcm: bytes) -> Floats:
    """The samples of s16le mono, as floats from -1.0 to 1.0; shape (frames,)."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float64) / _FULL_SCALE


def pcm_of(samples: Floats) -> bytes:
    """s16le mono out of floats; what exceeds -1.0 to 1.0 is clipped."""
    return np.rint(np.clip(samples, -1.0, 1.0) * _FULL_SCALE).astype("<i2").tobytes()
