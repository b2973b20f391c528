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


class Gestures(Enum):
    """How the push-to-talk button is used."""

    HOLD = "hold"
    TAP = "tap"
    BOTH = "both"


class DoublePress(Enum):
    """What follows when the push-to-talk button is pressed twice in quick succession."""

    NONE = "none"
    REPEAT = "repeat"


class Echo(Enum):
    """What keeps the kiosk from hearing itself."""

    GATE = "gate"  # nothing is recorded while it speaks, nor until the room is quiet again
    HARDWARE = "hardware"  # the microphone's own canceller
    SERVER = "server"  # the endpoint's noise reduction
    SOFTWARE = "software"  # the canceller of the system's sound server


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
    endpoint_silence_ms: int = within(200, 5000, 900)
    no_speech_ms: int = within(1000, 30000, 5000)
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
class Sounds:
    """What each sign sounds like: `tone`, `none`, or a file. `sorry_in`: an apology for a language's code."""

    listening: str = "none"
    sent: str = "tone"
    too_short: str = "tone"
    limit_reached: str = "tone"
    connection_lost: str = "tone"
    out_of_order: str = "tone"
    sorry: str = "tone"
    sorry_in: Mapping[str, str] = field(factory=dict, hash=False, metadata={"items": (0, 32)})
    fault: str = "tone"


@frozen
class Night:
    """Hours with a volume of their own. Local times, "22:00"."""

    begin: str = "22:00"
    end: str = "07:00"
    volume: int = within(0, 100, 40)


@frozen
class SelfTest:
    """When speaker and microphone are tried with a chirp. A local time, "04:00", or none."""

    at_start: bool = False
    daily_at: str = "04:00"


@frozen
class Audio:
    """The sound card. Devices are ALSA PCM names, or `auto`."""

    microphone: str = "default"
    speaker: str = "default"
    microphone_channel: int | None = field(default=None, metadata={"within": (0, 7)})
    period_frames: int = within(120, 4800, 480)
    buffer_ms: int = within(20, 2000, 160)
    volume: int = within(0, 100, 80)
    volume_ceiling: int = within(0, 100, 100)
    night: Night | None = None
    mixer: str = "auto"
    signs: bool = True
    echo: Echo = Echo.GATE
    echo_tail_ms: int = within(0, 1000, 150)
    sounds: Sounds = field(factory=Sounds)
    self_test: SelfTest = field(factory=SelfTest)


@frozen
class Button:
    """The push-to-talk button, between its pin and ground (or 3.3 V)."""

    pin: int | str = 17
    pull_up: bool = True
    debounce_ms: int = within(0, 500, 30)
    gestures: Gestures = Gestures.HOLD
    tap_ms: int = within(100, 1000, 250)
    slip_ms: int = within(0, 100, 50)
    double_press: DoublePress = DoublePress.NONE
    double_press_ms: int = within(150, 1000, 350)


@frozen
class OwnerButton:
    """A second button, behind a lid: the owner's."""

    pin: int | str
    pull_up: bool = True
    debounce_ms: int = within(0, 500, 30)
    long_press_s: float = within(0.5, 30, 3)


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
    owner_button: OwnerButton | None = None


@frozen
class Log:
    """What the daemon writes to its log (the journal, where systemd runs it)."""

    level: LogLevel = LogLevel.INFO
    transcripts: bool = False


@frozen
class Metrics:
    """Figures for Prometheus, in a text file."""

    textfile: str
    interval_s: float = within(5, 300, 15)


@frozen
class Webhook:
    """Where a fault and its end are told. The address often is a secret itself, and so lies where keys lie."""

    address: KeySource
    at_most_every_s: float = within(10, 86400, 60)


@frozen
class Settings:
    """All of kioskd.yaml."""

    endpoints: tuple[Endpoint, ...] = field(metadata={"items": (1, 16)})
    version: int = within(1, 1, 1)
    conversation: Conversation = field(factory=Conversation)
    audio: Audio = field(factory=Audio)
    panel: Panel = field(factory=Panel)
    log: Log = field(factory=Log)
    metrics: Metrics | None = None
    webhook: Webhook | None = None
