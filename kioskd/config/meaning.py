"""The third layer of reading settings: what the values mean, each by itself and together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from kioskd.config import addresses, kinds, sound_names, spend_meaning
from kioskd.config.files import UnreadableFileError, read_small_file
from kioskd.config.pins import ALLOWED_PINS, bcm_number
from kioskd.config.problems import Problem
from kioskd.config.schema import (
    Audio,
    Conversation,
    Echo,
    Endpoint,
    KeySource,
    LampKind,
    Metrics,
    Panel,
    Settings,
    Webhook,
)
from kioskd.config.shape import Lines
from kioskd.config.tool_schema import Tools

MAX_CA_BYTES = 1024 * 1024  # all of Debian's certificate authorities take 0.2 MiB
FRAMES_PER_MS = 24  # all sound is 24 kHz
MIN_PERIODS = 2  # ALSA plays one while the other is filled

_PINS_OF_LAMP = {LampKind.NONE: 0, LampKind.LED: 1, LampKind.PWM: 1, LampKind.RGB: 3}

_ENDPOINT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Finding = tuple[str, str]  # the key below the section, the message


def check(settings: Settings, lines: Lines, *, files: bool = True) -> Iterator[Problem]:
    """Every contradiction in settings whose types and bounds are right; `files`: also with the files they name."""
    findings: list[Finding] = [
        *_below("conversation", _conversation(settings.conversation)),
        *_below("audio", _audio(settings.audio)),
        *_below("panel", _panel(settings.panel)),
        *_below("metrics", _metrics(settings.metrics)),
        *_below("webhook", _webhook(settings.webhook)),
        *spend_meaning.check(settings),
        *_below("tools", _tools(settings)),
    ]
    first: dict[str, int] = {}
    for number, endpoint in enumerate(settings.endpoints):
        section = f"endpoints[{number}]"
        findings += _below(section, _endpoint(endpoint, files=files))
        earlier = first.setdefault(endpoint.name, number)
        if earlier != number:
            findings.append((f"{section}.name", f"{endpoint.name} is already the name of endpoints[{earlier}]"))
    for key, message in findings:
        yield lines.problem(key, message)


def _below(section: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    for key, message in findings:
        yield f"{section}.{key}", message


def _conversation(conversation: Conversation) -> Iterator[Finding]:
    longest, shortest = conversation.max_utterance_s, conversation.min_utterance_ms
    if shortest >= longest * 1000:
        yield "min_utterance_ms", f"must be less than max_utterance_s ({longest:g} s), not {shortest} ms"
    if conversation.stuck_button_s <= longest:
        stuck = conversation.stuck_button_s
        yield "stuck_button_s", f"must be more than max_utterance_s ({longest:g} s), not {stuck:g} s"
    if conversation.language is not None and not _LANGUAGE.fullmatch(conversation.language):
        yield "language", "must be a language's code, such as de or en"


def _audio(audio: Audio) -> Iterator[Finding]:
    least = math.ceil(MIN_PERIODS * audio.period_frames / FRAMES_PER_MS)
    if audio.buffer_ms < least:
        yield (
            "buffer_ms",
            (
                f"must hold at least {MIN_PERIODS} periods of period_frames ({audio.period_frames} frames at 24 kHz): "
                f"{least} ms or more, not {audio.buffer_ms}"
            ),
        )
    for key in ("microphone", "speaker"):
        if trouble := sound_names.trouble_with(getattr(audio, key)):
            yield key, trouble
    if audio.sounds.listening != "none" and audio.echo not in (Echo.HARDWARE, Echo.SOFTWARE):
        yield (
            "sounds.listening",
            "would be recorded with the visitor: must be none, unless echo is hardware or software",
        )
    daily_at = audio.self_test.daily_at
    if daily_at != "none" and not _TIME_OF_DAY.fullmatch(daily_at):
        yield "self_test.daily_at", 'must be none, or a time of day with four digits, "00:00" to "23:59"'
    if audio.night is not None:
        for key, text in (("begin", audio.night.begin), ("end", audio.night.end)):
            if not _TIME_OF_DAY.fullmatch(text):
                yield f"night.{key}", 'must be a time of day with four digits, "00:00" to "23:59"'
        if audio.night.begin == audio.night.end:
            yield "night.end", "must not be the same as night.begin; for one volume all day set audio.volume alone"


def _panel(panel: Panel) -> Iterator[Finding]:
    kind, pins = panel.lamp.kind, panel.lamp.pins
    if len(pins) != _PINS_OF_LAMP[kind]:
        needed = {0: "no pins: []", 1: "one pin", 3: "three pins: red, green, blue"}[_PINS_OF_LAMP[kind]]
        yield "lamp.pins", f"a lamp of the kind {kind.value} has {needed}; {len(pins)} are given"
    used: dict[int, str] = {}
    owner = [("owner_button.pin", panel.owner_button.pin)] if panel.owner_button else []
    lamp = [(f"lamp.pins[{n}]", pin) for n, pin in enumerate(pins)]
    for key, pin in [("button.pin", panel.button.pin), *owner, *lamp]:
        number = bcm_number(pin)
        if number is None:
            yield key, f"{pin} is no GPIO pin of the header; allowed: {ALLOWED_PINS}"
        elif number in used:
            yield key, f"GPIO{number} is already used by panel.{used[number]}; give each its own pin"
        else:
            used[number] = key


def _endpoint(endpoint: Endpoint, *, files: bool) -> Iterator[Finding]:
    if not _ENDPOINT_NAME.fullmatch(endpoint.name):
        yield "name", "must be 1 to 32 of a-z, 0-9 and -, and not begin with -"
    yield from addresses.check(endpoint)
    yield from _key(endpoint.key)
    yield from kinds.check(endpoint, files=files)
    for key in ("hearing", "speech"):
        if (source := getattr(endpoint, key).key) is not None:
            yield from ((f"{key}.{inner}", message) for inner, message in _key(source))
    if endpoint.ping_timeout_s >= endpoint.ping_interval_s:
        interval = endpoint.ping_interval_s
        yield "ping_timeout_s", f"must be less than ping_interval_s ({interval:g} s), not {endpoint.ping_timeout_s:g} s"
    for part in ("answer_timeout_s", "stream_timeout_s"):
        if getattr(endpoint.http, part) > endpoint.http.total_timeout_s:
            yield f"http.{part}", f"must not be more than http.total_timeout_s ({endpoint.http.total_timeout_s:g} s)"
    if endpoint.proxy is not None:
        yield from _proxy(endpoint.proxy)
    if files and endpoint.extra_ca is not None and (fault := _fault_of_ca(endpoint.extra_ca)):
        yield "extra_ca", f"{endpoint.extra_ca} {fault}"


def _metrics(metrics: Metrics | None) -> Iterator[Finding]:
    if metrics is not None and not (metrics.textfile.startswith("/") and metrics.textfile.endswith(".prom")):
        yield "textfile", "must be the whole path of a file that ends with .prom, since node_exporter reads no other"


def _webhook(webhook: Webhook | None) -> Iterator[Finding]:
    if webhook is not None:
        yield from ((f"address.{key.removeprefix('key.')}", message) for key, message in _key(webhook.address))


def _tools(settings: Settings) -> Iterator[Finding]:
    if settings.tools != Tools():
        from kioskd.config import tool_meaning  # few kiosks have any

        yield from tool_meaning.check(settings.tools, settings.conversation)


def _key(source: KeySource) -> Iterator[Finding]:
    if source.credential is not None and not _CREDENTIAL.fullmatch(source.credential):
        yield "key.credential", "must be the name of a systemd credential: letters, digits, - _ and ., no slash"
    if source.file is not None and not Path(source.file).is_absolute():
        yield "key.file", "must be the whole path of a file, beginning with /"
    if source.environment is not None and not _VARIABLE.fullmatch(source.environment):
        yield "key.environment", "must be the name of an environment variable, such as OPENAI_API_KEY"


def _proxy(text: str) -> Iterator[Finding]:
    proxy = addresses.split(text)
    if proxy is None or not proxy.hostname or proxy.scheme != "http" or proxy.path not in ("", "/") or proxy.query:
        yield "proxy", "must be the URL of an HTTP proxy, such as http://proxy.lan:3128"
    elif proxy.username is not None:
        yield "proxy", "holds a user name or a password, which do not belong into this file; use a proxy without one"


def _fault_of_ca(name: str) -> str:
    if not Path(name).is_absolute():
        return "must be the whole path of a file, beginning with /"
    try:
        content = read_small_file(Path(name), MAX_CA_BYTES).content
    except UnreadableFileError as error:
        return str(error)
    return "" if b"-----BEGIN CERTIFICATE-----" in content else "holds no certificate in PEM form"
