"""The shape of the settings: one class a section, defaults included. PURE, imports attrs only.

Every duration names its unit in its name. Bounds stand in the field's metadata, read by `load`.
No hash: a method that nobody calls costs the start as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen

from kioskd.config.endpoint_schema import (
    Auth,
    Breaker,
    By,
    Dialect,
    Endpoint,
    EndpointKind,
    Envelope,
    Hearing,
    Http,
    KeySource,
    Mint,
    MintKind,
    NoiseReduction,
    Speech,
    Transport,
    in_order,
    within,
)
from kioskd.config.spend_schema import Choice, Spend
from kioskd.config.tool_schema import Tools
from kioskd.value import Value

# What of it is defined elsewhere.
__all__ = [
    "Auth",
    "Breaker",
    "By",
    "Dialect",
    "Endpoint",
    "EndpointKind",
    "Envelope",
    "Hearing",
    "Http",
    "KeySource",
    "Mint",
    "MintKind",
    "NoiseReduction",
    "Speech",
    "Transport",
    "in_order",
    "within",
]


class LampKind(Enum):
    """What is soldered to the lamp's pins."""

    NONE = "none"
    LED = "led"
    PWM = "pwm"
    RGB = "rgb"


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


@frozen(eq=False, repr=False)
class Conversation(Value):
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


@frozen  # its recordings are kept by it
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


@frozen(eq=False, repr=False)
class Night(Value):
    """Hours with a volume of their own. Local times, "22:00"."""

    begin: str = "22:00"
    end: str = "07:00"
    volume: int = within(0, 100, 40)


@frozen(eq=False, repr=False)
class SelfTest(Value):
    """When speaker and microphone are tried with a chirp. A local time, "04:00", or none."""

    at_start: bool = False
    daily_at: str = "04:00"


@frozen(eq=False, repr=False)
class Audio(Value):
    """The sound card. Devices are ALSA PCM names, or `auto`."""

    microphone: str = "default"
    speaker: str = "default"
    microphone_channel: int | None = field(default=None, metadata={"within": (0, 7)})
    period_frames: int = within(120, 4800, 480)
    buffer_ms: int = within(20, 2000, 800)
    volume: int = within(0, 100, 80)
    volume_ceiling: int = within(0, 100, 100)
    night: Night | None = None
    mixer: str = "auto"
    signs: bool = True
    echo: Echo = Echo.GATE
    echo_tail_ms: int | None = field(default=None, metadata={"within": (0, 1000)})
    sounds: Sounds = field(factory=Sounds)
    self_test: SelfTest = field(factory=SelfTest)


@frozen(eq=False, repr=False)
class Button(Value):
    """The push-to-talk button, between its pin and ground (or 3.3 V)."""

    pin: int | str = 17
    pull_up: bool = True
    debounce_ms: int = within(0, 500, 30)
    gestures: Gestures = Gestures.HOLD
    tap_ms: int = within(100, 1000, 250)
    slip_ms: int = within(0, 100, 50)
    double_press: DoublePress = DoublePress.NONE
    double_press_ms: int = within(150, 1000, 350)


@frozen(eq=False, repr=False)
class OwnerButton(Value):
    """A second button, behind a lid: the owner's."""

    pin: int | str
    pull_up: bool = True
    debounce_ms: int = within(0, 500, 30)
    long_press_s: float = within(0.5, 30, 3)


@frozen(eq=False, repr=False)
class Lamp(Value):
    """The status lamp. `pins`: one for led and pwm, red, green, blue for rgb."""

    kind: LampKind = LampKind.LED
    pins: tuple[int | str, ...] = (27,)
    active_high: bool = True


@frozen(eq=False, repr=False)
class Panel(Value):
    """What the visitor touches and sees."""

    button: Button = field(factory=Button)
    lamp: Lamp = field(factory=Lamp)
    owner_button: OwnerButton | None = None


@frozen(eq=False, repr=False)
class Log(Value):
    """What the daemon writes to its log (the journal, where systemd runs it)."""

    level: LogLevel = LogLevel.INFO
    transcripts: bool = False


@frozen(eq=False, repr=False)
class Metrics(Value):
    """Figures for Prometheus, in a text file."""

    textfile: str
    interval_s: float = within(5, 300, 15)


@frozen(eq=False, repr=False)
class Webhook(Value):
    """Where a fault and its end are told. The address often is a secret itself, and so lies where keys lie."""

    address: KeySource
    at_most_every_s: float = within(10, 86400, 60)


@frozen(eq=False, repr=False)
class Settings(Value):
    """All of kioskd.yaml."""

    endpoints: tuple[Endpoint, ...] = field(metadata={"items": (1, 16)})
    version: int = within(1, 1, 1)
    conversation: Conversation = field(factory=Conversation)
    audio: Audio = field(factory=Audio)
    panel: Panel = field(factory=Panel)
    log: Log = field(factory=Log)
    metrics: Metrics | None = None
    webhook: Webhook | None = None
    spend: Spend = field(factory=Spend)
    choice: Choice = field(factory=Choice)
    tools: Tools = field(factory=Tools)
