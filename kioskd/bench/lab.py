"""The laboratory: the server's process, a sound server of one's own, and the clients' processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import define, field

from kioskd.bench.control import Control
from kioskd.bench.plan import Plan
from kioskd.simulator.pulse import PrivatePulse, PulseError

KEY_VARIABLE = "KIOSKD_BENCH_KEY"
_NOT_INHERITED = (
    "SSL_CERT_FILE",  # a bundle of CAs costs each client 20 ms; a kiosk sets neither
    "SSL_CERT_DIR",
    "PYTHONDONTWRITEBYTECODE",  # a kiosk is installed with its .pyc
)
PATIENCE_S = 300.0  # for a process that ends by itself

_SETTINGS = """\
version: 1
endpoints:
  - name: bench
    url: "wss://127.0.0.1:{port}/v1/realtime"
    model: "bench"
    key:
      environment: {key}
    extra_ca: "{ca}"
audio:
  microphone: "{microphone}"
  speaker: "{speaker}"
  signs: false
log:
  level: warning
"""


class BrokenError(Exception):
    """Something here did not work: no figure can be trusted."""


@define(eq=False)
class Client:
    """A client's process; orders as in `worker`."""

    kind: str
    _process: subprocess.Popen[str]

    def order(self, *words: object) -> dict[str, float]:
        """Give an order, and wait for its result. Raises BrokenError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BrokenError(f"the client {self.kind} has ended") from None
        return self.result()

    def result(self) -> dict[str, float]:
        """The next line that it says. Raises BrokenError."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrokenError(f"the client {self.kind} has ended: exit code {self._process.wait()}, see above")
        result: dict[str, float] = json.loads(line)
        return result


@define(eq=False)
class Lab:
    """A context manager. `no_sound`: why there is no sound card, not even a virtual one; "" where there is one."""

    profiles: Path | None = None
    """Where clients write what they spend their time on."""
    no_sound: str = field(default="", init=False)
    control: Control = field(init=False)
    _plan: Plan = field(init=False)
    _environment: dict[str, str] = field(factory=dict, init=False)
    _stack: ExitStack = field(factory=ExitStack, init=False)

    def __enter__(self) -> Lab:
        with self._stack as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kbench-")))
            inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
            self._environment = {**inherited, KEY_VARIABLE: "a-key-for-loopback", "GPIOZERO_PIN_FACTORY": "mock"}
            try:
                pulse = stack.enter_context(PrivatePulse())
                self._environment.update(pulse.environment)
                microphone, speaker = pulse.MICROPHONE, pulse.SPEAKER
                pulse.load_module("module-sine", f"sink={microphone}", "frequency=220")  # digital silence is a fault
            except PulseError as error:
                self.no_sound = str(error)
                microphone = speaker = ""
            server = self._start("kioskd.bench.stub", str(folder))
            stack.callback(_end, server)
            assert server.stdout is not None
            ports = json.loads(server.stdout.readline() or "{}")
            if not ports:
                raise BrokenError("the server did not start, see above")
            self.control = Control(ports["control"])
            stack.callback(self.control.close)
            ca, settings = str(folder / "ca.pem"), folder / "kioskd.yaml"
            names = {"microphone": microphone or "default", "speaker": speaker or "default"}
            settings.write_text(_SETTINGS.format(port=ports["port"], key=KEY_VARIABLE, ca=ca, **names))
            self._plan = Plan(ports["port"], ports["control"], ca, str(settings), microphone, speaker)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @contextmanager
    def client(self, kind: str, *, sound: bool = True, profile: str = "") -> Iterator[Client]:
        """A connected client. `profile`: a name for what it writes, if that is wanted."""
        plan = self._plan_for(sound, profile)
        process = self._start("kioskd.bench.worker", kind, plan.to_json())
        client = Client(kind, process)
        try:
            client.result()
            yield client
        finally:
            _end(process)

    def run(self, module: str, *arguments: str) -> dict[str, Any]:
        """What a module prints that ends by itself. Raises BrokenError."""
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S)
        if done.returncode:
            raise BrokenError(f"{module}: exit code {done.returncode}, see above")
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def start_up(self, what: str) -> dict[str, Any]:
        """One start in a fresh process: "bare", "kiosk" or "openai"."""
        plan = self._plan
        arguments = (str(plan.port), plan.ca, plan.settings, plan.microphone, plan.speaker)
        return self.run("kioskd.bench.startup", what, *arguments)

    def hour(self, minutes: int) -> dict[str, Any]:
        """So many minutes of talk."""
        return self.run("kioskd.bench.hour", self._plan.to_json(), str(minutes))

    def _plan_for(self, sound: bool, profile: str) -> Plan:
        plan = self._plan
        path = str(self.profiles / f"{profile}.txt") if self.profiles is not None and profile else ""
        devices = (plan.microphone, plan.speaker) if sound else ("", "")
        return Plan(plan.port, plan.control, plan.ca, plan.settings, *devices, path)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _end(process: subprocess.Popen[str]) -> None:
    """Its stdin ends, and so does it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
