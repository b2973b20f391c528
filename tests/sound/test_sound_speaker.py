"""The speaker through real ALSA calls: what its monitor recorded is the judge, by the positions of samples."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from monitor import AUDIBLE, PIECE, place, recorded, silence_after, speaking, speech

from kioskd.audio.arrays import np, pcm_of, samples_of
from kioskd.audio.earcons import earcon
from kioskd.audio.pcm import RATE_HZ
from kioskd.dialogue.effects import Sign
from kioskd.dialogue.events import (
    FaultCleared,
    FaultRaised,
    SignFinished,
    SpeakingFinished,
    SpeakingStarted,
    SpeakingStopped,
)
from kioskd.simulator.pulse import PrivatePulse

pytestmark = pytest.mark.sound

BARGE_INS = 100
UNDERRUNS_AT_MOST = 5  # a busy machine's; what was heard is then told less exactly


async def test_an_answer_is_heard_whole_in_place_and_without_a_gap(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = speech(12, seed=3)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 12_000))
        heard = await silence_after(record)
        assert room.events == [SpeakingStarted(1), SpeakingFinished(1, 12_000)]
        assert room.speaker.xruns == 0
    window = RATE_HZ // 4
    start, match = place(heard, answer[:window])
    assert match > 0.9
    for at in range(0, len(answer) - window, window):
        around = heard[max(0, start + at - 480) : start + at + window + 480]
        offset, match = place(around, answer[at : at + window])
        assert match > 0.9, f"at {at / RATE_HZ} s"
        assert abs(offset - min(480, start + at)) <= RATE_HZ // 500, f"at {at / RATE_HZ} s"
    assert np.abs(heard[start + len(answer) + 480 :]).max() < AUDIBLE


async def test_an_answer_in_bursts_with_network_jitter_has_no_gap(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer, chance = speech(5, seed=4), random.Random(5)
    pcm = pcm_of(answer)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        for start in range(0, len(pcm), PIECE * 2):
            room.speaker.play(1, pcm[start : start + PIECE * 2])
            await trio.sleep(0.04 + 0.15 * chance.random())
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 5000))
        heard = await silence_after(record)
        assert room.speaker.xruns == 0
    assert place(heard, answer)[1] > 0.9


async def test_barge_ins_tell_what_was_heard(pulse: PrivatePulse, tmp_path: Path, record_property: Callable) -> None:
    chance, errors, previous_end, underruns = random.Random(11), [], 0, 0
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        for turn in range(1, BARGE_INS + 1):
            answer = speech(1, seed=100 + turn)
            room.say(turn, pcm_of(answer))
            await room.hear(SpeakingStarted(turn))
            await trio.sleep(0.12 + 0.4 * chance.random())
            room.speaker.stop(turn)
            stopped = await room.hear_any(SpeakingStopped)
            room.events.clear()
            assert stopped.turn == turn
            heard = await silence_after(record, previous_end)
            start, match = place(heard[previous_end:], answer[: RATE_HZ // 10])
            assert match > 0.9
            between = np.abs(heard[previous_end : previous_end + max(0, start - 48)])
            assert between.max(initial=0) < AUDIBLE
            audible = np.nonzero(np.abs(heard[previous_end:]) > AUDIBLE)[0]
            true_ms = (int(audible[-1]) + 1 - start) * 1000 / RATE_HZ
            if room.speaker.xruns == underruns:
                errors.append(stopped.heard_ms - true_ms)
            underruns = room.speaker.xruns
            previous_end += int(audible[-1]) + 1
    off = sorted(abs(error) for error in errors)
    record_property("heard_ms_off", errors)
    print("heard off by ms:", [round(error, 1) for error in errors])
    assert len(off) >= BARGE_INS - UNDERRUNS_AT_MOST
    assert off[-1] <= 25
    assert off[int(len(off) * 0.95) - 1] <= 10


async def test_nothing_of_a_cut_answer_follows_before_the_next(pulse: PrivatePulse, tmp_path: Path) -> None:
    old, new = speech(3, seed=21), speech(1, seed=22)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.say(1, pcm_of(old))
        await room.hear(SpeakingStarted(1))
        await trio.sleep(0.4)
        room.speaker.stop(1)
        room.say(2, pcm_of(new))
        room.speaker.finish(2)
        await room.hear(SpeakingFinished(2, 1000))
        heard = await silence_after(record)
    match = place(heard, new)[1]
    assert match > 0.9
    stopped = next(event for event in room.events if isinstance(event, SpeakingStopped))
    later = old[(stopped.heard_ms + 25) * RATE_HZ // 1000 :][: RATE_HZ // 5]
    assert place(heard, later)[1] < 0.3


async def test_a_sign_is_heard_and_the_answer_after_it(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = speech(1, seed=31)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.speaker.give_sign(Sign.SORRY)
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingFinished(1, 1000))
        heard = await silence_after(record)
        assert room.events[0] != SpeakingFinished(1, 1000)
        assert SignFinished() in room.events
    sign = samples_of(earcon(Sign.SORRY))
    sign_at, sign_match = place(heard, sign)
    answer_at, answer_match = place(heard, answer)
    assert min(sign_match, answer_match) > 0.9
    assert abs(answer_at - (sign_at + len(sign))) <= RATE_HZ // 50  # the rest of a period at most


async def test_a_sign_cut_in_the_middle_leaves_the_answer_behind_it_whole(pulse: PrivatePulse, tmp_path: Path) -> None:
    answer = speech(1, seed=41)
    async with speaking() as room, recorded(pulse, tmp_path) as record:
        room.speaker.give_sign(Sign.TOO_SHORT)
        room.say(1, pcm_of(answer))
        room.speaker.finish(1)
        await room.hear(SpeakingStarted(1))  # in the device's buffer, behind the rest of the sign
        room.speaker.cut_sign()
        await room.hear(SpeakingFinished(1, 1000))
        heard = await silence_after(record)
    assert place(heard, answer)[1] > 0.9
    assert room.events.count(SignFinished()) == 1


async def test_a_server_that_dies_in_mid_answer_ends_it_and_is_found_again(pulse: PrivatePulse) -> None:
    async with speaking() as room:
        room.say(1, pcm_of(speech(5, seed=51)))
        room.speaker.give_sign(Sign.SORRY)
        await room.hear(SpeakingStarted(1))
        await trio.sleep(0.3)
        pulse.kill()
        await room.hear_any(FaultRaised)
        stopped = await room.hear_any(SpeakingStopped)
        assert 100 <= stopped.heard_ms < 5000
        await room.hear(SignFinished())
        room.say(2, bytes(PIECE))
        room.speaker.finish(2)
        await room.hear(SpeakingFinished(2, 0))
        pulse.start()
        await room.hear_any(FaultCleared)
        room.say(3, pcm_of(speech(0.5, seed=52)))
        room.speaker.finish(3)
        await room.hear(SpeakingFinished(3, 500))
        assert sum(isinstance(event, FaultRaised) for event in room.events) == 1


async def test_a_speaker_that_is_missing_at_the_start_is_found_when_it_appears(pulse: PrivatePulse) -> None:
    pulse.stop()
    async with speaking() as room:
        raised = await room.hear_any(FaultRaised)
        assert "'spk'" in raised.cause
        assert "\n" not in raised.cause
        room.speaker.give_sign(Sign.OUT_OF_ORDER)
        await room.hear(SignFinished())
        pulse.start()
        await room.hear_any(FaultCleared)
        room.speaker.give_sign(Sign.OUT_OF_ORDER)
        await room.until(lambda: room.events.count(SignFinished()) == 2)


async def test_a_stalled_card_does_not_hold_up_a_barge_in(pulse: PrivatePulse) -> None:
    async with speaking() as room:
        room.say(1, pcm_of(speech(5, seed=61)))
        await room.hear(SpeakingStarted(1))
        await trio.sleep(0.3)
        pulse.suspend("spk")
        await trio.sleep(0.3)
        room.speaker.stop(1)
        stopped = await room.hear_any(SpeakingStopped)
        assert stopped.heard_ms < 1000
        pulse.suspend("spk", False)
        room.say(2, pcm_of(speech(0.5, seed=62)))
        room.speaker.finish(2)
        await room.hear(SpeakingFinished(2, 500))


async def test_a_frozen_sound_server_is_seen_by_the_heartbeat_and_holds_up_nobody(pulse: PrivatePulse) -> None:
    async with speaking() as room:
        room.say(1, pcm_of(speech(5, seed=71)))
        await room.hear(SpeakingStarted(1))
        pulse.freeze()
        await room.until(lambda: time.monotonic() - room.speaker.heartbeat > 1.5)  # idle, it beats twice a second
        room.speaker.stop(1)
        await room.hear_any(SpeakingStopped)
        pulse.thaw()
        await room.until(lambda: time.monotonic() - room.speaker.heartbeat < 1)
        room.say(2, pcm_of(speech(0.5, seed=72)))
        room.speaker.finish(2)
        await room.hear_any(SpeakingFinished)
