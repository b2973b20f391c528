"""kioskd simulate: the embedded endpoint, on loopback."""

from __future__ import annotations

import argparse
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.commands import exits

if TYPE_CHECKING:
    from kioskd.simulator.faults.script import FaultScript
    from kioskd.simulator.settings import SimulatorSettings

BOTH = "both"  # each client has the one that it asks for, as relays do
NO_DNS = (
    "no server can make a dns-failure: delete it, and give the kiosk a host name that doesn't exist (nowhere.invalid)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--port, --dialect, --key-file, --faq, --record, --faults."""
    parser.add_argument("--port", type=int, default=8900, metavar="N", help="TCP port (8900; 0: any free one)")
    parser.add_argument("--dialect", choices=("ga", "beta", BOTH), default="ga", help="the vocabulary it speaks (ga)")
    parser.add_argument("--key-file", type=Path, metavar="F", help="take only the key in this file (default: any key)")
    parser.add_argument("--faq", type=Path, metavar="F", help="the questions that it understands (the demo's)")
    parser.add_argument("--record", type=Path, metavar="DIR", help="write heard-N.wav and sent-N.wav there")
    parser.add_argument("--faults", type=Path, metavar="F", help="what is to go wrong, as in config/demo-faults.yaml")
    parser.add_argument("--list-faults", action="store_true", help="print all that can go wrong, and exit")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from kioskd import log
    from kioskd.config.schema import KeySource, LogLevel
    from kioskd.config.secrets import KeyUnavailable, read_key
    from kioskd.supervision import innermost

    try:
        import trio

        from kioskd.config.problems import SettingsError
        from kioskd.local.hear import RecogniserError
        from kioskd.simulator import server  # noqa: F401  (whose packages are an extra)
        from kioskd.simulator.faults.script import load_script
        from kioskd.simulator.settings import SimulatorError, SimulatorSettings
    except ImportError as error:
        package = str(error.name).partition(".")[0]
        remedy = "install kioskd with its extra: pip install 'kioskd[simulator]'"
        return exits.complain(f"kioskd simulate needs the package {package}; {remedy}", exits.FAILED)
    if options.list_faults:
        return _list_faults()
    log.set_up(LogLevel.INFO)
    code = exits.FAILED
    try:
        faults = load_script(options.faults) if options.faults else None
        if faults is not None and faults.makes("dns-failure"):
            return exits.complain(f"{options.faults}: {NO_DNS}", exits.BAD_SETTINGS)
        key = read_key(KeySource(file=str(options.key_file.absolute())), {}) if options.key_file else None
        settings = SimulatorSettings(
            port=options.port,
            dialect="ga" if options.dialect == BOTH else options.dialect,
            both=options.dialect == BOTH,
            key=key,
            faq=options.faq,
            record=options.record,
        )
        trio.run(_serve_until_signal, settings, faults)
    except* SettingsError as group:
        failure, code = str(innermost(group)), exits.BAD_SETTINGS
    except* (SimulatorError, KeyUnavailable, RecogniserError) as group:
        failure = str(innermost(group))
    else:
        return exits.OK
    return exits.complain(failure, code)


def _list_faults() -> int:
    from kioskd.simulator.faults.catalogue import ALL_KINDS

    for name, kind in ALL_KINDS.items():
        phases = ", ".join(sorted(phase.value for phase in kind.phases))
        print(f"{kind.level.value:8} {name:28} {kind.summary} ({phases})")
    return exits.OK


async def _serve_until_signal(settings: SimulatorSettings, faults: FaultScript | None) -> None:
    import trio

    from kioskd.simulator.faults.catalogue import Level
    from kioskd.simulator.server import serve
    from kioskd.simulator.text.doors import addresses

    proxied = faults is not None and faults.has(Level.NETWORK)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve, settings, faults=faults, proxied=proxied))
            spoken = BOTH if settings.both else settings.dialect.value
            print(f"listening on ws://{settings.host}:{port}/v1/realtime ({spoken})", flush=True)
            for address in addresses(settings.host, port):
                print(f"  {address}", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
