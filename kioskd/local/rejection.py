"""Whether a sound is one of the FAQ's questions, or only resembles one. PURE: two decodes in, one number out.

A grammar always finds the nearest of its questions, whatever was said. So a second decode, a loop of all English
phones, says how well the sound can be explained at all; where it does much better than the grammar, nothing matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from attrs import frozen

MIN_SPEECH_FRAMES = 20  # of 10 ms: shorter than "who are you" said in haste
WINDOW_FRAMES = 30  # of 10 ms: about a word
UNEXPLAINED = 10.0  # the loss of a frame that the grammar ends before: about what it has for quite another phone
# Chosen on 520 utterances of espeak-ng's, in five voices, clean or with noise 20 dB below. Measured on 80 other strange
# sentences and seven other voices (three of espeak-ng, four of flite): 2.9 % of 378 questions are above it, 4.5 % of
# 560 strange ones are not (6.3 % of those that begin like a question of the FAQ, 1.4 % of the rest); no question was
# taken for one with another answer. An eighth, Scottish, is refused 28 % of its questions: the model is American.
MAX_DEFICIT = 6.0


@frozen
class Segment:
    """A word or phone in the sound: its first and last frame (of 10 ms), and its acoustic log likelihood."""

    spoken: bool
    first: int
    last: int
    score: float


def deficit(asked: Sequence[Segment], free: Sequence[Segment]) -> float | None:
    """What the grammar loses against free phones, in 1/1000 a frame: over all speech, and where it is worst.

    One foreign word in a question of seven is lost in the mean; in its own 300 ms it stands out. Speech is what
    either takes for it: a grammar calls silence what it has no word for. None: too little of it for a question.
    """
    frames = max((segment.last + 1 for segment in free), default=0)
    asked_scores, free_scores = _by_frame(asked), _by_frame(free)
    losses = [
        1000 * (free_scores[at] - asked_scores[at]) if at in asked_scores and at in free_scores else UNEXPLAINED
        for at in range(frames)
    ]
    in_words = _speech(asked)
    if len(in_words) < MIN_SPEECH_FRAMES or not losses:
        return None
    speech = [at for at in in_words | _speech(free) if at < frames]
    mean = sum(losses[at] for at in speech) / len(speech)
    return mean + _worst(losses)


def _by_frame(segments: Sequence[Segment]) -> dict[int, float]:
    """Each frame's share of its segment's score."""
    return {at: segment.score / (segment.last - segment.first + 1) for segment in segments for at in _frames(segment)}


def _speech(segments: Sequence[Segment]) -> set[int]:
    return {at for segment in segments if segment.spoken for at in _frames(segment)}


def _frames(segment: Segment) -> range:
    return range(segment.first, segment.last + 1)


def _worst(losses: Sequence[float]) -> float:
    """The mean of the window that has most."""
    sums = list(accumulate(losses, initial=0.0))
    last = max(0, len(losses) - WINDOW_FRAMES)
    return max(sums[min(at + WINDOW_FRAMES, len(losses))] - sums[at] for at in range(last + 1)) / WINDOW_FRAMES
