"""Runs inside a machine, with its Python and nothing else: looks at the kiosk, presses its button, speaks to it.

Each verb prints one line of JSON.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import random
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOCKET = "/run/kioskd/control.sock"
RATE_HZ = 24_000
BLOCK_FRAMES = 480
NOISE_LSB = 10  # a room is never digitally silent: pocketsphinx and kioskd's own self-check rely on it
QUESTION = Path("/run/lab-question.wav")
BUTTON, LAMP = "sim_gpio17", "sim_gpio27"
LOOK_S = 0.02


def status() -> dict[str, Any]:
    """What the daemon says of itself, or why it doesn't."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(5)
        try:
            peer.connect(SOCKET)
            peer.sendall(b'{"v":1,"do":"status"}\n')
            received = b""
            while not received.endswith(b"\n"):
                chunk = peer.recv(65536)
                if not chunk:
                    break
                received += chunk
            answer: dict[str, Any] = json.loads(received or b"{}")
        except (OSError, ValueError) as error:
            return {"health": "down", "error": f"{type(error).__name__}: {error}"}
    return answer


def until(reached: Callable[[dict[str, Any]], bool], patience_s: float) -> dict[str, Any]:
    """The seconds until the status is so, and the status then."""
    begin = time.monotonic()
    while True:
        now = status()
        seconds = round(time.monotonic() - begin, 2)
        if reached(now):
            return {"seconds": seconds, "status": now}
        if seconds > patience_s:
            return {"seconds": None, "status": now}
        time.sleep(0.1)


def healthy(patience_s: str = "60") -> dict[str, Any]:
    """Until the kiosk says that all is well."""
    return until(lambda now: now.get("health") == "healthy", float(patience_s))


def unhealthy(patience_s: str = "60") -> dict[str, Any]:
    """Until the kiosk says that something is wrong, or nothing at all."""
    return until(lambda now: now.get("health") != "healthy", float(patience_s))


def line(name: str, attribute: str) -> Path:
    """One of gpio-sim's files."""
    return next(Path("/sys/devices/platform").glob(f"gpio-sim.*/gpiochip*/{name}/{attribute}"))


class Lamp:
    """The lamp's line: the moments at which it changed."""

    def __init__(self) -> None:
        self._value = line(LAMP, "value")
        self.began = time.monotonic()
        self.changes: list[tuple[float, int]] = []

    def look(self) -> None:
        """Note a change."""
        lit = int(self._value.read_text())
        if not self.changes or self.changes[-1][1] != lit:
            self.changes.append((round(time.monotonic() - self.began, 3), lit))

    def watch(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Look so long, or until it is enough."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not enough():
            self.look()
            time.sleep(LOOK_S)


def lamp(seconds: str) -> dict[str, Any]:
    """What the lamp does in this time."""
    seen = Lamp()
    seen.watch(float(seconds))
    return {"changes": seen.changes}


def state() -> str:
    """The kiosk's state, or "" where it gives none."""
    return str(status().get("state", ""))


def ask(question: str, patience_s: str, break_in_with: str = "") -> dict[str, Any]:
    """Hold the button's line down, say the WAV, let go, wait until the kiosk is ready again; the lamp is sampled.

    `break_in_with` is a second question, asked 2 s into the first answer; "-" is a short press without one.
    """
    seen = Lamp()
    marks = []
    for number, wav in enumerate([question, break_in_with] if break_in_with else [question]):
        pull = line(BUTTON, "pull")
        marks.append((round(time.monotonic() - seen.began, 3), "pressed"))
        pull.write_text("pull-down")
        seen.watch(0.4)
        if wav != "-":
            seen.watch(speak(wav) + 0.8)
        pull.write_text("pull-up")
        marks.append((round(time.monotonic() - seen.began, 3), "released"))
        seen.watch(float(patience_s), lambda: state() in ("speaking", "ready"))
        if state() == "speaking":
            marks.append((round(time.monotonic() - seen.began, 3), "speaking"))
        if break_in_with and number == 0:
            seen.watch(2.0)
        else:
            seen.watch(float(patience_s), lambda: state() == "ready")
    marks.append((round(time.monotonic() - seen.began, 3), state()))
    seen.watch(1.5)
    return {"marks": marks, "lamp": seen.changes, "turns": status().get("turns")}


def speak(wav: str) -> float:
    """Have the room say this; its length in seconds."""
    with wave.open(wav) as file:
        seconds: float = file.getnframes() / file.getframerate()
    unfinished = QUESTION.with_suffix(".part")
    unfinished.write_bytes(Path(wav).read_bytes())
    unfinished.rename(QUESTION)
    return seconds


def say(wav: str) -> dict[str, Any]:
    """Speak, and return when it is said."""
    seconds = speak(wav)
    time.sleep(seconds + 0.8)
    return {"seconds": seconds}


def room(device: str) -> dict[str, Any]:
    """What the microphone hears: a little noise, for ever, and a question when one is put there."""
    noise = array.array("h", (int(random.gauss(0, NOISE_LSB)) for _ in range(RATE_HZ)))
    command = ["aplay", "-q", "-t", "raw", "-f", "S16_LE", "-r", str(RATE_HZ), "-c", "1", "-D", device]
    player = subprocess.Popen([*command, "--buffer-time=200000", "--period-time=40000"], stdin=subprocess.PIPE)
    assert player.stdin is not None
    fcntl.fcntl(player.stdin, fcntl.F_SETPIPE_SZ, 4096)  # as it is, a pipe would hold 1.4 s of the question back
    question, at, noise_at = array.array("h"), 0, 0
    with contextlib.suppress(BrokenPipeError):
        while player.poll() is None:
            if at >= len(question) and QUESTION.exists():
                with wave.open(str(QUESTION)) as file:
                    question, at = array.array("h", file.readframes(file.getnframes())), 0
                QUESTION.unlink()
            block = noise[noise_at : noise_at + BLOCK_FRAMES]
            noise_at = (noise_at + BLOCK_FRAMES) % (len(noise) - BLOCK_FRAMES)
            for index, sample in enumerate(question[at : at + BLOCK_FRAMES]):
                block[index] = max(-32768, min(32767, block[index] + sample))
            at += BLOCK_FRAMES
            player.stdin.write(block.tobytes())
            player.stdin.flush()
    raise SystemExit(1)  # the card is gone: systemd tries again


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])), flush=True)
