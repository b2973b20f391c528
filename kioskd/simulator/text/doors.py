"""The text doors of one server: which there are, who may come in, and who answers behind each."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from attrs import define, field

from kioskd.simulator import door
from kioskd.simulator.brain import Brain
from kioskd.simulator.conversation import Channel, ChannelClosed
from kioskd.simulator.errors import ClientError
from kioskd.simulator.faults.gate import Gate
from kioskd.simulator.faults.replies import Faults
from kioskd.simulator.observer import Observer
from kioskd.simulator.settings import SimulatorSettings
from kioskd.simulator.text.answer import ServerFault
from kioskd.simulator.text.exchange import Exchange, GoneError, Receive, Send
from kioskd.simulator.text.posts import Posts
from kioskd.simulator.text.sockets import ChatSocket, Kept, ResponsesSocket, TextSocket

RESPONSES = "/v1/responses"
CHAT_SOCKETS = ("/v1/ws", "/v1/ws/stream", "/v1/stream")
KEY_IN_URL = "/v1/stream"
SOCKETS = (RESPONSES, *CHAT_SOCKETS)
CHAT, TRANSCRIPTIONS, SPEECH = "/v1/chat/completions", "/v1/audio/transcriptions", "/v1/audio/speech"
POSTS = (CHAT, TRANSCRIPTIONS, SPEECH)
TOO_LARGE = "request_too_large"

_log = logging.getLogger(__name__)


def key_of(request: door.Request) -> str | None:
    """The key, from the header; at one door also from the address."""
    if request.key is None and request.path == KEY_IN_URL:
        return parse_qs(request.query).get("api_key", [None])[0]
    return request.key


def missing_key() -> ClientError:
    """The error of a request without any key."""
    text = (
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY)."
    )
    return ClientError(text)


def addresses(host: str, port: int) -> list[str]:
    """Where the doors are, for people."""
    ws, http = f"ws://{host}:{port}", f"http://{host}:{port}"
    return [
        f"{ws}{RESPONSES} (Responses)",
        f"{ws}{door.PATH} without ?model=, with OpenAI-Beta: {door.BETA} (Responses, nested)",
        f"{ws}/v1/ws, {ws}/v1/ws/stream?model=M, {ws}{KEY_IN_URL}?api_key=K (chat)",
        f"{http}{CHAT} (chat: SSE, plain, with sound)",
        f"{http}{TRANSCRIPTIONS}, {http}{SPEECH}",
        f"{http}/v1/models, {http}/v1/auth/verify",
    ]


@define(eq=False)
class TextDoors:
    """All of them. What one connection mustn't know of another is kept in its socket."""

    settings: SimulatorSettings
    brain: Brain
    observer: Observer
    gate: Gate | None = None
    _stored: Kept = field(factory=Kept, init=False)
    _posts: Posts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._posts = Posts(self.brain, self.settings.pace, self.observer)

    def refusal(self, request: door.Request) -> ClientError | None:
        """Why this client may not come in: 401."""
        key = key_of(request)
        if door.is_known(key, self.settings):
            return None
        return missing_key() if key is None else door.wrong_key()

    async def attend(self, channel: Channel, request: door.Request, faults: Faults) -> None:
        """Talk with the client of a WebSocket until it or we are gone."""
        await self._run(self._socket(channel, request, faults))

    async def attend_nested(self, channel: Channel, faults: Faults) -> str | bytes | None:
        """The same for Responses at the Realtime door. Gives back the first message if it means something else."""
        first = await channel.receive()
        if not _is_nested(first):
            return first
        pace = self.settings.pace
        await self._run(
            ResponsesSocket(channel, self.brain, pace, self.observer, faults, first, nested=True, stored=self._stored)
        )
        return None

    async def post(self, request: door.Request, receive: Receive, send: Send, peer: object, unix_s: float) -> None:
        """Answer a POST. It may end in the middle: by a fault."""
        faults = self.faults()
        exchange = Exchange(request, faults, receive, send)
        if self.gate is None:
            await self._post(exchange, unix_s)
        else:
            with self.gate.visited(peer, faults):
                await self._post(exchange, unix_s)

    def faults(self) -> Faults:
        """Those of one visit."""
        return Faults(self.gate.faults if self.gate is not None else None, self.observer)

    async def _post(self, exchange: Exchange, unix_s: float) -> None:
        answers: dict[str, Callable[[Exchange], Awaitable[None]]] = {
            CHAT: self._posts.chat,
            TRANSCRIPTIONS: self._posts.transcribe,
            SPEECH: self._posts.speak,
        }
        try:
            if (wrong := self.refusal(exchange.request)) is not None:
                await exchange.refuse(wrong, 401)
            elif (rejection := exchange.faults.refusal(unix_s)) is not None:
                await exchange.respond(rejection.status, rejection.headers, rejection.body)
            else:
                await answers[exchange.request.path](exchange)
        except GoneError:
            return
        except ClientError as error:
            status = 500 if isinstance(error, ServerFault) else 413 if error.code == TOO_LARGE else 400
            await exchange.refuse(error, status)
        except Exception:
            _log.exception("a text door of the simulator broke; its client is told, or cut off")
            if not exchange.started:
                await exchange.refuse(
                    ClientError("The server had an error.", "internal_error", type="server_error"), 500
                )

    def _socket(self, channel: Channel, request: door.Request, faults: Faults) -> TextSocket:
        pace = self.settings.pace
        if request.path == RESPONSES:
            return ResponsesSocket(channel, self.brain, pace, self.observer, faults, stored=self._stored)
        spoken = self._posts.spoken.text
        return ChatSocket(channel, self.brain, pace, self.observer, faults, model=request.model, spoken=spoken)

    async def _run(self, socket: TextSocket) -> None:
        try:
            await socket.run()
        except ChannelClosed:
            return
        except Exception:
            _log.exception("a text door of the simulator broke; its client is cut off")
            await socket.channel.close(door.BROKEN, "internal error")


def now() -> float:
    """Unix time."""
    return time.time()


def _is_nested(message: str | bytes) -> bool:
    try:
        event: Any = json.loads(message)
    except (ValueError, RecursionError):
        return False
    inner = event.get("response") if isinstance(event, dict) and event.get("type") == "response.create" else None
    return isinstance(inner, dict) and bool({"input", "model", "store"} & inner.keys())
