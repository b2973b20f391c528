"""A client in a process of its own: `python -m kioskd.bench.worker KIND PLAN`. Lines of orders in, of JSON out.

Orders: `turn SECONDS`, `idle SECONDS`, `rss`, and, for the kiosk, `delays` and `outage SECONDS`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from kioskd.bench.plan import Plan
from kioskd.bench.process import Meter, rss_mb

Sleep = Callable[[float], Awaitable[None]]
Order = Callable[..., Awaitable[dict[str, float]]]


def main() -> None:
    """Connect, say so, and obey until stdin ends."""
    kind, plan = sys.argv[1], Plan(**json.loads(sys.argv[2]))
    run = {"floor": _floor, "drain": _drain, "kiosk": _kiosk, "stamped": _stamped, "openai": _sdk, "websockets": _plain}
    run[kind](plan)


def _say(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)


def _floor(plan: Plan) -> None:
    from kioskd.bench.floor import Floor

    client = Floor(plan)
    _say({})
    for line in sys.stdin:
        what, *numbers = line.split()
        if what == "turn":
            _say(client.turn(float(numbers[0])))
        else:
            _say(_idle(what, *numbers))


def _drain(plan: Plan) -> None:
    """The microphone of an idle kiosk, read and thrown away; ten naps a second, as the kiosk takes them."""
    from kioskd.bench.sound import Drain

    drain = Drain(plan.microphone, 0.1)
    _say({})
    for line in sys.stdin:
        seconds = float(line.split()[1])
        meter = Meter()
        drain.run(seconds)
        _say(_idled(meter, seconds))


def _idle(what: str, *numbers: str) -> dict[str, float]:
    if what == "rss":
        return {"rss_mb": rss_mb()}
    meter, seconds = Meter(), float(numbers[0])
    time.sleep(seconds)
    return _idled(meter, seconds)


def _idled(meter: Meter, seconds: float) -> dict[str, float]:
    cpu_ms, server_ms = meter.spent()
    return {"cpu_ms": cpu_ms, "server_ms": server_ms, "s": seconds}


def _sdk(plan: Plan) -> None:
    from kioskd.bench.others import SdkWire

    _on_asyncio(plan, SdkWire.connect)


def _plain(plan: Plan) -> None:
    from kioskd.bench.others import PlainWire

    _on_asyncio(plan, PlainWire.connect)


def _on_asyncio(plan: Plan, connect: Callable[[Plan], Awaitable[Any]]) -> None:
    import asyncio

    from kioskd.bench.others import AsyncClient

    async def run() -> None:
        client = AsyncClient(plan, await connect(plan))

        async def idle(seconds: str) -> dict[str, float]:
            meter = Meter()
            await asyncio.sleep(float(seconds))
            return _idled(meter, float(seconds))

        _say({})
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, *numbers = line.split()
            if what == "turn":
                _say(await client.turn(float(numbers[0])))
            else:
                _say({"rss_mb": rss_mb()} if what == "rss" else await idle(*numbers))

    asyncio.run(run())


def _kiosk(plan: Plan) -> None:
    _on_trio(plan, stamped=False)


def _stamped(plan: Plan) -> None:
    _on_trio(plan, stamped=True)


def _on_trio(plan: Plan, stamped: bool) -> None:
    import trio

    from kioskd import heap, log
    from kioskd.bench.control import Control
    from kioskd.bench.kiosk import Kiosk
    from kioskd.bench.profiling import profiled

    async def run() -> None:
        heap.keep_small()  # as `composition.serve` does
        kiosk, control = Kiosk(plan, stamped), Control(plan.control)
        log.set_up(kiosk.settings.log.level)

        async def idle(seconds: float) -> dict[str, float]:
            meter = Meter()
            await trio.sleep(seconds)
            return _idled(meter, seconds)

        async def rss() -> dict[str, float]:
            return {"rss_mb": rss_mb()}

        orders: dict[str, Order] = {
            "turn": kiosk.turn,
            "idle": idle,
            "rss": rss,
            "delays": lambda: kiosk.delays(control),
            "outage": lambda seconds: kiosk.outage(control, seconds),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kiosk.daemon.run)
            await kiosk.ready()
            with profiled(plan.profile):
                _say({})
                while line := await trio.to_thread.run_sync(sys.stdin.readline):
                    what, *numbers = line.split()
                    _say(await orders[what](*map(float, numbers)))
            nursery.cancel_scope.cancel()

    trio.run(run)


if __name__ == "__main__":
    main()
