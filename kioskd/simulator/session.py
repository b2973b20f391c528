"""A session's settings in both dialects: the defaults, what an update may say, and what it changes."""

from __future__ import annotations

import copy
from typing import Any

from attrs import define, field

from kioskd.config.schema import Dialect
from kioskd.simulator import schema
from kioskd.simulator.errors import model_is_fixed, voice_is_fixed
from kioskd.simulator.schema import anything, array, boolean, decimal, either, mapping, nullable, one_of, tagged, whole

GA_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
BETA_VOICES = GA_VOICES[:8]
DEFAULT_INSTRUCTIONS = "You are a kiosk's simulated endpoint. Answer from the list of questions."
MAX_TOKENS = 4096
_MAX_INSTRUCTIONS = 1_000_000

_PCM = {"type": "audio/pcm", "rate": 24000}
# This server transcodes nothing: of the formats that the real one takes, it takes the one kioskd speaks.
_GA_FORMAT = mapping({"type": one_of("audio/pcm"), "rate": whole(24000, 24000)}, required=("type", "rate"))
_MAX_OUTPUT = either(one_of("inf"), whole(1, MAX_TOKENS))
_TEXT = schema.text(_MAX_INSTRUCTIONS)
_NOISE_REDUCTION = nullable(mapping({"type": one_of("near_field", "far_field")}, required=("type",)))
_TOOLS = array(
    mapping(
        {"type": one_of("function"), "name": schema.text(64), "description": schema.text(), "parameters": anything},
        required=("type", "name"),
    ),
    high=128,
)
_TRACING = nullable(
    either(
        one_of("auto"),
        mapping({"group_id": schema.text(), "metadata": anything, "workflow_name": schema.text()}),
    )
)
_VAD = nullable(
    tagged(
        "type",
        {
            "server_vad": mapping(
                {
                    "type": anything,
                    "threshold": decimal(0, 1),
                    "prefix_padding_ms": whole(0, 10_000),
                    "silence_duration_ms": whole(0, 10_000),
                    "idle_timeout_ms": nullable(whole(5_000, 30_000)),
                    "create_response": boolean,
                    "interrupt_response": boolean,
                }
            ),
            "semantic_vad": mapping(
                {
                    "type": anything,
                    "eagerness": one_of("low", "medium", "high", "auto"),
                    "create_response": boolean,
                    "interrupt_response": boolean,
                }
            ),
        },
    )
)
_VAD_DEFAULTS: dict[str, dict[str, Any]] = {
    "server_vad": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    },
}


def _transcription(*more: str) -> schema.Check:
    names = ("model", "language", "prompt", *more)
    return nullable(mapping({name: schema.text() for name in names}, required=("model",)))


def _voice(voices: tuple[str, ...]) -> schema.Check:
    return either(mapping({"id": schema.text()}, required=("id",)), one_of(*voices))


_GA_MODALITIES = array(one_of("text", "audio"), 1, 1)  # "audio" or "text", never both
_GA = mapping(
    {
        "type": one_of("realtime"),
        "model": schema.text(),
        "instructions": nullable(_TEXT),
        "output_modalities": _GA_MODALITIES,
        "max_output_tokens": nullable(_MAX_OUTPUT),
        "tools": nullable(_TOOLS),
        "tool_choice": nullable(
            either(mapping({"type": anything, "name": anything}), one_of("auto", "none", "required")),
        ),
        "parallel_tool_calls": boolean,
        "include": nullable(array(one_of("item.input_audio_transcription.logprobs"))),
        "prompt": nullable(mapping({"id": anything, "variables": anything, "version": anything}, required=("id",))),
        "reasoning": nullable(mapping({"effort": one_of("minimal", "low", "medium", "high", "xhigh")})),
        "tracing": _TRACING,
        "truncation": nullable(
            either(
                one_of("auto", "disabled"),
                mapping(
                    {
                        "type": one_of("retention_ratio"),
                        "retention_ratio": decimal(0, 1),
                        "token_limits": nullable(mapping({"post_instructions": whole(0)})),
                    },
                    required=("type", "retention_ratio"),
                ),
            )
        ),
        "audio": mapping(
            {
                "input": mapping(
                    {
                        "format": _GA_FORMAT,
                        "noise_reduction": _NOISE_REDUCTION,
                        "transcription": _transcription("delay"),
                        "turn_detection": _VAD,
                    }
                ),
                "output": mapping({"format": _GA_FORMAT, "voice": _voice(GA_VOICES), "speed": decimal(0.25, 1.5)}),
            }
        ),
    },
    required=("type",),
)
_BETA = mapping(
    {
        "model": schema.text(),
        "modalities": array(one_of("text", "audio"), 1, 2),
        "instructions": nullable(_TEXT),
        "voice": one_of(*BETA_VOICES),
        "input_audio_format": one_of("pcm16"),
        "output_audio_format": one_of("pcm16"),
        "input_audio_transcription": _transcription(),
        "input_audio_noise_reduction": _NOISE_REDUCTION,
        "turn_detection": _VAD,
        "temperature": decimal(0.6, 1.2),
        "max_response_output_tokens": nullable(_MAX_OUTPUT),
        "speed": decimal(0.25, 1.5),
        "tools": nullable(_TOOLS),
        "tool_choice": schema.text(),
        "tracing": _TRACING,
    }
)


def _ga_defaults(model: str) -> dict[str, Any]:
    return {
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_VAD_DEFAULTS["server_vad"], idle_timeout_ms=None),
            },
            "output": {"format": dict(_PCM), "voice": "alloy", "speed": 1.0},
        },
    }


def _beta_defaults(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "modalities": ["text", "audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "input_audio_noise_reduction": None,
        "turn_detection": dict(_VAD_DEFAULTS["server_vad"]),
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
        "speed": 1.0,
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
    }


@define
class Session:
    """The settings in force. `id` and `expires_at` (Unix seconds) never change, and neither does the model."""

    dialect: Dialect
    id: str
    model: str
    expires_at: int
    settings: dict[str, Any] = field(init=False)
    has_spoken: bool = False  # from the first audio on, the voice is fixed

    def __attrs_post_init__(self) -> None:
        self.settings = _ga_defaults(self.model) if self.is_ga else _beta_defaults(self.model)

    @property
    def is_ga(self) -> bool:
        """Whether the settings are nested."""
        return self.dialect is Dialect.GA

    def update(self, change: Any) -> None:
        """Take over a `session.update`, whole or not at all. Raises `ClientError`."""
        (_GA if self.is_ga else _BETA)(change, "session")
        if change.get("model", self.model) != self.model:
            raise model_is_fixed("session.model")
        before = self.voice
        merged = copy.deepcopy(self.settings)
        _merge(merged, change, _ga_defaults(self.model) if self.is_ga else _beta_defaults(self.model))
        if self.has_spoken and _voice_of(merged, self.is_ga) != before:
            raise voice_is_fixed("session.audio.output.voice" if self.is_ga else "session.voice")
        self.settings = merged

    def rendered(self) -> dict[str, Any]:
        """The session object of `session.created` and `session.updated`: the whole of it, each time."""
        return {
            **copy.deepcopy(self.settings),
            "object": "realtime.session",
            "id": self.id,
            "expires_at": self.expires_at,
        }

    @property
    def voice(self) -> Any:
        """A name, or (GA) an object with the id of a voice of one's own."""
        return _voice_of(self.settings, self.is_ga)

    @property
    def speaks(self) -> bool:
        """Whether answers are spoken; else they are text."""
        return "audio" in self.settings["output_modalities" if self.is_ga else "modalities"]

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """The server's voice detection; None is push-to-talk."""
        detection: dict[str, Any] | None = self._input["turn_detection"]
        return detection

    @property
    def transcribes(self) -> bool:
        """Whether the client wants to read what was heard."""
        return self.transcription_model is not None

    @property
    def transcription_model(self) -> str | None:
        """What transcribes; it decides how that is billed."""
        settings = self._input["transcription" if self.is_ga else "input_audio_transcription"]
        return None if settings is None else str(settings["model"])

    @property
    def max_output_tokens(self) -> int | None:
        """How long an answer may be."""
        limit = self.settings["max_output_tokens" if self.is_ga else "max_response_output_tokens"]
        return None if limit == "inf" else int(limit)

    @property
    def _input(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.settings["audio"]["input"] if self.is_ga else self.settings
        return settings


def _voice_of(settings: dict[str, Any], is_ga: bool) -> Any:
    return settings["audio"]["output"]["voice"] if is_ga else settings["voice"]


def _merge(target: dict[str, Any], change: dict[str, Any], defaults: dict[str, Any]) -> None:
    """An absent field is unchanged, null clears: to null where that is a state of the field, else to its default."""
    for name, value in change.items():
        if name in ("audio", "input", "output"):
            _merge(target[name], value, defaults[name])
        elif name == "turn_detection":
            target[name] = None if value is None else {**_VAD_DEFAULTS[value["type"]], **value}
        elif name == "instructions":
            target[name] = value or ""
        elif value is None and name not in ("transcription", "noise_reduction") and not name.startswith("input_audio"):
            target[name] = defaults.get(name)
        else:
            target[name] = copy.deepcopy(value)
