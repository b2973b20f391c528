"""kioskd simulate: the embedded endpoint, on loopback."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.commands import exits

if TYPE_CHECKING:
    from kioskd.simulator.settings import SimulatorSettings

HELP = "run the embedded Realtime endpoint on loopback: it understands a FAQ, and speaks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--port, --dialect, --key-file, --faq, --record."""
    parser.add_argument("--port", type=int, default=8900, metavar="N", help="TCP port (8900; 0: any free one)")
    parser.add_argument("--dialect", choices=("ga", "beta"), default="ga", help="the vocabulary it speaks (ga)")
    parser.add_argument("--key-file", type=Path, metavar="F", help="take only the key in this file (default: any key)")
    parser.add_argument("--faq", type=Path, metavar="F", help="the questions that it understands (the demo's)")
    parser.add_argument("--record", type=Path, metavar="DIR", help="write heard-N.wav and sent-N.wav there")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from kioskd import log
    from kioskd.config.schema import KeySource, LogLevel
    from kioskd.config.secrets import KeyUnavailable, read_key
    from kioskd.supervision import innermost

    try:
        import trio

        from kioskd.local.hear import RecogniserError
        from kioskd.simulator.settings import SimulatorError, SimulatorSettings
    except ImportError as error:
        remedy = "install kioskd with its extra: pip install 'kioskd[simulator]'"
        return exits.complain(f"kioskd simulate needs the package {error.name}; {remedy}", exits.FAILED)
    log.set_up(LogLevel.INFO)
    try:
        key = read_key(KeySource(file=str(options.key_file.absolute())), {}) if options.key_file else None
        settings = SimulatorSettings(
            port=options.port, dialect=options.dialect, key=key, faq=options.faq, record=options.record
        )
        trio.run(_serve_until_signal, settings)
    except* (SimulatorError, KeyUnavailable, RecogniserError) as group:
        failure = str(innermost(group))
    else:
        return exits.OK
    return exits.complain(failure, exits.FAILED)


async def _serve_until_signal(settings: SimulatorSettings) -> None:
    import trio

    from kioskd.simulator.server import serve

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, settings)
            print(f"listening on ws://{settings.host}:{port}/v1/realtime ({settings.dialect.value})", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
