"""A private PulseAudio that stands in for a sound card: a speaker to be listened to, a microphone to be spoken into.

Real ALSA calls, paced in real time, on a machine without sound hardware (tests/sound, scripts/demo).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from attrs import define, field

_ASOUND_CONF = """\
</usr/share/alsa/alsa.conf>
pcm.spk { type pulse device spk }
pcm.mic { type pulse device mic.monitor }
pcm.spkmon { type pulse device spk.monitor }
"""
_START_S = 10.0  # it takes 0.15 s; a loaded machine gets patience
_STOP_S = 5.0
_SPEAK_LATENCY_MS = 200  # at 20 ms paplay itself drops out on a busy machine
_LONGEST_RUN_DIR = 90  # bytes: a unix socket's path has room for 107, and "/native" is appended


class PulseError(Exception):
    """The private sound server can't do what was asked; one line for whoever started it."""


@define(eq=False)
class PrivatePulse:
    """A PulseAudio of one's own with two null sinks. A context manager; `start` and `stop` do by hand.

    In ALSA's names: `spk` is a speaker, `mic` a microphone that hears what `speak` plays, `spkmon` hears the speaker.
    alsa-lib reads ALSA_CONFIG_PATH once a process, so `environment` must be set before the first PCM is opened.
    """

    run_dir: Path | None = None
    """Where the socket and asound.conf live: short and private; None makes a temporary one and removes it again."""
    rate_hz: int = 48_000
    _owned_dir: Path | None = field(default=None, init=False)
    _server: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _children: list[subprocess.Popen[bytes]] = field(factory=list, init=False)
    _log: IO[bytes] | None = field(default=None, init=False)

    SPEAKER = "spk"
    MICROPHONE = "mic"
    SPEAKER_MONITOR = "spkmon"

    def __enter__(self) -> PrivatePulse:
        self.prepare()
        try:
            self.start()
        except PulseError:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to find this server. Call `prepare` (or enter) first."""
        folder = self._folder
        return {
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{folder}/native",
            "PULSE_COOKIE": str(folder / "cookie"),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }

    @property
    def running(self) -> bool:
        """True while the server's process lives."""
        return self._server is not None and self._server.poll() is None

    def prepare(self) -> None:
        """Make the run folder and its asound.conf; no server yet. Raises PulseError."""
        if self.run_dir is None:
            self._owned_dir = self.run_dir = Path(tempfile.mkdtemp(prefix="kpulse-"))
        if len(os.fsencode(self.run_dir)) > _LONGEST_RUN_DIR:
            raise PulseError(f"{self.run_dir}: the path is too long for a unix socket, choose a shorter folder")
        try:
            self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.run_dir / "asound.conf").write_text(_ASOUND_CONF)
        except OSError as error:
            raise PulseError(
                f"{self.run_dir}: can't be used as the sound server's folder ({error.strerror})"
            ) from error

    def start(self) -> None:
        """Start the server and wait until it answers. Raises PulseError."""
        folder = self._folder
        (folder / "native").unlink(missing_ok=True)
        self._log = (folder / "pulseaudio.log").open("wb")
        sink = "module-null-sink sink_name={} rate={} channels=1 format=s16le norewinds=1"  # else playback stalls 1.9 s
        self._server = self._spawn(
            [
                "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit",
                "--realtime=no", "--high-priority=no",
                f"--load=module-native-protocol-unix auth-anonymous=1 socket={folder}/native",
                f"--load={sink.format('spk', self.rate_hz)}",
                f"--load={sink.format('mic', self.rate_hz)}",
            ],
            stderr=self._log,
        )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if not self.running:
                raise PulseError(f"pulseaudio ended at its start: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise PulseError(f"pulseaudio does not answer within {_START_S:.0f} s: {self._last_words()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server and whatever plays or records on it; harmless when it isn't running."""
        while self._children:
            _end(self._children.pop())
        if self._server is not None:
            _end(self._server)
            self._server = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def kill(self) -> None:
        """End the server as a crash would: at once, with its clients connected."""
        if self._server is not None:
            self._server.kill()
        self.stop()

    def freeze(self) -> None:
        """Stop the server's process in its tracks: reads and writes of its clients block for ever."""
        if self._server is not None:
            self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self._server is not None:
            self._server.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """`stop`, and remove the run folder if it was made here."""
        self.stop()
        if self._owned_dir is not None:
            shutil.rmtree(self._owned_dir, ignore_errors=True)
            self._owned_dir = self.run_dir = None

    def speak(self, wav: Path, sink: str = MICROPHONE) -> subprocess.Popen[bytes]:
        """Speak a WAV file into the microphone; the process ends when all was said. Raises PulseError."""
        return self._child(["paplay", f"--device={sink}", f"--latency-msec={_SPEAK_LATENCY_MS}", str(wav)])

    def listen(self, raw: Path, rate_hz: int = 24_000) -> subprocess.Popen[bytes]:
        """Record what the speaker plays as raw s16le mono into `raw`, until `hush` ends it. Raises PulseError."""
        with raw.open("wb") as sink:
            return self._child(
                ["parec", "--device=spk.monitor", "--format=s16le", f"--rate={rate_hz}", "--channels=1", "--raw",
                 "--latency-msec=5"],  # more would make the sink render in blocks of 20 ms
                stdout=sink,
            )  # fmt: skip

    def hush(self, child: subprocess.Popen[bytes]) -> None:
        """End a process that `speak` or `listen` started."""
        if child in self._children:
            self._children.remove(child)
        _end(child)

    def suspend(self, sink: str, suspended: bool = True) -> None:
        """Stall (or resume) the sink `spk` or `mic`: a card that stopped moving. Raises PulseError."""
        self._pactl("suspend-sink", sink, "1" if suspended else "0")

    def mute(self, kind: str, name: str, muted: bool = True) -> None:
        """Mute (or unmute) a "sink" or a "source", such as mic.monitor. Raises PulseError."""
        self._pactl(f"set-{kind}-mute", name, "1" if muted else "0")

    def default(self, kind: str, name: str) -> None:
        """Make a `sink` or `source` the server's default one."""
        self._pactl(f"set-default-{kind}", name)

    def add_echo(self, latency_ms: int, *arguments: str) -> str:
        """Let the microphone hear the speaker, until `unload_module`; the module's number. Raises PulseError."""
        # Unadjusted: after a stall of the machine its resampling would bend all sound by up to 1 % for half a minute.
        path = ("source=spk.monitor", "sink=mic", f"latency_msec={latency_ms}", "adjust_time=0")
        return self.load_module("module-loopback", *path, *arguments)

    def load_module(self, name: str, *arguments: str) -> str:
        """Load a PulseAudio module, such as module-echo-cancel; its number. Raises PulseError."""
        return self._pactl("load-module", name, *arguments).strip()

    def unload_module(self, number: str) -> None:
        """Take away what `load_module` brought. Raises PulseError."""
        self._pactl("unload-module", number)

    @property
    def _folder(self) -> Path:
        if self.run_dir is None:
            raise PulseError("the sound server has no run folder yet: enter it as a context manager, or call prepare()")
        return self.run_dir

    def _answers(self) -> bool:
        return (self._folder / "native").exists() and self._run(["pactl", "info"]).returncode == 0

    def _pactl(self, *arguments: str) -> str:
        done = self._run(["pactl", *arguments])
        if done.returncode:
            raise PulseError(f"pactl {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(command, env=self._env, capture_output=True, timeout=_STOP_S)
        except FileNotFoundError as error:
            raise _not_installed(command[0]) from error
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, b"", b"no answer from the sound server")

    def _child(self, command: list[str], stdout: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        self._children = [child for child in self._children if child.poll() is None]
        child = self._spawn(command, stdout=stdout)
        self._children.append(child)
        return child

    def _spawn(
        self, command: list[str], stdout: IO[bytes] | None = None, stderr: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=stdout or subprocess.DEVNULL,
                stderr=stderr or subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise _not_installed(command[0]) from error

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _last_words(self) -> str:
        lines = (self._folder / "pulseaudio.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def _not_installed(program: str) -> PulseError:
    return PulseError(f"{program} is not installed: `apt install pulseaudio pulseaudio-utils libasound2-plugins`")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for one that doesn't heed it (or is frozen)."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
