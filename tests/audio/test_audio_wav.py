"""Sound files of all sorts become kioskd's own format, or one clear line."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kioskd.audio.pcm import RATE_HZ, ms_of
from kioskd.audio.wav import WavError, read_wav, write_wav


def tone(rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def wav_of(samples: np.ndarray, rate: int = RATE_HZ, **options: str) -> bytes:
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate, format=options.pop("format", "WAV"), **options)
    return encoded.getvalue()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_format_and_channel_count(tmp_path: Path, rate: int, subtype: str, channels: int) -> None:
    path = tmp_path / "question.wav"
    path.write_bytes(wav_of(np.column_stack([tone(rate)] * channels), rate, subtype=subtype))
    read = np.frombuffer(read_wav(path, 5), dtype="<i2") / 32768
    expected = tone(RATE_HZ)
    assert abs(len(read) - len(expected)) <= 2
    middle = slice(2000, 10000)  # a resampler rings at both ends
    assert np.abs(read[middle] - expected[middle]).max() < 0.02


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    pcm = np.random.default_rng(1).integers(-32767, 32767, 5000).astype("<i2").tobytes()
    write_wav(tmp_path / "answer.wav", pcm)
    assert read_wav(tmp_path / "answer.wav", 1) == pcm
    assert [path.name for path in tmp_path.iterdir()] == ["answer.wav"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(WavError, match=r"folder\.wav: can't be written"):
        write_wav(tmp_path / "folder.wav", bytes(100))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]
    with pytest.raises(WavError, match="can't be written"):
        write_wav(tmp_path / "nowhere" / "answer.wav", bytes(100))


def test_the_limit_is_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav_of(tone(16000, 2.0), 16000))
    assert ms_of(len(read_wav(path, 2.0))) == 2000
    with pytest.raises(WavError, match=r"longer than 1\.9 s"):
        read_wav(path, 1.9)


def test_a_streamed_wav_of_unknown_length_is_whole(tmp_path: Path) -> None:
    whole = wav_of(tone(RATE_HZ))
    at = whole.index(b"data") + 4
    for unknown in (0x7FFFF000, 0xFFFFFFFF):
        path = tmp_path / "piped.wav"
        path.write_bytes(whole[:at] + struct.pack("<I", unknown) + whole[at + 4 :])
        assert ms_of(len(read_wav(path, 5))) == 500


WHOLE = wav_of(tone(RATE_HZ))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"This is not sound, it is a shopping list.\n" * 20, "no sound file"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (WHOLE[:44], "truncated"),
        (WHOLE[:30], "truncated|no sound file"),
        (wav_of(np.zeros(0)), "no sound"),
        (bytes(1000), "no sound file"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(WavError, match=cause) as caught:
        read_wav(path, 60)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(WavError, match="no such file"):
        read_wav(tmp_path / "missing.wav", 60)
    with pytest.raises(WavError, match="directory"):
        read_wav(tmp_path, 60)


def test_what_is_no_regular_file_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads what the settings name: a FIFO would hold it for ever, and opening a watchdog arms it."""
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "link.wav").symlink_to("/dev/zero")
    opened: list[object] = []
    monkeypatch.setattr("kioskd.audio.wav.os.open", lambda path, *_: opened.append(path))
    for path in (tmp_path / "fifo.wav", Path("/dev/zero"), tmp_path / "link.wav"):
        with pytest.raises(WavError, match="not a regular file"):
            read_wav(path, 60)
    assert opened == []


def test_one_that_became_a_fifo_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo.wav")
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    with pytest.raises(WavError, match="not a regular file"):
        read_wav(tmp_path / "fifo.wav", 60)


def test_what_is_no_path_is_told() -> None:
    with pytest.raises(WavError, match="not the name of a file"):
        read_wav(Path("/a\0b.wav"), 60)
