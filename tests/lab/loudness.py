"""How loud an answer was played, moment by moment: the speaker's record beside what the endpoint sent."""

from __future__ import annotations

import time

import numpy as np
from attrs import frozen

from kioskd.audio.pcm import BYTES_PER_MS, RATE_HZ
from kioskd.demo.verdict import find
from lab import hearing
from lab.laptop import Laptop
from lab.report import Evidence, expect
from lab.shell import until
from lab.stage import Stage

WINDOW_MS = 20
LOUD = 300.0  # a window that is quieter says little about a factor
QUIETER = (40 / 80) ** 3  # by the scale of kioskd/audio/volume.py: volume 80 is 1
WITHIN = 0.25  # of a factor, for a window that is aligned to some samples only
SHIFTED_MS = 5.0  # what comes after the change may be so much later, or earlier, than it should


@frozen
class Course:
    """The factor of each loud window of an answer: (ms into the answer, factor)."""

    factors: list[tuple[float, float]]

    def changed_at_ms(self, old: float, new: float) -> float:
        """Where the old factor ends and the new one begins. Raises Failed if the course is any other than that."""
        strange = [not _near(factor, new) for _, factor in self.factors]
        misfits = [sum(strange)]  # if all of it were new; then the same with one window after the other old
        for (_, factor), is_strange in zip(self.factors, strange, strict=True):
            misfits.append(misfits[-1] - is_strange + (not _near(factor, old)))
        best = min(range(len(misfits)), key=misfits.__getitem__)
        expect(0 < best < len(self.factors), "it was never changed, or from the beginning")
        # A gap, or a piece that was played twice, would be many.
        allowed = len(self.factors) // 100
        said = [(at, round(factor, 3)) for at, factor in self.factors[max(0, best - 10) : best + 10]]
        expect(misfits[best] <= allowed, f"{misfits[best]} windows are neither as before nor as after; around: {said}")
        return self.factors[best][0]


def _near(factor: float, wanted: float) -> bool:
    return abs(factor - wanted) <= WITHIN * wanted


def course(answer: bytes, record: bytes) -> Course:
    """Hold an answer against a record of the speaker, both s16le mono at 24 kHz. Raises Failed if it isn't there."""
    head = find(answer[: 1000 * BYTES_PER_MS], record)
    expect(head.correlation > 0.9, f"the answer is not in the record: {head}")
    sent = np.frombuffer(answer, dtype="<i2").astype(np.float64)
    heard = np.frombuffer(record, dtype="<i2").astype(np.float64)[round(head.at_ms * RATE_HZ / 1000) :]
    size = WINDOW_MS * RATE_HZ // 1000
    factors = []
    for start in range(0, min(len(sent), len(heard)) - size, size):
        ours, theirs = sent[start : start + size], heard[start : start + size]
        if np.sqrt((ours * ours).mean()) >= LOUD:
            # By its energy: two samples' difference in time would cost a sibilant a third of a scalar product.
            factors.append((start * 1000 / RATE_HZ, float(np.sqrt((theirs @ theirs) / (ours @ ours)))))
    return Course(factors)


def shifted_ms(answer: bytes, record: bytes, from_ms: float) -> float:
    """How much later than its beginning says the second of an answer from there on stands in the record, in ms."""
    head = find(answer[: 1000 * BYTES_PER_MS], record)
    piece = find(answer[round(from_ms) * BYTES_PER_MS : round(from_ms + 1000) * BYTES_PER_MS], record)
    expect(piece.correlation > 0.9, f"what follows the change is not in the record: {piece}")
    return round(piece.at_ms - head.at_ms - round(from_ms), 2)


def volume_while_speaking(stage: Stage, laptop: Laptop) -> Evidence:
    """The answer that is being spoken gets quieter, without a gap: what the speaker played is the judge."""
    done = laptop.ask("config set audio.volume=80")
    expect(done.code == 0, str(done))
    known = set(stage.simulator.record.glob("sent-*.wav"))
    with hearing.listening(stage, stage.out / "volume.raw") as ear:
        stage.machine.run("systemd-run -q --collect kioskd press --ms 6000")
        until("listening", lambda: stage.machine.look("status").get("state") == "listening", 20, every=0.1)
        stage.machine.look("say", "/lab/story.wav")
        until("speaking", lambda: stage.machine.look("status").get("state") == "speaking", 60, every=0.1)
        time.sleep(3)
        begun = time.monotonic()
        done = laptop.ask("config set audio.volume=40")
        took = round(time.monotonic() - begun, 1)
        state = stage.machine.look("status").get("state")
        until("ready again", lambda: stage.machine.look("status").get("state") == "ready", 90, every=0.3)
        time.sleep(0.5)
    expect(done.code == 0, str(done))
    new = set(stage.simulator.record.glob("sent-*.wav")) - known
    expect(len(new) == 1, f"the endpoint sent {len(new)} answers")
    answer = hearing.read_wav(new.pop(), hearing.LONGEST_S)
    seen = course(answer, ear.pcm)
    at_ms = seen.changed_at_ms(1.0, QUIETER)
    shift_ms = shifted_ms(answer, ear.pcm, at_ms + 200)
    expect(abs(shift_ms) <= SHIFTED_MS, f"what follows the change comes {shift_ms} ms late")
    expect(1000 < at_ms < len(answer) / BYTES_PER_MS - 1000, f"it changed at {at_ms} ms: not in mid-answer")
    return {
        "changed_at_ms": at_ms,
        "shifted_ms": shift_ms,
        "answer_ms": len(answer) // BYTES_PER_MS,
        "command_s": took,
        "then": state,
    }
