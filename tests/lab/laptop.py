"""The owner's side: a laptop with a key that is for settings only, and the README's commands, run as written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from attrs import define, field, frozen

from lab import images
from lab.shell import CommandError, run
from lab.stage import Stage, free_port

README = images.PROJECT / "README.md"
SECTION = "### From a flashed card to a kiosk, and a change from a laptop"
USER = "kioskd-admin"
SSHD = "lab-owners-sshd"

CONFIG = """\
Host kiosk
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/id_ed25519
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 10
"""


@frozen
class Said:
    """What came of a command. `code`: its exit code, 255 where it is ssh's own."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}: {self.out.strip()} {self.err.strip()}"


@define(eq=False)
class Laptop:
    """A folder with a key and an ssh configuration, in which `kiosk` is the stage's machine."""

    folder: Path
    _environment: dict[str, str] = field(factory=dict)

    def run(self, command: str, *, timeout: float = 90, stdin: str = "") -> Said:
        """A line as its owner types it. Raises CommandError if it takes longer."""
        try:
            done = subprocess.run(
                ["sh", "-c", command], input=stdin, capture_output=True, text=True, errors="replace",
                timeout=timeout, cwd=self.folder, env=self._environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CommandError(f"on the laptop: {command}: not done after {timeout:.0f} s") from None
        return Said(done.returncode, done.stdout, done.stderr)

    def ask(self, words: str, *options: str, timeout: float = 90, stdin: str = "") -> Said:
        """`ssh kiosk` with exactly this text as its command, whatever is in it."""
        command = [str(self.folder / "bin/ssh"), *options, "kiosk", *([words] if words else [])]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"ssh kiosk {words[:80]}: not done after {timeout:.0f} s") from None
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, words: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return subprocess.Popen(
            [str(self.folder / "bin/ssh"), "kiosk", words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def bring(stage: Stage) -> Laptop:
    """A laptop with a new key, and an sshd of the machine's own Debian configuration for it."""
    folder = stage.machine.folder / "laptop"
    (folder / "bin").mkdir(parents=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "owner@laptop", "-f", f"{folder}/id_ed25519"], timeout=30)
    port = free_port()
    (folder / "ssh_config").write_text(CONFIG.format(port=port, user=USER, folder=folder))
    for name in ("ssh", "sftp", "scp"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec /usr/bin/{name} -F {folder}/ssh_config "$@"\n')
        program.chmod(0o755)
    options = f"-o Port={port} -o ListenAddress=127.0.0.1 -o HostKey=/lab/host_key"
    stage.machine.run(f"systemd-run -q --unit {SSHD} -p Restart=always /usr/sbin/sshd -D -e {options}")
    return Laptop(folder, {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder)})


def readme_commands() -> list[tuple[str, str]]:
    """The commands of the README's section for owners, in their order: "kiosk" or "laptop", and the line."""
    text = README.read_text().partition(f"\n{SECTION}\n")[2]
    place, commands = "", []
    for line in text.splitlines():
        if line.startswith("#"):
            break
        if line.startswith("    "):
            commands.append((place, line.strip()))
        elif "On the kiosk" in line:
            place = "kiosk"
        elif "On the laptop" in line:
            place = "laptop"
    if {place for place, _ in commands} != {"kiosk", "laptop"}:
        raise CommandError(f"the README has no section {SECTION!r} with commands for both")
    return commands
