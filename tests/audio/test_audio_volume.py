"""How loud: the hour, the ceiling, the mixer where there is one, and a limiter that lets nothing exceed full scale."""

from __future__ import annotations

import logging
import time
from typing import Any

import alsaaudio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.audio import mixer as mixer_module
from kioskd.audio.arrays import np
from kioskd.audio.loudness import Loudness, minute_of_day
from kioskd.audio.mixer import MixerError, set_volume
from kioskd.audio.volume import gain_of, limited, scaled, volume_at
from kioskd.config.load import SettingsError, parse
from kioskd.config.schema import Audio, Night

SMALL = 'endpoints: [{name: a, url: "wss://a", model: m}]\n'
LOUD = np.full(480, 20_000, dtype="<i2").tobytes()


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, dtype="<i2").astype(int)


# The schedule.


@given(st.integers(0, 1439))
def test_night_counts_from_its_first_minute_to_its_last_also_across_midnight(minute: int) -> None:
    late, early = Night("22:00", "07:00", 40), Night("01:30", "05:00", 30)
    assert volume_at(Audio(night=late), minute) == (40 if minute >= 22 * 60 or minute < 7 * 60 else 80)
    assert volume_at(Audio(night=early), minute) == (30 if 90 <= minute < 300 else 80)


def test_without_a_night_or_a_clock_it_is_day() -> None:
    assert volume_at(Audio(), 0) == 80
    assert volume_at(Audio(night=Night("00:00", "23:59", 10)), None) == 80


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 1439))
def test_nothing_is_louder_than_the_ceiling(volume: int, ceiling: int, night: int, minute: int) -> None:
    settings = Audio(volume=volume, volume_ceiling=ceiling, night=Night(volume=night))
    assert volume_at(settings, minute) <= ceiling


@pytest.mark.parametrize("wrong", [OverflowError, OSError, ValueError])
def test_a_clock_that_nobody_can_read_is_no_time_of_day(monkeypatch: pytest.MonkeyPatch, wrong: type) -> None:
    assert minute_of_day() in range(1440)

    def broken() -> None:
        raise wrong("timestamp out of range")

    monkeypatch.setattr(time, "localtime", broken)
    assert minute_of_day() is None


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('{begin: "22", end: "07:00"}', "audio.night.begin"),
        ('{begin: "22:00", end: "24:00"}', "audio.night.end"),
        ('{begin: "07:00", end: "07:00"}', "audio.night.end"),
        ("{begin: 22:00}", "audio.night.begin"),
        ("{volume: 101}", "audio.night.volume"),
    ],
)
def test_a_night_that_makes_no_sense_is_told(lines: str, key: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(f"{SMALL}audio: {{night: {lines}}}\n", "kioskd.yaml")
    assert [problem.key for problem in error.value.problems] == [key]


# The sound itself.


def test_the_scale_is_cubic_and_80_is_the_sound_as_it_came() -> None:
    assert gain_of(0) == 0
    assert gain_of(40) == 1 / 8
    assert gain_of(80) == 1
    assert 1.9 < gain_of(100) < 2
    assert scaled(LOUD, 1.0, 1.0) is LOUD
    assert scaled(LOUD, 0.0, 0.0) == bytes(len(LOUD))
    assert (samples(scaled(LOUD, 1 / 8, 1 / 8)) == 2500).all()


def test_another_volume_glides_in_within_the_block() -> None:
    steps = np.abs(np.diff(samples(scaled(LOUD, 0.1, 1.0))))
    assert steps.max() <= 20_000 * 0.9 / 480 + 2
    assert samples(scaled(LOUD, 0.1, 1.0))[[0, -1]].tolist() == [20_000, 2000]


@given(st.lists(st.integers(-32768, 32767), max_size=100))
def test_the_limiter_keeps_signs_and_order_and_stays_below_full_scale(values: list[int]) -> None:
    raw = np.array(values, dtype=np.float64) / 32768 * gain_of(100)
    bent = limited(raw)
    assert (np.abs(bent) <= 1.0).all()
    assert (np.sign(bent) == np.sign(raw)).all()
    assert (bent[np.abs(raw) <= 0.7] == raw[np.abs(raw) <= 0.7]).all()
    assert (np.diff(bent[np.argsort(raw)]) >= 0).all()


def test_what_is_loud_stays_within_full_scale() -> None:
    loudest = np.array([32767, -32768] * 240, dtype="<i2").tobytes()
    for before in (gain_of(100), 1.0):
        heard = samples(scaled(loudest, gain_of(100), before))
        assert (np.sign(heard) == np.sign(samples(loudest))).all()
        assert np.abs(heard).min() > 0.9 * 32767


def test_the_limiter_has_no_corner() -> None:
    bent = limited(np.linspace(0, 2, 2001))
    assert np.abs(np.diff(bent, 2)).max() < 1e-5


# The mixer.


class Control:
    """A mixer's control, and what was done to it."""

    def __init__(self, kinds: list[str], range_db: tuple[float, float] = (-60, 0), mutes: bool = True) -> None:
        self.kinds, self.range_db, self.mutes = kinds, range_db, mutes
        self.done: list[Any] = []

    def volumecap(self) -> list[str]:
        return self.kinds

    def switchcap(self) -> list[str]:
        return ["Playback Mute"] if self.mutes else []

    def getrange(self, kind: int, units: int) -> list[int]:
        assert units == alsaaudio.VOLUME_UNITS_DB
        return [round(db * 100) for db in self.range_db]

    def setvolume(self, volume: int, units: int = alsaaudio.VOLUME_UNITS_PERCENTAGE, pcmtype: int = -1) -> None:
        assert pcmtype == alsaaudio.PCM_PLAYBACK
        self.done.append((volume / 100, "dB") if units == alsaaudio.VOLUME_UNITS_DB else (volume, "%"))

    def setmute(self, muted: bool) -> None:
        self.done.append("mute" if muted else "unmute")

    def close(self) -> None:
        self.done.append("close")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, Control]:
    """Card 1 with these controls; there is no other."""
    controls: dict[str, Control] = {}

    def mixers(cardindex: int = -1) -> list[str]:
        if cardindex != 1:
            raise alsaaudio.ALSAAudioError("No such file or directory [hw:9]")
        return list(controls)

    monkeypatch.setattr(mixer_module.alsaaudio, "mixers", mixers)
    monkeypatch.setattr(mixer_module.alsaaudio, "Mixer", lambda control, cardindex: controls[control])
    return controls


PLAYS = ["Playback Volume", "Playback Channel Mask"]


def test_auto_turns_the_broadest_control_that_plays_and_unmutes_it(card: dict[str, Control]) -> None:
    card["Mic"] = Control(["Capture Volume"])
    card["PCM"] = Control(PLAYS)
    card["Master"] = Control(["Capture Volume"])
    assert set_volume("plughw:CARD=x", 1, "auto", 50) == "PCM"
    assert card["PCM"].done == [(-18.06, "dB"), "unmute", "close"]
    assert card["Master"].done == ["close"]


@pytest.mark.parametrize(
    ("range_db", "volume", "expected"),
    [
        ((-60, 0), 100, (0.0, "dB")),
        ((-30, 4), 80, (-1.81, "dB")),
        ((-30, 4), 10, (-30.0, "dB")),
        ((-20, 0), 50, (-10.0, "dB")),
        ((-15829739.84, -15829739.84), 50, (50, "%")),
    ],
)
def test_the_mixer_moves_as_alsamixer_does(
    card: dict[str, Control], range_db: tuple[float, float], volume: int, expected: tuple[float, str]
) -> None:
    card["PCM"] = Control(PLAYS, range_db, mutes=False)
    set_volume("plughw:CARD=x", 1, "PCM", volume)
    assert card["PCM"].done == [expected, "close"]


def test_at_zero_it_is_muted(card: dict[str, Control]) -> None:
    card["PCM"] = Control(["Volume"])
    set_volume("plughw:CARD=x", 1, "auto", 0)
    assert "mute" in card["PCM"].done


def test_without_a_card_or_by_wish_no_mixer_is_touched(card: dict[str, Control]) -> None:
    card["PCM"] = Control(PLAYS)
    assert set_volume("default", None, "auto", 50) is None
    assert set_volume("plughw:CARD=x", 1, "none", 50) is None
    assert card["PCM"].done == []


def test_a_control_that_is_not_there_is_told_with_those_that_are(card: dict[str, Control]) -> None:
    card["PCM"] = Control(PLAYS)
    with pytest.raises(MixerError, match="no volume control 'Master'; it has PCM"):
        set_volume("plughw:CARD=x", 1, "Master", 50)
    with pytest.raises(MixerError, match="No such file or directory"):
        set_volume("plughw:CARD=y", 9, "auto", 50)


# Both together.


class Mixers:
    """Stands in for `set_volume`."""

    def __init__(self, control: str | None) -> None:
        self.control = control
        self.broken = False
        self.told: list[int] = []

    def __call__(self, device: str, card: int | None, wanted: str, volume: int) -> str | None:
        if self.broken:
            raise MixerError("gone")
        self.told.append(volume)
        return self.control


def test_where_a_mixer_turns_the_sound_stays_as_it_is_but_for_silence() -> None:
    mixers = Mixers("PCM")
    loudness = Loudness(Audio(volume=40), lambda: 0, mixers)
    loudness.opened(1, 0.0)
    assert mixers.told == [40]
    assert loudness.shaped(LOUD) == LOUD
    silent = Loudness(Audio(volume=0), lambda: 0, mixers)
    silent.opened(1, 0.0)
    assert silent.shaped(LOUD) == bytes(len(LOUD))


def test_a_mixer_that_fails_is_told_once_and_the_sound_is_scaled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mixers = Mixers("PCM")
    mixers.broken = True
    loudness = Loudness(Audio(volume=40), lambda: 0, mixers)
    for _ in range(2):
        loudness.opened(1, 0.0)
        assert (samples(loudness.shaped(LOUD)) == 2500).all()
    assert [record.levelno for record in caplog.records if record.levelno > logging.DEBUG] == [
        logging.WARNING,
        logging.INFO,
    ]


def test_the_night_comes_while_the_speaker_is_open_and_the_wall_clock_may_jump() -> None:
    wall_clock = iter([12 * 60, 23 * 60, None, 3 * 60, 7 * 60])
    mixers = Mixers(None)
    loudness = Loudness(Audio(volume=80, night=Night(volume=40)), lambda: next(wall_clock), mixers)
    loudness.opened(None, 100.0)
    for now in (101.0, 110.0, 120.0, 121.0, 130.0, 140.0):
        loudness.look(now)
    assert mixers.told == [80, 40, 80, 40, 80]


def test_a_device_that_comes_back_is_told_its_volume_again() -> None:
    mixers = Mixers("PCM")
    loudness = Loudness(Audio(), lambda: 0, mixers)
    loudness.opened(1, 0.0)
    loudness.look(1000.0)
    loudness.opened(2, 2000.0)
    assert mixers.told == [80, 80]
