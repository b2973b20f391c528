"""The echo cancellers of the system's sound server: found by its own tool, where there is one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

from kioskd.audio.errors import Direction

_PATIENCE_S = 3.0  # a server that is frozen never answers
_KINDS = {Direction.CAPTURE: "sources", Direction.PLAYBACK: "sinks"}
_DRIVER = "module-echo-cancel.c"  # PulseAudio's; PipeWire tells no driver, and is known by the name
_NAME = re.compile(r"echo[-_. ]?cancel", re.IGNORECASE)

Ask = Callable[[str], str]


def ask_server(kind: str) -> str:
    """What `pactl list short` says of "sources" or "sinks"; "" without tool or server."""
    try:
        done = subprocess.run(
            ["pactl", "list", "short", kind], capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def cancellers(direction: Direction, ask: Ask = ask_server) -> Iterator[str]:
    """The ALSA names of microphones without the speaker's echo, or of the speakers that they know. Never raises."""
    for line in ask(_KINDS[direction]).splitlines():
        fields = line.split("\t")  # number, name, driver, format, state
        if len(fields) < 3 or fields[1].endswith(".monitor"):
            continue
        if fields[2] == _DRIVER or _NAME.search(fields[1]):
            yield f"pulse:{fields[1]}"
