"""What was really played: the recording of the speaker, recognised, and compared with what the endpoint sent."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import trio
from attrs import define, field

from kioskd.audio.pcm import BYTES_PER_MS, RATE_HZ
from kioskd.audio.wav import read_wav
from kioskd.demo.verdict import find
from kioskd.local.faq import Entry, Faq, Question
from kioskd.local.hear import Recogniser
from lab.shell import CommandError
from lab.stage import Stage

LONGEST_S = 300.0
WINDOW_MS = 2
QUIET = 30.0  # a pause of a synthetic voice is nearly digital silence
HEARD_FROM = 0.5  # a window that differs by so much of its loudness is not the answer any more, or faded out
ANCHOR_MS, MARGIN_MS = 500, 60
RECORD = "/run/lab-ear.raw"
_EARS = itertools.count(1)  # systemd forgets a unit that has ended only a moment later

# Sentences of the demonstration's answers, in words of the recogniser's dictionary, and some that are not among them.
SENTENCES = {
    "hours": "we are open every day except monday from ten in the morning until six in the evening",
    "ticket": "a ticket costs twelve euros and six euros for children the ticket desk is on your right",
    "other": "the weather is nice today and the train leaves at seven in the morning from the other side",
}


@define(eq=False)
class Ear:
    """A recording of what the speaker played; `pcm` is s16le mono at 24 kHz, once it has ended."""

    pcm: bytes = field(default=b"", init=False)


@contextmanager
def listening(stage: Stage, local: Path) -> Iterator[Ear]:
    """Record the speaker for the length of the block, into a file `local` as well."""
    ear, machine, unit = Ear(), stage.machine, f"lab-ear-{next(_EARS)}"
    command = f"arecord -q -t raw -f S16_LE -r {RATE_HZ} -c 1 -D ear --buffer-time=1000000 --period-time=50000 {RECORD}"
    server = "" if stage.has_pins else "--setenv=PULSE_SERVER=unix:/run/lab-pulse/native"
    machine.run(f"rm -f {RECORD}; systemd-run -q --unit {unit} --collect {server} {command}")
    time.sleep(1)
    try:
        yield ear
    finally:
        machine.run(f"systemctl stop {unit}", check=False)
        encoded = machine.run(f"base64 -w 0 {RECORD}", timeout=60, check=False)
        ear.pcm = base64.b64decode(encoded)
        local.write_bytes(ear.pcm)


def recognised(pcm: bytes) -> str:
    """Which of SENTENCES a sound is: its name, or "" for none."""
    entries = tuple(Entry(name, (Question(text, 1),), text) for name, text in SENTENCES.items())
    faq = Faq(Path("lab"), "en", "", entries)

    async def hear() -> str:
        async with Recogniser(faq) as recogniser:
            heard = await recogniser.hear(pcm)
            return heard.entry.name if heard.entry else ""

    return trio.run(hear)


def loud_part(pcm: bytes) -> bytes:
    """From the first to the last sound, with half a second of the noise floor around it."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    loud = np.flatnonzero(np.abs(samples) > 300)
    if not len(loud):
        return b""
    margin = RATE_HZ // 2
    part = samples[max(0, loud[0] - margin) : loud[-1] + margin]
    noise = np.random.default_rng(1).normal(0, 10, len(part))  # digital silence confuses the recogniser
    dithered: bytes = np.clip(part + noise, -32768, 32767).astype("<i2").tobytes()
    return dithered


def latest_answer(folder: Path) -> bytes:
    """The sound of the last answer that the endpoint sent."""
    files = sorted(folder.glob("sent-*.wav"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise CommandError("the endpoint sent no answer")
    return read_wav(files[-1], LONGEST_S)


def heard_of(answer: bytes, record: bytes, told_ms: float) -> tuple[float, float]:
    """How many ms of the answer stand in the record, at least and at most: a pause of the answer leaves that open.

    Looked for around `told_ms`: a gap earlier on, on a machine that was too slow, moves nothing then.
    """
    begin_ms = max(0, round(told_ms) - ANCHOR_MS - MARGIN_MS)
    anchor = find(answer[begin_ms * BYTES_PER_MS : (begin_ms + ANCHOR_MS) * BYTES_PER_MS], record)
    if anchor.correlation < 0.9:
        raise CommandError(f"{begin_ms} to {begin_ms + ANCHOR_MS} ms of the answer are not in the record, see {anchor}")
    sent = np.frombuffer(answer, dtype="<i2").astype(np.float64)[begin_ms * BYTES_PER_MS // 2 :]
    heard = np.frombuffer(record, dtype="<i2").astype(np.float64)[round(anchor.at_ms * RATE_HZ / 1000) :]
    size = WINDOW_MS * RATE_HZ // 1000
    at_least = 0
    for start in range(0, min(len(sent), len(heard)) - size, size):
        ours, theirs = sent[start : start + size], heard[start : start + size]
        if np.abs(ours).mean() < QUIET:
            continue
        if np.abs(ours - theirs).mean() > HEARD_FROM * np.abs(ours).mean():
            return begin_ms + at_least * 1000 / RATE_HZ, begin_ms + start * 1000 / RATE_HZ
        at_least = start + size
    return begin_ms + at_least * 1000 / RATE_HZ, float("inf")
