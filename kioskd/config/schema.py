"""The shape of the settings: one class a section, defaults included. PURE, imports attrs only.

Every duration names its unit in its name. Bounds stand in the field's metadata, read by `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen


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


class LampKind(Enum):
    """What is soldered to the lamp's pins."""

    NONE = "none"
    LED = "led"
    PWM = "pwm"
    RGB = "rgb"


class NoiseReduction(Enum):
    """The endpoint's own noise reduction."""

    OFF = "none"
    NEAR_FIELD = "near_field"
    FAR_FIELD = "far_field"


class LogLevel(Enum):
    """How much the log says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class CutAnswer(Enum):
    """What follows when an answer breaks off in the middle."""

    CONTINUE = "continue"
    REPEAT = "repeat"
    APOLOGISE = "apologise"


def within(low: float, high: float, default: Any) -> Any:
    """A number with inclusive bounds."""
    return field(default=default, metadata={"within": (low, high)})


@frozen
class Conversation:
    """When a press counts, how long things may take, and what the kiosk is told to be."""

    instructions: str = "You are a friendly voice kiosk. Answer briefly, in the visitor's language."
    language: str | None = None
    pre_roll_ms: int = within(0, 2000, 300)
    post_roll_ms: int = within(0, 2000, 200)
    min_utterance_ms: int = within(100, 5000, 300)
    max_utterance_s: float = within(2, 600, 60)
    stuck_button_s: float = within(5, 3600, 120)
    answer_timeout_s: float = within(1, 300, 15)
    answer_stall_s: float = within(1, 300, 10)
    cut_answer: CutAnswer = CutAnswer.CONTINUE
    forget_after_s: float = within(5, 86400, 120)
    history_turns: int = within(0, 50, 10)
    history_characters: int = within(0, 20000, 4000)
    stop_grace_s: float = within(0, 60, 8)


@frozen
class KeySource:
    """Where the API key is read from, in this order; the first that exists counts."""

    credential: str | None = None
    file: str | None = None
    environment: str | None = None


@frozen
class Mint:
    """A short-lived key, fetched before each connection. `url` follows from the endpoint's, a broker has its own."""

    kind: MintKind = MintKind.CLIENT_SECRET
    url: str | None = None
    timeout_s: float = within(1, 60, 10)


@frozen
class Http:
    """Deadlines of plain HTTP requests to an endpoint."""

    answer_timeout_s: float = within(1, 300, 30)
    stream_timeout_s: float = within(1, 600, 60)
    total_timeout_s: float = within(1, 1200, 120)


@frozen
class Breaker:
    """After so many failures in a row an endpoint is left alone for a while."""

    failures: int = within(1, 100, 5)
    open_s: float = within(1, 3600, 60)


@frozen
class Endpoint:
    """One that answers, and how to reach it."""

    name: str
    url: str
    model: str
    profile: str | None = None
    dialect: Dialect = Dialect.GA
    voice: str | None = None
    transcription_model: str | None = "gpt-4o-mini-transcribe"
    noise_reduction: NoiseReduction = NoiseReduction.OFF
    max_tokens: int | None = field(default=None, metadata={"within": (1, 4096)})
    temperature: float | None = field(default=None, metadata={"within": (0.6, 1.2)})
    key: KeySource = field(factory=KeySource)
    auth: Auth = Auth.AUTO
    key_parameter: str = "api_key"
    model_parameter: str = "model"
    beta_header: bool | None = None
    query: Mapping[str, str] = field(factory=dict, hash=False, metadata={"items": (0, 32)})
    headers: Mapping[str, str] = field(factory=dict, hash=False, metadata={"items": (0, 32)})
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


@frozen
class Audio:
    """The sound card. Devices are ALSA PCM names."""

    microphone: str = "default"
    speaker: str = "default"
    period_frames: int = within(120, 4800, 480)
    buffer_ms: int = within(20, 2000, 160)
    signs: bool = True


@frozen
class Button:
    """The push-to-talk button, between its pin and ground (or 3.3 V)."""

    pin: int | str = 17
    pull_up: bool = True
    debounce_ms: int = within(0, 500, 30)


@frozen
class Lamp:
    """The status lamp. `pins`: one for led and pwm, red, green, blue for rgb."""

    kind: LampKind = LampKind.LED
    pins: tuple[int | str, ...] = (27,)
    active_high: bool = True


@frozen
class Panel:
    """What the visitor touches and sees."""

    button: Button = field(factory=Button)
    lamp: Lamp = field(factory=Lamp)


@frozen
class Log:
    """What the daemon writes to its log (the journal, where systemd runs it)."""

    level: LogLevel = LogLevel.INFO
    transcripts: bool = False


@frozen
class Settings:
    """All of kioskd.yaml."""

    endpoints: tuple[Endpoint, ...] = field(metadata={"items": (1, 16)})
    version: int = within(1, 1, 1)
    conversation: Conversation = field(factory=Conversation)
    audio: Audio = field(factory=Audio)
    panel: Panel = field(factory=Panel)
    log: Log = field(factory=Log)
