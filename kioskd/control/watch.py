"""`kioskd status --watch`: the status live on a terminal, or a line a change where there is none."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kioskd.control.client import ControlError, RefusalError, Stream
from kioskd.control.screen import Status, one_line, screen

if TYPE_CHECKING:
    from rich.text import Text

REFRESH_S = 0.25  # a level that moves, over a slow line too: 2 KiB a time
LOOK_S = 1.0  # for a change, where only changes are written
RETRY_S = 1.0  # for a kioskd that is being restarted

_COLOURS = {"healthy": "bold green", "degraded": "bold yellow", "unhealthy": "bold red"}
_HINT = "q: quit"


class RichMissingError(Exception):
    """The package that draws is not installed; the message says how it is."""


def follow_lines(path: Path | None, out: TextIO, once_more: Callable[[], bool] = lambda: True) -> None:
    """A line with the time for each change, while `once_more`. Raises ControlError if kioskd isn't there at first."""
    last = ""
    for told in _statuses(path, LOOK_S, lambda timeout_s: False):
        line = told if isinstance(told, str) else one_line(told)
        if line != last:
            print(f"{time.strftime('%H:%M:%S')} {line}", file=out, flush=True)
            last = line
        if not once_more():
            return


def follow_screen(path: Path | None) -> None:
    """The screen, drawn anew four times a second, until q. Raises RichMissingError, ControlError as `follow_lines`."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise RichMissingError("without the package rich (pip install 'kioskd[watch]') a line a change:") from None

    console = Console()
    with _keys() as pressed_q:
        statuses = _statuses(path, REFRESH_S, pressed_q)
        first = next(statuses, None)  # before the screen is taken: a complaint must stay on it
        if first is None:
            return
        live = Live(_drawn(first), console=console, screen=True, auto_refresh=False)
        try:
            live.start(refresh=True)  # within: also a Ctrl-C at the first draw gives the screen back
            for told in statuses:
                live.update(_drawn(told), refresh=True)
        finally:
            live.stop()


def _statuses(path: Path | None, interval_s: float, quit: Callable[[float], bool]) -> Iterator[Status | str]:
    """One status after the other, or in words why there is none just now. Ends when `quit` says so.

    `quit` is asked after each, and may take up to the seconds that it is given.

    A kioskd that goes away is waited for: restarts are what one wants to see. One that was never there is an error.
    """
    seen = False
    while True:
        try:
            with Stream(path, "watch", interval_s=interval_s) as stream:
                for status in stream:
                    seen = True
                    yield status
                    if quit(0.0):
                        return
            words = "kioskd has gone; waiting for it"
        except RefusalError:
            raise
        except ControlError as error:
            if not seen:
                raise
            words = str(error)
        yield words
        began = time.monotonic()
        if quit(RETRY_S):
            return
        time.sleep(max(0.0, began + RETRY_S - time.monotonic()))


def _drawn(told: Status | str) -> Text:
    from rich.text import Text

    if isinstance(told, str):
        return Text(f"{told}\n\n{_HINT}")
    head, *rows = screen(told)
    text = Text(no_wrap=True)
    text.append(head, style=_COLOURS.get(told["health"], ""))
    for row in rows:
        stale = row.startswith(("fault ", "vitals")) and ("STALE" in row or row.startswith("fault "))
        text.append("\n" + row, style="red" if stale or "NOT THERE" in row else "")
    if len(rows) < 22:
        text.append(f"\n\n{_HINT}", style="dim")
    return text


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Asks whether q was pressed within so many seconds; the terminal gives keys at once, and doesn't show them."""
    if not sys.stdin.isatty():
        yield lambda timeout_s: False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed_q(timeout_s: float) -> bool:
        while select.select([descriptor], [], [], timeout_s)[0]:
            key = os.read(descriptor, 1)
            if not key or key in b"qQ":
                return True
            timeout_s = 0.0
        return False

    tty.setcbreak(descriptor)
    try:
        yield pressed_q
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
