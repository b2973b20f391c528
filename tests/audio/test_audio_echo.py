"""What reaches the endpoint of the kiosk's own voice: a simulated room, measured against the visitor's speech.

The dialogue decides where an utterance begins, the microphone's thread cuts it out of what the room gives, and as the
room is made here, every frame's share of echo is known.
"""

from __future__ import annotations

from functools import cache

import pytest
from attrs import frozen
from test_audio_microphone import Bench, grown, running

from kioskd.audio.arrays import Floats, np
from kioskd.audio.pcm import FRAME_BYTES, RATE_HZ, bytes_of
from kioskd.audio.selftest import Recording, Report, chirp, judge
from kioskd.audio.verdict import with_tail
from kioskd.config.schema import Audio, Conversation, Echo, Sounds
from kioskd.dialogue import effects as f
from kioskd.dialogue import events as e
from kioskd.dialogue.kiosk import Kiosk

ECHO_DB = -12.0  # of the kiosk's voice in the microphone, against the visitor's
DECAY_S = 0.35  # until the room is 60 dB quieter: a furnished hall
PRESS_S = 2.0
WORD_MS = 20  # a visitor's first sound, which is not to be lost
LEAST_DB = -100.0
LOUD = 2500.0  # the visitor, as RMS of 32768
HISS = 20.0  # the room, likewise
INAUDIBLE_DB = -30.0  # far below what makes a recogniser hear a second voice
PLAIN_DB = -20.0  # an echo of -12 dB is there, for the canceller to remove


def frames(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def voice(seconds: float, seed: int) -> Floats:
    """Noise in the band of speech, of a steady loudness of 1.0 RMS, loud from its first frame."""
    size = frames(seconds)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(size))
    pitch = np.fft.rfftfreq(size, 1 / RATE_HZ)
    spectrum[(pitch < 200) | (pitch > 4000)] = 0
    sound = np.fft.irfft(spectrum, size)
    return np.asarray(sound / np.sqrt(np.mean(sound**2)))


@cache
def impulse_response(decay_s: float = DECAY_S) -> Floats:
    """From the speaker to the microphone: the direct sound, some walls, and a tail that decays."""
    chance = np.random.default_rng(7)
    response = np.zeros(frames(decay_s))
    response[frames(0.002)] = 1.0
    for wall in range(1, 9):
        response[frames(0.002 + 0.0041 * wall)] += chance.choice((-1, 1)) * 0.7**wall
    at = np.arange(frames(0.04), len(response))
    response[at] += 0.05 * chance.standard_normal(len(at)) * 10 ** (-3 * at / RATE_HZ / decay_s)
    return np.asarray(response / np.linalg.norm(response))


@frozen
class Room:
    """What the microphone hears, in samples of 16 bits, and the echo's and the visitor's share of it."""

    echo: Floats
    visitor: Floats

    @property
    def pcm(self) -> bytes:
        """All of it, with the noise of a quiet room."""
        hiss = np.random.default_rng(9).standard_normal(len(self.echo)) * HISS
        both = np.rint(self.echo + self.visitor + hiss)
        return (both - np.rint(np.mean(both))).astype("<i2").tobytes()


def room(sounds_until_s: float, speaks_at_s: float, decay_s: float = DECAY_S) -> Room:
    """The kiosk is heard from the start to `sounds_until_s`, the visitor from `speaks_at_s` for two seconds."""
    size = frames(PRESS_S + 4)
    kiosk, visitor = np.zeros(size), np.zeros(size)
    kiosk[: frames(sounds_until_s)] = voice(sounds_until_s, 1) * LOUD * 10 ** (ECHO_DB / 20)
    said = voice(2, 2) * LOUD
    visitor[frames(speaks_at_s) : frames(speaks_at_s) + len(said)] = said
    return Room(np.convolve(kiosk, impulse_response(decay_s))[:size], visitor)


def pre_roll_ms(echo: Echo, sounds_until_s: float, *, sign: bool = False, measured_ms: float | None = None) -> int:
    """Where the dialogue has an utterance begin that is opened at PRESS_S, after (or into) an answer or a sign."""
    kiosk = Kiosk(Conversation(), with_tail(Audio(echo=echo, sounds=Sounds(sent="none")), measured_ms))
    for event in (e.Started(), e.LinkChanged(e.Link.UP)):
        kiosk.step(event, -100.0)
    if sign:
        kiosk.step(e.Pressed(), -0.4)
        assert f.GiveSign(f.Sign.TOO_SHORT) in kiosk.step(e.Released(), -0.3)
        if sounds_until_s < PRESS_S:
            kiosk.step(e.SignFinished(), sounds_until_s)
    else:
        kiosk.step(e.Pressed(), -10.0)
        for event in (e.Released(), e.UtteranceEnded(1, 1000), e.AnswerAudio(1, b"\0\0", 2000)):
            kiosk.step(event, -1.0)
        if sounds_until_s < PRESS_S:
            kiosk.step(e.AnswerEnded(1, e.Ending.COMPLETE), sounds_until_s - 0.1)
            kiosk.step(e.SpeakingFinished(1, 2000), sounds_until_s)
    return next(x.pre_roll_ms for x in kiosk.step(e.Pressed(), PRESS_S) if isinstance(x, f.BeginUtterance))


async def recorded(sound: Room, reach_ms: int) -> int:
    """Record through the microphone's thread, and check that it is what it should be; the frame at which it begins."""
    pcm = sound.pcm
    pressed = frames(PRESS_S) * FRAME_BYTES
    async with running(Bench()) as bench:
        bench.now += 60  # else so much sound would be more than a microphone can have heard
        bench.device.feed(pcm[:pressed])
        await bench.settled()
        utterance = bench.microphone.begin(1, reach_ms)
        await bench.settled()
        bench.device.feed(pcm[pressed : pressed + bytes_of(3000)])
        await grown(utterance, bytes_of(2000))
        bench.microphone.end(1, 0)
        heard = utterance.since(0)
    begin = pressed - round(reach_ms * RATE_HZ / 1000) * FRAME_BYTES
    assert heard == pcm[begin : begin + len(heard)], "the utterance is a piece of what the room gave, to the frame"
    return begin // FRAME_BYTES


def decibels(sound: Floats, reference: Floats) -> float:
    """How loud the first half second is, against the visitor."""
    part = sound[: RATE_HZ // 2]
    spoken = reference[np.nonzero(reference)]
    ratio = np.sqrt(np.mean(part**2)) / np.sqrt(np.mean(spoken**2))
    return max(LEAST_DB, float(20 * np.log10(max(ratio, 1e-9))))


@pytest.mark.parametrize("echo", Echo)
@pytest.mark.parametrize("sign", [False, True], ids=["answer", "sign"])
@pytest.mark.parametrize(
    ("sounds_until_s", "speaks_at_s"),
    [(PRESS_S, PRESS_S + 0.2), (PRESS_S - 0.1, PRESS_S + 0.1), (PRESS_S - 1.0, PRESS_S - 0.25)],
    ids=["broken into", "just over", "long over"],
)
async def test_what_is_left_of_the_kiosks_own_voice(
    echo: Echo, sounds_until_s: float, speaks_at_s: float, sign: bool
) -> None:
    sound = room(sounds_until_s, speaks_at_s)
    begin = await recorded(sound, pre_roll_ms(echo, sounds_until_s, sign=sign))
    left_db = decibels(sound.echo[begin:], sound.visitor)
    print(f"{echo.value}: begins {begin * 1000 / RATE_HZ - PRESS_S * 1000:+.0f} ms, echo {left_db:.0f} dB")
    onset = int(np.nonzero(sound.visitor)[0][0])
    assert begin <= onset, f"of the visitor's first {WORD_MS} ms, {(begin - onset) * 1000 / RATE_HZ:.0f} are lost"
    if echo is Echo.GATE or sounds_until_s < PRESS_S - 0.5:
        assert left_db < INAUDIBLE_DB
    elif sounds_until_s == PRESS_S:
        assert left_db > PLAIN_DB, "no gate: it is left to the canceller"


def self_test(decay_s: float) -> Report:
    """What the self-test finds in such a room, where the kiosk is as loud as in `room`."""
    at, sweep = frames(0.5), chirp()
    sound = np.random.default_rng(11).standard_normal(at + len(sweep) + frames(1)) * HISS
    gain = LOUD * 10 ** (ECHO_DB / 20) / np.sqrt(np.mean(sweep**2))
    heard = np.convolve(sweep * gain, impulse_response(decay_s))
    sound[at : at + len(heard)] += heard
    return judge(Recording(np.rint(sound), at))


@pytest.mark.parametrize("decay_s", [0.1, DECAY_S, 0.7, 1.0])
async def test_behind_the_measured_tail_the_kiosk_is_no_louder_than_the_room(decay_s: float) -> None:
    measured_ms = self_test(decay_s).tail_ms
    assert measured_ms is not None
    sound = room(PRESS_S, PRESS_S + 1.5, decay_s)
    begin = await recorded(sound, pre_roll_ms(Echo.GATE, PRESS_S, measured_ms=measured_ms))
    left = sound.echo[begin : begin + frames(1)].reshape(-1, frames(0.01))
    loudest = float(np.sqrt(np.mean(left**2, axis=1)).max())
    lost_ms = (begin / RATE_HZ - PRESS_S) * 1000
    print(f"{decay_s} s: {measured_ms:.0f} ms measured, begins {lost_ms:.0f} ms late, echo at most {loudest:.0f}")
    assert loudest <= HISS, "of the room's own level"
    until_s = np.nonzero(np.abs(sound.echo) > HISS)[0][-1] / RATE_HZ - PRESS_S  # sample by sample
    assert lost_ms <= until_s * 1000 + 60, "nor does a visitor lose more than that"


def test_the_room_is_as_loud_as_it_says() -> None:
    sound = room(PRESS_S, PRESS_S + 0.2)
    steady = sound.echo[frames(0.5) : frames(PRESS_S)]
    assert decibels(steady, sound.visitor) == pytest.approx(ECHO_DB, abs=1)
    after = sound.echo[frames(PRESS_S + 0.15) :]
    assert decibels(after, sound.visitor) < ECHO_DB - 20
