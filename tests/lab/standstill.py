"""Loaded into the installed daemon as `sitecustomize`: makes the task of a vital stand still, for ever.

A part without a thread of its own can't be stopped from outside. `/run/standstill/now` holds "PID VITAL".
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

ORDER = Path("/run/standstill/now")


def watch() -> None:
    while True:
        time.sleep(0.5)
        try:
            pid, vital = ORDER.read_text().split()
        except (OSError, ValueError):
            continue
        if int(pid) == os.getpid():
            {"link": link, "panel": panel}[vital]()
            return


async def stand_still(*arguments: Any) -> None:
    import trio

    await trio.sleep_forever()


def link() -> None:
    """From the next connection on; whoever ordered it ends the present one."""
    sys.modules["kioskd.endpoints.realtime"].RealtimeEndpoint._connect_and_serve = stand_still  # type: ignore[attr-defined]


def panel() -> None:
    """The board is opened anew, and then nobody reads it."""
    import trio

    kind = sys.modules["kioskd.panel.panel"].Panel
    kind._serve = stand_still  # type: ignore[attr-defined]
    panels = [each for each in gc.get_objects() if isinstance(each, kind)]
    tokens = [each for each in gc.get_objects() if isinstance(each, trio.lowlevel.TrioToken)]

    def open_anew() -> None:
        for each in panels:
            each._other_pins.set()
            each._wake.set()

    tokens[0].run_sync_soon(open_anew)


threading.Thread(target=watch, daemon=True).start()
