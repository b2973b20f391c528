"""The log: one line an event on standard error, with the journal's priorities where systemd reads it."""

from __future__ import annotations

import logging
import os
import sys

from kioskd.config.schema import LogLevel

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
CHATTY = (
    "trio_websocket",
    "trio-websocket",
    "hypercorn",
    "gpiozero",
    "httpx",
)  # what they tell below WARNING is theirs


class JournalFormatter(logging.Formatter):
    """`<priority>` before the text (sd-daemon(3)); the journal adds time and name itself."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: a journal entry ends at a line break."""
        text = super().format(record).replace("\n", " | ")
        return f"<{PRIORITIES.get(record.levelno, 6)}>{text}"


def set_up(level: LogLevel) -> None:
    """Send everything from `level` up to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
