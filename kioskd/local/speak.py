"""Speech from text, by espeak-ng in a child process."""

from __future__ import annotations

import re
from functools import partial
from subprocess import PIPE

import numpy as np
import soxr
import trio

from kioskd.local.frames import SAMPLE_BYTES, SAMPLE_RATE_HZ

WORDS_PER_MINUTE = 145
VOICES = {"en": "en-us"}  # espeak-ng takes "en" for British English; our recogniser was trained on American
MAX_TEXT_CHARS = 4_000  # about five minutes of speech: nobody listens longer
MAX_SPEECH_S = 400
MAX_STDERR_BYTES = 4_096  # the first lines say what is wrong
TIMEOUT_S = 30  # espeak-ng speaks a hundred times faster than real time; this one hangs

_CHUNK_BYTES = 65_536  # a pipe's default capacity on Linux
_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8


class SpeechError(RuntimeError):
    """Nothing could be said; the message says why and what to do."""


async def synthesise(text: str, language: str = "en") -> bytes:
    """The text spoken, as s16le mono 24 kHz; `language` is a voice of `espeak-ng --voices`.

    Raises `SpeechError`: espeak-ng is missing, fails or hangs; an unknown language; a text that is too long.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise SpeechError(f"can't speak a text of {len(text)} characters; {MAX_TEXT_CHARS} at most")
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", language):
        raise SpeechError(f"`{language}` is no language; `espeak-ng --voices` lists them")
    if not text.strip():
        return b""
    wav = await _espeak(text.replace("[[", "[ ["), language)  # [[...]] would be taken for phonemes
    return await trio.to_thread.run_sync(_pcm_of_wav, wav)


async def _espeak(text: str, language: str) -> bytes:
    """What espeak-ng writes for it: a WAV whose header doesn't know its length."""
    voice = VOICES.get(language, language)
    command = ["espeak-ng", "-v", voice, "-s", str(WORDS_PER_MINUTE), "-b", "1", "--stdin", "--stdout"]
    complaint = bytearray()
    trouble = ""  # raised below: what is raised within except* comes out of Python 3.11.2 in a group
    try:
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                run = partial(trio.run_process, command, stdin=text.encode(), stdout=PIPE, stderr=PIPE, check=False)
                process: trio.Process = await nursery.start(run)
                assert process.stdout is not None and process.stderr is not None
                nursery.start_soon(_drain, process.stderr, complaint, MAX_STDERR_BYTES)
                wav = bytearray()
                await _drain(process.stdout, wav, MAX_SPEECH_S * SAMPLE_RATE_HZ * SAMPLE_BYTES)
    except* FileNotFoundError:
        trouble = "espeak-ng is not installed; run `apt install espeak-ng`"
    except* OSError as errors:
        trouble = f"espeak-ng can't be run: {errors.exceptions[0]}; try `espeak-ng --version`"
    except* trio.TooSlowError:
        trouble = f"espeak-ng gave no speech within {TIMEOUT_S} s; is the machine overloaded?"
    if trouble:
        raise SpeechError(trouble)
    if process.returncode != 0 or not wav:
        told = " ".join(complaint.decode(errors="replace").split()) or f"exit status {process.returncode}"
        raise SpeechError(f"espeak-ng can't speak `{language}`: {told}")
    return bytes(wav)


async def _drain(pipe: trio.abc.ReceiveStream, into: bytearray, limit: int) -> None:
    """Read to the end, so that the child never waits; keep the first `limit` bytes."""
    async for chunk in pipe:
        into += chunk[: max(0, limit - len(into))]


def _pcm_of_wav(wav: bytes) -> bytes:
    """The samples of a mono 16-bit WAV, resampled to the kiosk's rate.

    Walks the RIFF chunks itself: into a pipe espeak-ng writes 0x7ffff000 for lengths, which `wave` refuses.
    """
    rate, position = 0, _RIFF_HEADER_BYTES
    while position + _CHUNK_HEADER_BYTES <= len(wav):
        kind, size = wav[position : position + 4], int.from_bytes(wav[position + 4 : position + 8], "little")
        body = position + _CHUNK_HEADER_BYTES
        if kind == b"fmt ":
            rate = int.from_bytes(wav[body + 4 : body + 8], "little")
        if kind == b"data" and rate:
            samples = np.frombuffer(wav[body : len(wav) - (len(wav) - body) % SAMPLE_BYTES], "<i2")
            return bytes(soxr.resample(samples, rate, SAMPLE_RATE_HZ).astype("<i2").tobytes())
        position = body + size + size % 2
    raise SpeechError("espeak-ng wrote no WAV; try `espeak-ng --stdout hello | file -`")
