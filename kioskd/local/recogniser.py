"""The recogniser's child process: `python -m kioskd.local.recogniser`. It alone holds pocketsphinx' 80 MB."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

from kioskd.local.frames import HEADER, SAMPLE_BYTES, SAMPLE_RATE_HZ, framed, length_of
from kioskd.local.rejection import MAX_DEFICIT, MIN_SPEECH_FRAMES, Segment, deficit

MODEL_RATE_HZ = 16_000
DITHER_LSB = 10.0  # sigma; pocketsphinx fails on digital silence (7 of 20 phrases), and needs no more than this
DITHER_SHARE = 0.03  # of the sound's RMS: the model knows no voice without a room; halves what is taken wrongly
MIN_SOUND_BYTES = SAMPLE_RATE_HZ * SAMPLE_BYTES * MIN_SPEECH_FRAMES // 100
LANGUAGE_WEIGHT = 1.0  # with pocketsphinx' own 6.5 the free phones are not free enough to measure by

_NO_SPEECH = frozenset({"<s>", "</s>", "<sil>", "(NULL)", "SIL", "[NOISE]", "[SPEECH]", "+SPN+", "+NSN+"})


class Ears:
    """Two decoders that share one acoustic model: the grammar's, and the free phones' to measure it by."""

    def __init__(self) -> None:
        """Load the model (0.4 s). Raises `ImportError` without pocketsphinx."""
        from pocketsphinx import Decoder, get_model_path

        model = get_model_path()
        self._decoder: Any = Decoder(
            hmm=f"{model}/en-us/en-us",
            dict=f"{model}/en-us/cmudict-en-us.dict",
            lm=None,
            lw=LANGUAGE_WEIGHT,
            compallsen=True,  # else each decode's scores are relative to its own best state, and can't be compared
            bestpath=False,  # its search through the lattice loses questions that the first pass has found
            loglevel="FATAL",
        )
        self._decoder.add_allphone_file("phones", f"{model}/en-us/en-us-phone.lm.bin")

    def missing(self, words: Iterable[str]) -> list[str]:
        """The words that the dictionary lacks."""
        return [word for word in words if self._decoder.lookup_word(word) is None]

    def learn(self, grammar: str) -> None:
        """Listen for this JSGF grammar from now on. Raises `RuntimeError` for one that can't be parsed."""
        self._decoder.add_jsgf_string("faq", grammar)

    def hear(self, pcm: bytes) -> tuple[str | None, float | None]:
        """The question in s16le mono 24 kHz or None, and the grammar's deficit (None: no question at all)."""
        if len(pcm) < MIN_SOUND_BYTES:  # pocketsphinx fails on an empty sound
            return None, None
        sound = _for_the_model(pcm)
        text, asked = self._decode("faq", sound)
        if not text:
            return None, None
        _, free = self._decode("phones", sound)
        score = deficit(asked, free)
        return (text if score is not None and score <= MAX_DEFICIT else None), score

    def _decode(self, search: str, sound: bytes) -> tuple[str, list[Segment]]:
        """The words, and where each stands."""
        decoder = self._decoder
        decoder.activate_search(search)
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        segments = [
            Segment(s.word not in _NO_SPEECH, s.start_frame, s.end_frame, math.log(max(s.ascore, sys.float_info.min)))
            for s in (decoder.seg() or () if found else ())
        ]
        return (found.hypstr if found else ""), segments


def _for_the_model(pcm: bytes) -> bytes:
    """Resampled to the model's rate, with a dither that is the same for each utterance."""
    import numpy as np
    import soxr

    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    resampled = soxr.resample(samples, SAMPLE_RATE_HZ, MODEL_RATE_HZ)
    sigma = max(DITHER_LSB, DITHER_SHARE * float(np.sqrt(np.mean(resampled**2))))
    dithered = resampled + np.random.default_rng(0).normal(0.0, sigma, len(resampled))
    return bytes(np.clip(dithered, -32768, 32767).astype("<i2").tobytes())


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the parent closes its end."""

    def reply(**content: object) -> None:
        sink.write(framed(json.dumps(content).encode()))
        sink.flush()

    opening = _read_frame(source)
    if opening is None:
        return
    try:
        ears = Ears()
        vocabulary = json.loads(opening)
        if missing := ears.missing(vocabulary["words"]):
            reply(missing=missing)
            return
        ears.learn(vocabulary["grammar"])
        _for_the_model(bytes(SAMPLE_RATE_HZ // 50))  # import here, not within the first question
    except ImportError as error:
        reply(error=f"{error.name} is not installed; run `pip install 'kioskd[local]'`")
        return
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reply(error=f"pocketsphinx refuses its model or the grammar: {error}")
        return
    reply(ready=True)
    while (pcm := _read_frame(source)) is not None:
        question, score = ears.hear(pcm)
        reply(question=question, score=score)


def _read_frame(source: BinaryIO) -> bytes | None:
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    length = length_of(header)
    payload = source.read(length)
    return payload if len(payload) == length else None


def main() -> None:
    """Speak frames on what was stdout; what libraries print goes to stderr, where it breaks no frame."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        serve(sys.stdin.buffer, sink)
    except BrokenPipeError:  # the parent is gone, and so is the need
        sys.stderr.close()
    except Exception as error:  # the edge of the process: one line for the journal, the parent tells the rest
        sys.exit(f"kioskd's recogniser failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
