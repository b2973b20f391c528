"""A machine with a kiosk in it, its endpoint, and what was recorded of both."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from kioskd.audio.wav import write_wav
from kioskd.local.speak import synthesise
from lab import images
from lab.shell import CommandError, LabError, run, until
from lab.ssh import Machine

KEY = "sk-lab-0123456789abcdefghijklmnop"  # made up; it must be found nowhere but in its file
HOURS, STORY = "what are your opening hours", "tell me a story"
QUESTIONS = {"hours": HOURS, "story": STORY}
LAB_FILES = ("inside.py", "trouble.py", "standstill.py", "board.sh")
ENDPOINT = "endpoint.lab"

SETTINGS = """\
version: 1
endpoints:
  - name: lab
    url: "ws://endpoint.lab:{port}/v1/realtime"
    plain_text_allowed: true
    model: lab
    key: {{credential: api-key}}
audio:
  microphone: "{microphone}"
  speaker: "{speaker}"
log:
  level: {level}
"""


# The endpoint has a name, which a name server of the machine's own knows.
NAMES = """\
[Unit]
Before=kioskd.service
[Service]
ExecStart=python3 -I -S /lab/trouble.py names {server} {name} {address}
Restart=always
[Install]
WantedBy=multi-user.target
"""


@define(eq=False)
class Simulator:
    """`kioskd simulate` on this machine, at a port that stays. It takes only the lab's key."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None
    _starts: int = 0

    def start(self) -> None:
        """Start it, with a record of its own: a new one overwrites none."""
        key = self.folder / "key.txt"
        key.write_text(KEY)
        key.chmod(0o600)
        self._starts += 1
        self.record.mkdir()
        command = [sys.executable, "-m", "kioskd", "simulate", "--port", str(self.port), "--key-file", str(key)]
        with (self.folder / f"simulator-{self._starts}.log").open("wb") as log:
            self._process = subprocess.Popen([*command, "--record", str(self.record)], stdout=log, stderr=log)
        until("listening", lambda: _accepts(self.port), 60)

    def stop(self) -> None:
        """Gone, without a goodbye."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self, still: bool = True) -> None:
        """It takes connections (the kernel does), and says nothing; or goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    @property
    def record(self) -> Path:
        """Where this run's WAV files and events are."""
        return self.folder / f"record-{self._starts}"

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What it noted of a kind, oldest first."""
        file = self.record / "events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if event["kind"] == kind]


@define(eq=False)
class Stage:
    """`name` is nspawn-12, nspawn-13 or pi."""

    name: str
    machine: Machine
    simulator: Simulator
    out: Path
    facts: dict[str, Any] = field(factory=dict)
    """What was learned on the way, for the report."""

    @property
    def has_pins(self) -> bool:
        """Whether there is a real GPIO chip, and a kernel of its own."""
        return self.name == "pi"

    def healthy(self, patience_s: float = 90) -> float:
        """The seconds until the kiosk says that all is well. Raises CommandError."""
        answer = self.machine.look("healthy", patience_s, timeout=patience_s + 30)
        if answer["seconds"] is None:
            raise CommandError(f"not healthy after {patience_s:.0f} s: {answer['status']}\n{self.machine.journal(15)}")
        return float(answer["seconds"])

    def unhealthy(self, patience_s: float = 60) -> dict[str, Any]:
        """The status once something is wrong. Raises CommandError."""
        answer = self.machine.look("unhealthy", patience_s, timeout=patience_s + 30)
        if answer["seconds"] is None:
            raise CommandError(f"still healthy after {patience_s:.0f} s: {answer['status']}")
        return dict(answer["status"])

    def heard(self) -> int:
        """How many questions the endpoint understood so far."""
        return sum(event["understood"] for event in self.simulator.events("heard"))


@contextmanager
def prepared(name: str, suite: str, folder: Path, out: Path, endpoint_host: str) -> Iterator[tuple[Stage, Path]]:
    """A stage that isn't booted yet, with the folder that its machine sees as /lab."""
    bundle = folder / "bundle"
    bundle.mkdir()
    for file in LAB_FILES:
        shutil.copy(images.HERE / file, bundle / file)
    images.copy_of_project(bundle / "kioskd")
    with images.wheelhouse(suite) as wheels:
        shutil.copytree(wheels, bundle / "wheels")
    for word, text in QUESTIONS.items():
        write_wav(bundle / f"{word}.wav", trio.run(synthesise, text))
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], timeout=30)
    shutil.copy(folder / "key.pub", bundle / "authorized_keys")
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(bundle / "host_key")], timeout=30)
    port = free_port()
    simulator = Simulator(out, free_port())
    simulator.start()
    stage = Stage(name, Machine(folder, port), simulator, out, {"endpoint_host": endpoint_host})
    # On a Pi of its own it listens at 22, and a port of this machine is forwarded to it.
    listen = "Port 22" if stage.has_pins else f"Port {port}\nListenAddress 127.0.0.1"
    (bundle / "sshd_config").write_text(
        f"{listen}\nHostKey /lab/host_key\nAuthorizedKeysFile /lab/authorized_keys\nPermitRootLogin yes\n"
        "StrictModes no\nUsePAM no\nUseDNS no\nMaxSessions 50\nSubsystem sftp internal-sftp\n"
    )
    try:
        yield stage, bundle
    finally:
        simulator.stop()


def write_settings(stage: Stage, *, level: str = "info", microphone: str = "", extra: str = "") -> None:
    """/etc/kioskd/kioskd.yaml, as this stage's devices and endpoint want it."""
    text = settings_text(stage, level=level, microphone=microphone)
    stage.machine.put(text + extra, "/etc/kioskd/kioskd.yaml")


def settings_text(stage: Stage, *, level: str = "info", microphone: str = "") -> str:
    """The settings of this stage's kiosk."""
    devices = (
        ("plughw:CARD=Loopback,DEV=1,SUBDEV=1", "plughw:CARD=Loopback,DEV=0") if stage.has_pins else ("mic", "spk")
    )
    return SETTINGS.format(
        port=stage.simulator.port,
        microphone=microphone or devices[0],
        speaker=devices[1],
        level=level,
    )


def furnish(stage: Stage, files: dict[str, str]) -> None:
    """What stands in the machine before kioskd comes: these files, and a name server."""
    # On loopback, which the containers share; each stage has one of its own.
    server = f"127.0.42.{stage.name.partition('-')[2] or 53}"
    names = NAMES.format(server=server, name=ENDPOINT, address=stage.facts["endpoint_host"])
    units = {"/etc/systemd/system/lab-names.service": names, "/etc/resolv.conf": f"nameserver {server}\n"}
    for path, text in {**files, **units}.items():
        stage.machine.put(text, path)
    stage.machine.run("systemctl daemon-reload && systemctl -q enable --now lab-names")


def install(stage: Stage, *options: str) -> dict[str, Any]:
    """scripts/install in the machine, as an owner would, without a network. Returns what is worth knowing."""
    machine = stage.machine
    write_settings(stage)
    machine.put(KEY, "/etc/credstore/kioskd-api-key", mode="600")
    # As sound servers and the room see it; the kiosk's unit is the shipped one but for these lines.
    command = f"cd /lab/kioskd && scripts/install --wheelhouse /lab/wheels {' '.join(options)} 2>&1"
    said = machine.run(command, timeout=900)
    return {"last_lines": said.splitlines()[-6:]}


def keep_logs(stage: Stage) -> None:
    """The machine's journal, for who wants to know more."""
    with contextlib.suppress(CommandError):
        (stage.out / "journal.txt").write_text(
            stage.machine.run("journalctl --no-pager -o short-monotonic", timeout=60)
        )


def free_port() -> int:
    """A TCP port of this machine's loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A folder for the time of a stage."""
    with tempfile.TemporaryDirectory(prefix=f"kioskd-lab-{name}-") as folder:
        Path(folder).chmod(0o755)  # the machine's own users look into the bundle
        yield Path(folder)


def end(process: subprocess.Popen[bytes], patience_s: float = 20) -> None:
    """End a process that this lab started."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def check_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises LabError if a machine has ended by itself."""
    if process.poll() is not None:
        raise LabError(f"the machine has ended (exit code {process.returncode}):\n{log.read_text()[-2000:]}")
