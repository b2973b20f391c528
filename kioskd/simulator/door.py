"""Who may come in: the checks of an upgrade, and how the real server turns clients away.

Source: REALTIME.md, "What shapes the design" 1 and 2, "Close codes". The upgrade itself always succeeds (101), but for
a request without any key (401).
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Mapping
from urllib.parse import parse_qs

from attrs import field, frozen

from kioskd.config.schema import Dialect
from kioskd.simulator.brain import Brain
from kioskd.simulator.conversation import Channel, ChannelClosed, Conversation
from kioskd.simulator.errors import ClientError
from kioskd.simulator.events import new_id
from kioskd.simulator.observer import Observer
from kioskd.simulator.settings import SimulatorSettings

PATH = "/v1/realtime"
WRONG_KEY = 3000
WRONG_REQUEST = 4000
BROKEN = 1011  # RFC 6455: a fault of the server's
BETA = "realtime=v1"

_log = logging.getLogger(__name__)


@frozen
class Request:
    """What a client asks for: `headers` by lower-case name."""

    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def key(self) -> str | None:
        """The Bearer key."""
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    @property
    def is_beta(self) -> bool:
        """Whether the client asks for the beta dialect."""
        return BETA in self.headers.get("openai-beta", "")

    @property
    def model(self) -> str | None:
        """The model in the URL."""
        return parse_qs(self.query).get("model", [None])[0]


@frozen
class Refusal:
    """Why a client is turned away, and the close code with it."""

    error: ClientError
    code: int = field(default=WRONG_REQUEST)

    @property
    def reason(self) -> str:
        """The text of the close frame."""
        return f"{self.error.type}.{self.error.code}"


def wrong_key() -> ClientError:
    """The error of a wrong or missing key. (The real one shows a piece of the key; this one must not.)"""
    return ClientError("Incorrect API key provided. Check the key in your settings.", "invalid_api_key")


def is_known(key: str | None, settings: SimulatorSettings) -> bool:
    """Whether this key opens the door."""
    return settings.key is None or (key is not None and hmac.compare_digest(key.encode(), settings.key.encode()))


def dialect_of(request: Request, settings: SimulatorSettings) -> Dialect:
    """The vocabulary in which this client is spoken with."""
    return Dialect.BETA if settings.both and request.is_beta else settings.dialect


def refusal_of(request: Request, settings: SimulatorSettings) -> Refusal | None:
    """Why this client may not come in; None if it may."""
    if not is_known(request.key, settings):
        return Refusal(wrong_key(), WRONG_KEY)
    dialect = dialect_of(request, settings)
    if request.is_beta and dialect is Dialect.GA:
        text = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
        return Refusal(ClientError(text, "beta_api_shape_disabled"))
    if not request.is_beta and dialect is Dialect.BETA:
        text = f"You must send the header 'OpenAI-Beta: {BETA}' to use the Realtime Beta API."
        return Refusal(ClientError(text, "missing_beta_header"))
    if not request.model:
        return Refusal(ClientError("You must provide a model parameter.", "missing_model"))
    return None


async def attend(
    channel: Channel, request: Request, settings: SimulatorSettings, brain: Brain, observer: Observer
) -> None:
    """Converse with a client whose upgrade was accepted, or turn it away, until it or we are gone."""
    try:
        if (refusal := refusal_of(request, settings)) is not None:
            await _turn_away(channel, refusal)
            return
        model = request.model or ""
        dialect = dialect_of(request, settings)
        await Conversation(channel, brain, model, dialect, settings.pace, observer).run()
    except ChannelClosed:
        return
    except Exception:
        _log.exception("a conversation of the simulator broke; its client is cut off")
        await channel.close(BROKEN, "internal error")


async def _turn_away(channel: Channel, refusal: Refusal) -> None:
    error = refusal.error
    details = {"type": error.type, "code": error.code, "message": error.message, "param": None, "event_id": None}
    await channel.send(json.dumps({"type": "error", "event_id": new_id("event"), "error": details}))
    await channel.close(refusal.code, refusal.reason)
