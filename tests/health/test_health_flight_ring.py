"""The ring: what was appended is found again, whatever byte the kill came at."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kioskd.health.flight.ring import LONGEST, Record, Ring, RingError, find, read

SIZE = 4096


def texts(records: list[Record]) -> list[bytes]:
    return [record.text for record in records]


def line(number: int, length: int = 60) -> bytes:
    return f"{number} ".encode().ljust(length, b"x")


def test_records_outlive_a_writer_that_takes_no_leave(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", SIZE)
    for number in range(5):
        ring.append(line(number))
    found = find(read(tmp_path / "ring"))
    assert texts(found.records) == [line(number) for number in range(5)] and not found.clean


def test_the_newest_stay_in_order_and_numbered(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", SIZE)
    for number in range(1000):
        ring.append(line(number, 20 + number % 70))
        found = find(ring.copy())
        kept = [int(text.split()[0]) for text in texts(found.records)]
        assert kept == list(range(kept[0], number + 1))
        assert [record.number for record in found.records] == list(range(kept[0] + 1, number + 2))
    assert len(kept) > SIZE / 200


def test_what_an_earlier_round_left_is_not_taken_for_new(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", SIZE)
    earlier = b""
    for number in range(200):
        ring.append(line(number, 20 + number % 70))
        if number == 60:
            earlier = ring.copy()
    for at in range(SIZE - 400, SIZE):
        kept = [record.number for record in find(ring.copy()[:at] + earlier[at:]).records]
        assert kept == sorted(set(kept)) and kept[-1] == 200


@pytest.mark.parametrize("clean", [True, False])
def test_the_next_one_goes_on_where_this_one_ended(tmp_path: Path, clean: bool) -> None:
    for round_ in range(6):
        ring = Ring(tmp_path / "ring", SIZE)
        assert ring.before.clean is (clean or round_ == 0)
        for number in range(17):
            ring.append(line(round_ * 17 + number))
        ring.close(clean=clean)
    kept = [int(text.split()[0]) for text in texts(find(read(tmp_path / "ring")).records)]
    assert kept == list(range(kept[0], 6 * 17)) and len(kept) > 34


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(0, 300), st.data())
@hypothesis_settings(deadline=None)
def test_a_kill_at_any_byte_costs_only_that_record(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], last: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ring") / "ring"
    ring = Ring(path, SIZE)
    for number, length in enumerate(lengths):
        ring.append(line(number, length))
    before = ring.copy()
    ring.append(line(len(lengths), last))
    after = ring.copy()
    ring.close(clean=False)
    whole = texts(find(before).records)
    changed = [at for at in range(SIZE) if before[at] != after[at]]
    at = data.draw(st.sampled_from(changed)) if changed else 0
    torn = after[:at] + before[at:]
    path.write_bytes(torn)
    kept = texts(find(torn).records)
    assert kept == (whole[-len(kept) :] if kept else []), "no record is made up, doubled or out of order"
    assert sum(len(text) + 16 for text in whole) - sum(len(text) + 16 for text in kept) <= SIZE / 2
    ring = Ring(path, SIZE)  # and the next start lives with it
    ring.append(b"alive")
    assert texts(find(ring.copy()).records)[-1] == b"alive"
    ring.close(clean=True)


@given(st.binary(min_size=0, max_size=200), st.integers(0, SIZE - 200))
@hypothesis_settings(deadline=None)
def test_any_damage_is_survived(tmp_path_factory: pytest.TempPathFactory, damage: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("ring") / "ring"
    ring = Ring(path, SIZE)
    for number in range(100):
        ring.append(line(number))
    content = ring.copy()
    ring.close(clean=False)
    path.write_bytes(content[:at] + damage + content[at + len(damage) :])
    ring = Ring(path, SIZE)
    ring.append(b"alive")
    assert texts(find(ring.copy()).records)[-1] == b"alive"
    ring.close(clean=True)


@pytest.mark.parametrize("content", [b"short", b"\0" * 100, b"kioskd-flight-0\n".ljust(SIZE, b"?"), b"x" * SIZE])
def test_a_file_that_is_no_ring_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ring"
    path.write_bytes(content)
    ring = Ring(path, SIZE)
    ring.append(b"new")
    assert texts(find(read(path)).records) == [b"new"]
    assert (tmp_path / "ring.unreadable").read_bytes() == content


def test_a_second_writer_is_turned_away(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", SIZE)
    with pytest.raises(RingError, match="another kioskd"):
        Ring(tmp_path / "ring", SIZE)
    ring.append(b"mine")
    assert texts(find(read(tmp_path / "ring")).records) == [b"mine"]


def test_what_can_not_be_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(RingError, match="file"):
        Ring(tmp_path / "file" / "ring", SIZE)
    with pytest.raises(RingError):
        read(tmp_path / "none")

    def full(*what: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RingError, match="No space left"):
        Ring(tmp_path / "ring", SIZE)


def test_the_space_is_taken_at_once(tmp_path: Path) -> None:
    Ring(tmp_path / "ring", 1 << 20)
    assert (tmp_path / "ring").stat().st_blocks * 512 >= 1 << 20, "a full file system must not kill by SIGBUS later"


def test_a_record_that_is_too_long_changes_nothing(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", 1 << 20)
    ring.append(b"before")
    with pytest.raises(ValueError, match="65536"):
        ring.append(b"x" * (LONGEST + 1))
    assert texts(find(ring.copy()).records) == [b"before"]
