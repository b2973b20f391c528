"""The simulator on a port of this machine: hypercorn serves the WebSocket and the plain requests.

Connections are accepted here and given to hypercorn one by one, not by its `serve`: some broken requests raise through
it and end it with all its connections (0.18: a frame before the upgrade is accepted), and it can't be stopped while a
client doesn't read.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from attrs import define, evolve, field
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import wrap_app

from kioskd.config.places import shipped
from kioskd.local.faq import FaqError, load_faq
from kioskd.local.hear import Recogniser, RecogniserError
from kioskd.simulator.brain import Brain, FaqBrain
from kioskd.simulator.faults.gate import Gate
from kioskd.simulator.faults.script import FaultSource
from kioskd.simulator.observer import Observer, Unwatched
from kioskd.simulator.ports import listen, port_of
from kioskd.simulator.proxy import serve_proxy
from kioskd.simulator.recorder import Recorder
from kioskd.simulator.settings import SimulatorError, SimulatorSettings
from kioskd.simulator.web import Application

MAX_MESSAGE_BYTES = 16 * 2**20  # REALTIME.md: messages of 3.4 MB were seen
PING_S = 20.0  # as often as the real server
GOODBYE_S = 1.0  # for close frames on their way when the simulator stops
QUEUED_MESSAGES = 64  # of a client that aren't handled yet; then its socket isn't read
MAX_CLIENTS = 64  # a kiosk has one connection, or two while it renews a session
MAX_BODY_BYTES = 2**16  # of plain requests, which have none

_log = logging.getLogger(__name__)


async def serve(
    settings: SimulatorSettings,
    brain: Brain | None = None,
    observer: Observer | None = None,
    faults: FaultSource | None = None,
    *,
    proxied: bool = False,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with the port number. Without a `brain`, the one of `settings.faq`.

    Cancelled, it closes every conversation (1001) before it ends. Raises `SimulatorError`: the port is taken, the FAQ,
    the recogniser or the record directory can't be used. The `faults` of the network need `proxied`: then the port is
    a proxy's, the server is behind it on another one, and a goodbye doesn't get through.
    """
    async with _brain_for(settings, brain) as thinking:
        with Recorder.at(settings.record) as recorder:
            watching = observer or recorder or Unwatched()
            gate = Gate(faults, settings.dialect, watching) if faults is not None else None
            door = _Door(Application(settings, thinking, watching, gate))
            if gate is None or not proxied:
                await door.serve(settings, task_status)
                return
            async with trio.open_nursery() as nursery:
                port: int = await nursery.start(door.serve, evolve(settings, port=0))
                await serve_proxy(
                    settings.port,
                    (settings.host, port),
                    gate.faults,
                    host=settings.host,
                    phase_of=lambda peer: gate.phase_of((settings.host, peer)),
                    observer=watching,
                    task_status=task_status,
                )


@asynccontextmanager
async def _brain_for(settings: SimulatorSettings, brain: Brain | None) -> AsyncIterator[Brain]:
    if brain is not None:
        yield brain
        return
    async with AsyncExitStack() as stack:
        try:
            faq = load_faq(settings.faq or shipped("demo-faq.yaml"))
            recogniser = await stack.enter_async_context(Recogniser(faq))
        except (FaqError, RecogniserError) as error:
            raise SimulatorError(str(error)) from error
        yield FaqBrain(faq, recogniser)


def _config() -> Config:
    config = Config()
    config.errorlog = logging.getLogger(f"{__name__}.http")
    config.accesslog = None
    config.websocket_max_message_size = MAX_MESSAGE_BYTES
    config.websocket_ping_interval = PING_S
    config.max_app_queue_size = QUEUED_MESSAGES
    config.include_server_header = False
    return config


class _Connection(TCPServer):
    """One client's. It ends with its socket; hypercorn's would stay for its next ping, which never goes out."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        scope: trio.CancelScope,
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # no TLS here
        self._scope = scope

    async def _read_data(self) -> None:
        await super()._read_data()
        self._scope.cancel()


@define(eq=False)
class _Door:
    """Lets clients in, one task each."""

    application: Application
    _app: AppWrapper = field(init=False)
    _config: Config = field(factory=_config, init=False)
    _context: WorkerContext = field(factory=lambda: WorkerContext(None), init=False)
    _streams: set[trio.SocketStream] = field(factory=set, init=False)
    _one_left: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._app = wrap_app(self.application, MAX_BODY_BYTES, "asgi")

    async def serve(
        self, settings: SimulatorSettings, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept clients until cancelled, then say goodbye to all of them."""
        listeners = await listen(settings.host, settings.port)
        port = port_of(listeners)
        async with trio.open_nursery() as nursery:
            clients: trio.Nursery = await nursery.start(_shielded_nursery)
            try:
                _log.info("the simulator listens on ws://%s:%s/v1/realtime", settings.host, port)
                task_status.started(port)
                await trio.serve_listeners(self._attend, listeners, handler_nursery=clients)
            finally:
                with trio.CancelScope(shield=True):
                    await self._say_goodbye()
                clients.cancel_scope.cancel()

    async def _say_goodbye(self) -> None:
        self.application.stopping.set()
        await self._context.terminated.set()
        with trio.move_on_after(GOODBYE_S):
            while self._streams:
                self._one_left = trio.Event()
                await self._one_left.wait()
        for stream in list(self._streams):  # else hypercorn would wait for them, shielded, for ever
            await trio.aclose_forcefully(stream)

    async def _attend(self, stream: trio.SocketStream) -> None:
        if len(self._streams) >= MAX_CLIENTS:
            _log.warning("more than %s clients at a time: one is turned away", MAX_CLIENTS)
            await trio.aclose_forcefully(stream)
            return
        self._streams.add(stream)
        try:
            with trio.CancelScope() as scope:
                await _Connection(self._app, self._config, self._context, stream, scope)
        except Exception as error:  # the edge of one client: the others are served on
            _log.warning("a client of the simulator broke the protocol and is cut off: %r", error)
        finally:
            self._streams.discard(stream)
            self._one_left.set()
            await trio.aclose_forcefully(stream)


async def _shielded_nursery(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.shield = True
        task_status.started(nursery)
        await trio.sleep_forever()
