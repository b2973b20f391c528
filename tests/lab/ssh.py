"""A machine that is reached by ssh: every command has a time limit."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from attrs import define

from lab.shell import CommandError, run, until

INSIDE, TROUBLE = "/lab/inside.py", "/lab/trouble.py"


@define(eq=False)
class Machine:
    """`folder` holds the keys; `port` is forwarded to its sshd, on loopback."""

    folder: Path
    port: int

    def run(self, command: str, *, timeout: float = 30, check: bool = True, stdin: str | None = None) -> str:
        """What a shell command prints there. Raises CommandError."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "IdentitiesOnly": "yes",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "5",
            # One connection serves all: a handshake takes seconds on an emulated processor.
            "ControlMaster": "auto",
            "ControlPath": f"{self.folder}/ssh-%p",
            "ControlPersist": "60",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        ssh = ["ssh", "-n", *words] if stdin is None else ["ssh", *words]
        whole = [*ssh, "-i", str(self.folder / "key"), "-p", str(self.port), "root@127.0.0.1", command]
        try:
            return run(whole, timeout=timeout, check=check, stdin=stdin)
        except CommandError as error:
            raise CommandError(f"in the machine: {command}: {str(error).partition(': ')[2]}") from None

    def look(self, verb: str, *arguments: object, timeout: float = 60, program: str = INSIDE) -> dict[str, Any]:
        """One verb of inside.py, or of trouble.py."""
        words = shlex.join(["python3", "-I", "-S", program, verb, *map(str, arguments)])
        answer: dict[str, Any] = json.loads(self.run(words, timeout=timeout))
        return answer

    def put(self, text: str, path: str, mode: str = "644") -> None:
        """Write a file there."""
        quoted = shlex.quote(path)
        self.run(f"install -D -m {mode} /dev/stdin {quoted}", stdin=text)

    def wait_for_ssh(self, timeout: float) -> float:
        """The seconds until it answers."""
        return until("reachable by ssh", lambda: self.run("true", timeout=15) == "", timeout, every=0.3)

    def shown(self, *names: str, unit: str = "kioskd") -> dict[str, str]:
        """Properties of a unit."""
        text = self.run(f"systemctl show {unit} " + " ".join(f"-p {name}" for name in names))
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def pid(self) -> int:
        """The daemon's process; 0 where there is none."""
        return int(self.shown("MainPID")["MainPID"])

    def journal(self, lines: int = 40) -> str:
        """The end of the daemon's log."""
        return self.run(f"journalctl -u kioskd -o cat --no-pager -n {lines}", check=False)
