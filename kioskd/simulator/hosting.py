"""The simulator as a program of its own: `kioskd simulate`."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import trio

from kioskd.simulator.server import serve
from kioskd.simulator.settings import SimulatorError, SimulatorSettings


class HostingError(Exception):
    """The simulator can't run; the message says why and what to do."""


def run(port: int, dialect: str, key_file: Path | None, faq: Path | None, record: Path | None) -> None:
    """Serve on loopback until SIGTERM or SIGINT. Raises `HostingError`."""
    settings = SimulatorSettings(port=port, dialect=dialect, key=_key(key_file), faq=faq, record=record)
    try:
        trio.run(_until_signalled, settings)
    except BaseExceptionGroup as group:
        refused, broken = group.split(SimulatorError)
        if refused is None or broken is not None:
            raise
        raise HostingError("\n".join(str(error) for error in _leaves(refused))) from None


async def _until_signalled(settings: SimulatorSettings) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve, settings))
            print(f"ws://{settings.host}:{port}/v1/realtime", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HostingError(f"{file}: the key can't be read: {error}") from None
    if not key:
        raise HostingError(f"{file}: holds no key; write one into it, or leave out --key-file to take any")
    return key


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
