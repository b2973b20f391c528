"""The shape of one endpoint's settings: who answers, of which kind, and how to reach it. PURE, imports attrs only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from kioskd.config.spend_schema import Caps, Prices
from kioskd.value import Value


class EndpointKind(Enum):
    """What is spoken with the endpoint."""

    REALTIME = "realtime"  # sound both ways over one socket
    RESPONSES = "responses"  # text, over a WebSocket; hearing and speech around it
    CHAT = "chat"  # text, over SSE, a WebSocket or plain requests; hearing and speech around it
    AUDIO_SSE = "audio-sse"  # sound both ways over plain HTTPS
    LOCAL = "local"  # no network at all: the site's own questions and answers


class Transport(Enum):
    """How an answer of the kind chat travels."""

    SSE = "sse"
    WEBSOCKET = "websocket"
    PLAIN = "plain"


class Envelope(Enum):
    """Where a request of the kind responses carries its fields."""

    TOP_LEVEL = "top-level"
    NESTED = "nested"


class By(Enum):
    """Who hears or speaks for a text model."""

    ENDPOINT = "endpoint"
    LOCAL = "local"


class Dialect(Enum):
    """Which vocabulary of the Realtime wire the endpoint wants to hear."""

    GA = "ga"
    BETA = "beta"


class Auth(Enum):
    """How the key travels to the endpoint."""

    AUTO = "auto"  # api-key-header to Azure's hosts, bearer to all others
    BEARER = "bearer"
    API_KEY_HEADER = "api-key-header"
    QUERY = "query"


class MintKind(Enum):
    """Who makes the short-lived key of a session."""

    CLIENT_SECRET = "client-secret"  # the endpoint: POST .../client_secrets (GA)
    SESSION = "session"  # the endpoint: POST .../sessions (beta)
    BROKER = "broker"  # a server of the owner's


class NoiseReduction(Enum):
    """The endpoint's own noise reduction."""

    OFF = "none"
    NEAR_FIELD = "near_field"
    FAR_FIELD = "far_field"


def within(low: float, high: float, default: Any) -> Any:
    """A number with inclusive bounds."""
    return field(default=default, metadata={"within": (low, high)})


@frozen(eq=False, repr=False)
class KeySource(Value):
    """Where the API key is read from, in this order; the first that exists counts."""

    credential: str | None = None
    file: str | None = None
    environment: str | None = None


@frozen(eq=False, repr=False)
class Mint(Value):
    """A short-lived key, fetched before each connection. `url` follows from the endpoint's, a broker has its own."""

    kind: MintKind = MintKind.CLIENT_SECRET
    url: str | None = None
    timeout_s: float = within(1, 60, 10)


@frozen(eq=False, repr=False)
class Http(Value):
    """Deadlines of plain HTTP requests to an endpoint."""

    answer_timeout_s: float = within(1, 300, 30)
    stream_timeout_s: float = within(1, 600, 60)
    total_timeout_s: float = within(1, 1200, 120)


@frozen(eq=False, repr=False)
class Breaker(Value):
    """After so many failures in a row an endpoint is left alone for a while."""

    failures: int = within(1, 100, 5)
    open_s: float = within(1, 3600, 60)


@frozen(eq=False, repr=False)
class Hearing(Value):
    """Who writes down what the visitor said, for a text model. `grammar`: an FAQ file with what is understood."""

    by: By = By.ENDPOINT
    url: str | None = None
    model: str = "gpt-4o-mini-transcribe"
    key: KeySource | None = None
    stream: bool = True
    grammar: str | None = None


@frozen(eq=False, repr=False)
class Speech(Value):
    """Who speaks what a text model wrote."""

    by: By = By.ENDPOINT
    url: str | None = None
    model: str = "gpt-4o-mini-tts"
    voice: str = "marin"
    key: KeySource | None = None


@frozen(eq=False, repr=False)
class Endpoint(Value):
    """One that answers, and how to reach it. `url` and `model` are wanted by every kind but local."""

    name: str
    url: str = ""
    model: str = ""
    kind: EndpointKind = EndpointKind.REALTIME
    profile: str | None = None
    transport: Transport = Transport.SSE
    envelope: Envelope = Envelope.TOP_LEVEL
    server_keeps: bool = True
    hearing: Hearing = field(factory=Hearing)
    speech: Speech = field(factory=Speech)
    faq: str | None = None
    keep_place: bool = False
    dialect: Dialect = Dialect.GA
    voice: str | None = None
    transcription_model: str | None = "gpt-4o-mini-transcribe"
    noise_reduction: NoiseReduction = NoiseReduction.OFF
    max_tokens: int | None = field(default=None, metadata={"within": (1, 4096)})
    temperature: float | None = field(default=None, metadata={"within": (0, 2)})
    key: KeySource = field(factory=KeySource)
    auth: Auth = Auth.AUTO
    key_parameter: str = "api_key"
    model_parameter: str = "model"
    beta_header: bool | None = None
    query: Mapping[str, str] = field(factory=dict, metadata={"items": (0, 32)})
    headers: Mapping[str, str] = field(factory=dict, metadata={"items": (0, 32)})
    mint: Mint | None = None
    plain_text_allowed: bool = False
    extra_ca: str | None = None
    proxy: str | None = None
    open_timeout_s: float = within(1, 120, 10)
    close_timeout_s: float = within(0.5, 60, 5)
    setup_timeout_s: float = within(1, 120, 10)
    ping_interval_s: float = within(1, 300, 20)
    ping_timeout_s: float = within(1, 300, 10)
    session_limit_s: float = within(60, 86400, 3600)
    requests_per_minute: int = within(1, 6000, 60)
    http: Http = field(factory=Http)
    breaker: Breaker = field(factory=Breaker)
    prices: Prices | None = None
    caps: Caps = field(factory=Caps)
    model_for_question: Mapping[str, str] = field(factory=dict, metadata={"items": (0, 32)})
    unverified: tuple[str, ...] = field(default=(), metadata={"items": (0, 16)})


def in_order(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """By preference: as the owner listed them, but who answers on this machine last, unless its place is to count."""
    return tuple(sorted(endpoints, key=lambda each: each.kind is EndpointKind.LOCAL and not each.keep_place))
