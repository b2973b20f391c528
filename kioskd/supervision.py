"""Run a part for ever: a crash is told, counted, and followed by a restart with back-off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

FIRST_RESTART_S = 1.0
LONGEST_RESTART_S = 30.0  # a part that can't live must not keep the processor busy
STABLE_AFTER_S = 60.0  # a crash after so long is a new trouble, not the old one


async def supervise(name: str, run: Callable[[], Awaitable[None]], on_crash: Callable[[str], None]) -> None:
    """Run a part until cancelled. `on_crash` gets one line about each crash, before the restart."""
    crashes = 0
    while True:
        began = trio.current_time()
        try:
            await run()
            cause = "ended by itself"
        except Exception as error:  # the edge of a part: whatever went wrong in it must not end the others
            cause = f"crashed: {describe(error)}"
            log.debug("%s crashed", name, exc_info=True)
        if trio.current_time() - began > STABLE_AFTER_S:
            crashes = 0
        delay_s = min(FIRST_RESTART_S * 2.0 ** min(crashes, 16), LONGEST_RESTART_S)
        crashes += 1
        log.error("%s %s; restart %d in %.0f s", name, cause, crashes, delay_s)
        on_crash(f"{name} {cause}")
        await trio.sleep(delay_s)


def describe(error: BaseException) -> str:
    """The innermost cause, in one line."""
    error = innermost(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def innermost(error: BaseException) -> BaseException:
    """The first error that is no group: nurseries wrap what is raised in them, layer by layer."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
