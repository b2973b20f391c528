"""The ledger: killed or cut off at any write it loses no turn but the one in flight, and counts none twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from spend_parts import at, booking

from kioskd.spend import ledger as room
from kioskd.spend.ledger import Ledger, LedgerDisk, LedgerError, read, summed
from kioskd.spend.lines import Booking, DaySum, Line, Note, decode, decode_all, encode, settled
from kioskd.spend.prices import Amounts

DAY_S = 86400.0


class Killed(BaseException):
    """As SIGKILL would: nothing more is done."""


class Mortal(LedgerDisk):
    """Is killed at a step, or within an append after so many bytes."""

    def __init__(self, steps: int, of_append: float = 0.0) -> None:
        self.left = steps
        self.of_append = of_append

    def _step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def append(self, path: Path, content: bytes) -> None:
        if self.left == 0 and self.of_append:
            super().append(path, content[: int(len(content) * self.of_append)])
            raise Killed
        self._step()
        super().append(path, content)

    def write(self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        if self.left == 0 and self.of_append:
            super().write(path, content[: int(len(content) * self.of_append)], mode, owner)
            raise Killed
        self._step()
        super().write(path, content, mode, owner)

    def sync(self, path: Path) -> None:
        self._step()
        super().sync(path)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def make_directory(self, path: Path) -> None:
        self._step()
        super().make_directory(path)


def total(lines: list[Line]) -> int:
    return sum(line.net for line in lines if not isinstance(line, Note))


def work(directory: Path, disk: LedgerDisk, days: int) -> Iterator[int]:
    """One turn a day, each a power of two; what each is once it is written."""
    ledger = Ledger(directory, disk)
    ledger.open()
    for day in range(days):
        ledger.append(booking(2**day, at(day * DAY_S)))
        yield 2**day


@pytest.mark.parametrize("of_append", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_killed_at_every_write_it_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_append: float
) -> None:
    monkeypatch.setattr(room, "MAX_FILES", 2)  # so that sums are made, too
    days, step, finished = 6, 0, False
    while not finished:
        directory = tmp_path / f"{step}-{of_append}"
        safe = 0
        try:
            for cost in work(directory, Mortal(step, of_append), days):
                safe += cost
            finished = True
        except Killed:
            pass
        in_flight = safe + 1 if safe < 2**days - 1 else 0
        assert total(read(directory)) in (safe, safe + in_flight), f"killed at step {step}"
        ledger = Ledger(directory)
        found = ledger.open()
        before = total(found)
        assert before in (safe, safe + in_flight), f"opened after step {step}"
        ledger.append(booking(2**20, at(99 * DAY_S)))
        assert total(read(directory)) == before + 2**20, f"after step {step}"
        step += 1
    assert step > 30


def test_a_real_process_is_killed_and_every_turn_that_it_told_of_is_there(tmp_path: Path) -> None:
    script = (
        "import sys, itertools; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from spend_parts import at, booking; from kioskd.spend.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1])); ledger.open()\n"
        "for n in itertools.count(1):\n"
        "    ledger.append(booking(1, at(n))); print(n, flush=True)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "spend"), str(Path(__file__).parent)]
    for kills in (1, 2, 3):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [next(process.stdout) for _ in range(20 * kills)]
            os.kill(process.pid, signal.SIGKILL)
            told += list(process.stdout)
        found = read(tmp_path / "spend")
        assert len({line.number for line in found}) == len(found)
        if kills == 1:
            base = 0
        assert total(found) - base in (len(told), len(told) + 1)
        base = total(found)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_a_line_that_was_damaged_is_never_another_one(junk: bytes, place: int, byte: int) -> None:
    line = booking(123, at(0), number=7)
    whole = encode(line)
    damaged = bytearray(whole)
    damaged[place % (len(whole) - 1)] = byte
    assert decode(bytes(damaged)) in (None, line)
    assert decode(whole[: place % len(whole)]) in (None, line)
    assert [each for each in decode_all(junk + b"\n" + whole + junk) if each == line] in ([line], [])
    assert line in list(decode_all(junk.replace(b"\n", b"") + b"\n" + whole))


@pytest.mark.parametrize(
    "line",
    [
        booking(5, at(0), number=1, estimated=True, reverses=3, wait_ms=700),
        Note(2, at(0), "lobby is left: a cap \u2014 \u00e4\n"),
        DaySum(3, 1, "2026-11-21", at(0), "a", "m", Amounts(1, 2, 3, 4, 5, 6, 7, 8, 9), 12, "EUR", 3, 1),
    ],
)
def test_what_was_written_is_read(line: Line) -> None:
    assert decode(encode(line)) == line and encode(line).count(b"\n") == 1


def test_a_day_is_a_file_and_the_oldest_become_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_FILES", 3)
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    for day in range(10):
        ledger.append(booking(1, at(day * DAY_S)), booking(10, at(day * DAY_S), endpoint="spare"))
    assert len(list((tmp_path / "spend").glob("0*.log"))) == 3
    lines = read(tmp_path / "spend")
    assert total(lines) == 110 and sum(isinstance(line, DaySum) for line in lines) == 14
    assert sum(line.net for line in lines if not isinstance(line, Note) and line.endpoint == "spare") == 100


def test_a_file_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_FILE_BYTES", 1000)
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    for _ in range(30):
        ledger.append(booking(1, at(0)))
    sizes = [path.stat().st_size for path in (tmp_path / "spend").glob("*.log")]
    assert max(sizes) < 1500 and total(read(tmp_path / "spend")) == 30


def test_a_clock_that_jumps_makes_no_name_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    for jump_days in (0, 400, -9000, 0, 400, -9000):
        ledger.append(booking(1, at(0, jump_s=jump_days * DAY_S)))
    lines = read(tmp_path / "spend")
    assert total(lines) == 6 and [line.number for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_disk_that_is_full_loses_nothing_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    ledger.append(booking(1, at(0)))
    real = os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) > 20:
            return real(descriptor, content[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LedgerError, match="full: make room"):
        ledger.append(booking(2, at(1)))
    monkeypatch.setattr(os, "write", real)
    ledger.append(booking(2, at(1)), booking(4, at(2)))
    assert total(read(tmp_path / "spend")) == 7


class Full(LedgerDisk):
    """Has room for lines, and none for sums."""

    def write(self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        raise OSError(28, "No space left on device", str(path))


def test_sums_that_cannot_be_written_cost_nothing_and_are_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_FILES", 2)
    directory = tmp_path / "spend"
    for start in (0, 1):
        ledger = Ledger(directory, Full())
        assert total(ledger.open()) == 4 * start
        for day in range(4):
            ledger.append(booking(1, at((4 * start + day) * DAY_S)))
    assert total(read(directory)) == 8 and not (directory / room.SUMS).exists()
    ledger = Ledger(directory)
    assert total(ledger.open()) == 8
    assert total(read(directory)) == 8 and len(list(directory.glob("0*.log"))) == 2


def test_many_starts_a_day_are_one_file(tmp_path: Path) -> None:
    for start in range(room.MAX_FILES * 2):
        ledger = Ledger(tmp_path / "spend")
        ledger.open()
        ledger.append(booking(1, at(start)))
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    ledger.append(booking(1, at(2 * DAY_S)))
    assert [len(path.read_bytes().splitlines()) for path in sorted((tmp_path / "spend").glob("*.log"))] == [128, 1]
    assert total(read(tmp_path / "spend")) == 129


@pytest.mark.parametrize("torn", [b"1234abcd {", b"1234abcd {}\n", b"\0" * 64])
def test_behind_a_torn_end_nothing_is_written(tmp_path: Path, torn: bytes) -> None:
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    ledger.append(booking(1, at(0)))
    (file,) = (tmp_path / "spend").glob("*.log")
    file.write_bytes(file.read_bytes() + torn)
    ledger = Ledger(tmp_path / "spend")
    ledger.open()
    ledger.append(booking(2, at(1)))
    assert file.read_bytes().endswith(torn) and total(read(tmp_path / "spend")) == 3


def test_what_cannot_be_read_is_told_with_its_remedy(tmp_path: Path) -> None:
    assert read(tmp_path / "nothing") == []
    (tmp_path / "spend").mkdir()
    (tmp_path / "spend" / "0000000001.log").mkdir()
    with pytest.raises(LedgerError, match="directory"):
        read(tmp_path / "spend")


@pytest.mark.parametrize("price", [100, 0])
def test_an_estimate_that_was_reversed_counts_once(price: int) -> None:
    guess = booking(price, at(0), number=1, estimated=True, amounts=Amounts(50))
    real = booking(30, at(5), number=2, reverses=price, amounts=Amounts(20), late=True)
    other = evolve(guess, number=3, turn=2)
    lines = [guess, real, other]
    assert sum(line.amounts.tokens for line in settled(lines) if isinstance(line, Booking)) == 70
    (day,) = summed(1, lines)
    assert (day.cost, day.turns, day.estimated, day.amounts.tokens) == (30 + price, 2, 1, 70)
    before = booking(30, at(5), number=2, reverses=100)  # as the version before wrote it
    assert before.corrects and b"late" not in encode(before) and decode(encode(real)) == real
