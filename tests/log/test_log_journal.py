"""The log: what the journal gets, and that it never gets too much."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd import landmarks, log
from kioskd.config.schema import LogLevel


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.setblocking(False)
        yield listening


def logger_to(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("kioskd.test", logging.DEBUG)
    logger.addHandler(handler)
    return logger


def fields(entry: bytes) -> dict[str, str]:
    """Of the native protocol, both of its forms."""
    found = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[9 + size :]
        found[name.decode()] = value.decode()
    return found


def test_an_entry_has_text_priority_and_the_number_of_its_event(journal: socket.socket, tmp_path: Path) -> None:
    logger_to(log.JournalHandler(str(tmp_path / "journal"))).warning("a\nb = %d", 3, extra=landmarks.FAULT)
    found = fields(journal.recv(65536))
    assert found["MESSAGE"] == "a\nb = 3" and found["PRIORITY"] == "4"
    assert found["MESSAGE_ID"] == landmarks.FAULT[landmarks.FIELD]
    assert found["SYSLOG_IDENTIFIER"] == "kioskd"


def test_a_journal_that_does_not_read_stops_nothing(journal: socket.socket, tmp_path: Path) -> None:
    logger = logger_to(log.JournalHandler(str(tmp_path / "journal")))
    for number in range(2000):
        logger.info("%d", number)
    assert fields(journal.recv(65536))["MESSAGE"] == "0"


def test_a_journal_that_was_restarted_gets_what_follows(journal: socket.socket, tmp_path: Path) -> None:
    logger = logger_to(log.JournalHandler(str(tmp_path / "journal")))
    journal.close()
    (tmp_path / "journal").unlink()
    logger.info("lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "journal"))
        again.setblocking(False)
        logger.info("found")
        assert fields(again.recv(65536))["MESSAGE"] == "found"


def test_each_event_has_a_number_of_its_own() -> None:
    numbers = [value[landmarks.FIELD] for name, value in vars(landmarks).items() if name.isupper() and name != "FIELD"]
    assert len(set(numbers)) == len(numbers) >= 8
    assert all(re.fullmatch("[0-9a-f]{32}", number) for number in numbers)


class Now:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def test_lines_of_one_kind_are_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now, logger, told = Now(), logging.Logger("kioskd.test"), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(log.NotTooOften(now))
    logger.addHandler(handler)
    for number in range(100):
        logger.warning("again: %d", number)
    logger.warning("another")
    now.time += log.WINDOW_S
    logger.warning("again: %d", 100)
    assert told == [
        *(f"again: {number}" for number in range(log.LIKE_LINES)),
        "another",
        f"again: 100 ({100 - log.LIKE_LINES} more like this were left out)",
    ]


def test_without_a_journal_each_event_is_one_line_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # inherited: somebody else's
    before = logging.getLogger().handlers[:]
    try:
        log.set_up(LogLevel.INFO)
        logging.getLogger("kioskd.test").info("one\ntwo")
        logging.getLogger("kioskd.test").debug("not told")
    finally:
        logging.basicConfig(handlers=before, force=True)
    told = capsys.readouterr().err
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    one \| two\n", told)


@pytest.mark.parametrize("ours", [True, False])
def test_the_journal_is_known_by_device_and_inode(
    ours: bool, journal: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = logging.getLogger().handlers[:]
    monkeypatch.setattr(log, "JOURNAL", str(tmp_path / "journal"))
    with (tmp_path / "stream").open("w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + (not ours)}")
        try:
            log.set_up(LogLevel.INFO)
            logging.getLogger("kioskd.test").error("here")
        finally:
            logging.basicConfig(handlers=before, force=True)
        told = (tmp_path / "stream").read_text()
    if ours:
        assert told == "" and fields(journal.recv(65536))["PRIORITY"] == "3"
    else:
        assert "ERROR   here" in told
