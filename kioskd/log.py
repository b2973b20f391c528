"""The log: to the journal in its own protocol where systemd reads it, else one line an event on standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator

from attrs import define

from kioskd.config.schema import LogLevel
from kioskd.landmarks import FIELD

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
CHATTY = (
    "trio_websocket",
    "trio-websocket",
    "hypercorn",
    "gpiozero",
    "httpx",
)  # what they tell below WARNING is theirs
JOURNAL = "/run/systemd/journal/socket"
LIKE_LINES = 20  # of one kind in a minute; more tell nothing new, and an SD card would take them all
WINDOW_S = 60.0
KINDS_MAX = 500  # of lines that are told apart: kioskd itself has some hundred
MESSAGE_BYTES_MAX = 4096  # a datagram takes 200 KiB, but no line of a log for people is as long as that


class JournalHandler(logging.Handler):
    """Entries with priority and MESSAGE_ID, by https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.

    Never waits: a journal that doesn't read loses the entry, and the kiosk goes on.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError where nothing listens at `path`."""
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send it."""
        try:
            entry = entry_of(record, self.format(record))
        except Exception:  # the edge of logging: a bad log call must not end what logs
            self.handleError(record)
            return
        try:
            self._socket.send(entry)
        except BlockingIOError:
            return
        except OSError:  # journald was restarted
            with contextlib.suppress(OSError):
                self._socket.connect(self._path)
                self._socket.send(entry)

    def close(self) -> None:
        """See logging."""
        self._socket.close()
        super().close()


def entry_of(record: logging.LogRecord, text: str) -> bytes:
    """The datagram that the journal is sent."""
    return b"".join(_fields(record, text))


def _fields(record: logging.LogRecord, text: str) -> Iterator[bytes]:
    message = text.encode("utf-8", "replace")[:MESSAGE_BYTES_MAX]
    yield b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n"
    yield f"PRIORITY={PRIORITIES.get(record.levelno, 6)}\n".encode()
    yield b"SYSLOG_IDENTIFIER=kioskd\n"
    yield f"LOGGER={record.name}\n".encode()
    if number := getattr(record, FIELD, None):
        yield f"MESSAGE_ID={number}\n".encode()


@define(eq=False, repr=False)
class _Tally:
    since: float
    told: int = 0
    left_out: int = 0


class NotTooOften(logging.Filter):
    """Lets `LIKE_LINES` lines of one kind (the same words in the code) pass in `WINDOW_S`, and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._tallies: dict[tuple[str, int, object], _Tally] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging."""
        if record.levelno >= logging.CRITICAL:
            return True
        now = self._clock()
        kind = (record.name, record.levelno, record.msg)
        tally = self._tallies.get(kind)
        if tally is None or now - tally.since >= WINDOW_S:
            left_out = tally.left_out if tally is not None else 0
            if len(self._tallies) >= KINDS_MAX:
                self._tallies.clear()
            self._tallies[kind] = tally = _Tally(now)
            if left_out:
                record.msg, record.args = f"{record.getMessage()} ({left_out} more like this were left out)", ()
        tally.told += 1
        if tally.told <= LIKE_LINES:
            return True
        tally.left_out += 1
        return False


class OneLine(logging.Formatter):
    """A journal entry, and a line of a file, end at a line break."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        return super().format(record).replace("\n", " | ")


def set_up(level: LogLevel) -> None:
    """Send everything from `level` up to the journal or standard error."""
    handler = _handler()
    handler.addFilter(NotTooOften())
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _handler() -> logging.Handler:
    handler: logging.Handler
    if _is_journal():
        with contextlib.suppress(OSError):
            handler = JournalHandler(JOURNAL)
            handler.setFormatter(OneLine("%(message)s"))
            return handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    return handler


def _is_journal() -> bool:
    """Whether standard error leads into the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
