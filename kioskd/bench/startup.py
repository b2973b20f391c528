"""From nothing to an open session, in a fresh process.

`python -m kioskd.bench.startup bare|kiosk|openai PORT CA SETTINGS MICROPHONE SPEAKER` prints the processor time until
then and the memory a while later, when both clients have a microphone and a speaker open. At its top it imports nothing
that costs.
"""

import os
import sys

from kioskd.bench.process import cpu_ms, rss_mb

SETTLE_S = 1.5  # devices are open, what start-up needed is freed


def bare() -> None:
    """The interpreter alone."""
    _tell(cpu_ms())


def kiosk(settings_file: str) -> None:
    """`kioskd run` until its link is up, on a sound server and gpiozero's mock pins."""
    import kioskd.__main__  # noqa: F401 - it finds the subcommand
    from kioskd import heap

    heap.collect_seldom()  # as `commands.run` does
    from kioskd.config.load import load

    settings = load(settings_file)

    import trio

    from kioskd import composition, log
    from kioskd.dialogue.effects import Effect
    from kioskd.dialogue.events import Event, Link, LinkChanged

    log.set_up(settings.log.level)
    _use_mock_pins()

    async def run() -> None:
        heap.keep_small()  # as `composition.serve` does
        daemon = composition.build_daemon(settings)
        up = trio.Event()

        def see(what: Event | Effect, now: float) -> None:
            if isinstance(what, LinkChanged) and what.link is Link.UP:
                up.set()

        daemon.observe(composition.TurnLog(settings.log))
        daemon.observe(see)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run)
            await up.wait()
            spent_ms = cpu_ms()
            await trio.sleep(SETTLE_S)
            _tell(spent_ms)

    trio.run(run)


def _use_mock_pins() -> None:
    """Made here: by its name gpiozero looks for it in all packages that are installed. A Pi's lgpio it knows."""
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    Device.pin_factory = MockFactory()


def openai(port: str, ca: str, microphone: str, speaker: str) -> None:
    """The `openai` package's realtime client, connected; then with devices, and with the package's helpers for them."""
    import asyncio
    import ssl

    from openai import AsyncOpenAI

    async def run() -> None:
        client = AsyncOpenAI(api_key="a-key-for-loopback", websocket_base_url=f"wss://127.0.0.1:{port}/v1")
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=ca)
        async with client.realtime.connect(
            model="bench",
            websocket_connection_options={"ssl": context},  # type: ignore[typeddict-unknown-key]
        ) as connection:
            await connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
            async for event in connection:
                if event.type == "session.updated":
                    break
            spent_ms = cpu_ms()
            devices = _open(microphone, speaker)
            await asyncio.sleep(SETTLE_S)
            client_mb = rss_mb()
            import openai.helpers  # its own microphone and player, and with them numpy: the extra voice-helpers

            assert all((*devices, openai.helpers.Microphone))
            _tell(spent_ms, client_mb=client_mb)

    asyncio.run(run())


def _open(microphone: str, speaker: str) -> list[object]:
    import alsaaudio

    how = {"rate": 24_000, "channels": 1, "format": alsaaudio.PCM_FORMAT_S16_LE, "periodsize": 480}
    capture = alsaaudio.PCM(type=alsaaudio.PCM_CAPTURE, mode=alsaaudio.PCM_NONBLOCK, device=microphone, **how)
    capture.read()  # starts it
    return [capture, alsaaudio.PCM(type=alsaaudio.PCM_PLAYBACK, device=speaker, **how)]


def _tell(spent_ms: float, client_mb: float | None = None) -> None:
    memory_mb = rss_mb()
    print(f'{{"cpu_ms": {spent_ms}, "rss_mb": {memory_mb}, "client_mb": {client_mb or memory_mb}}}', flush=True)
    os._exit(0)  # what a goodbye costs is not asked


if __name__ == "__main__":
    what, port_, ca_, settings_, *devices_ = sys.argv[1:]
    if what == "kiosk":
        kiosk(settings_)
    elif what == "openai":
        openai(port_, ca_, *devices_)
    else:
        bare()
