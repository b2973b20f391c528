"""Five kiosks in containers of one image, and the Ansible that looks after them."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from lab import images, nspawn
from lab.shell import CommandError, run, say
from lab.ssh import Machine
from lab.stage import ENDPOINT, KEY, SETTINGS, Simulator, Stage, check_alive, end, free_port, keep_logs, workplace

SUITE = "bookworm"
KIOSKS = tuple(f"kiosk-{number}" for number in range(1, 6))
CANARY = KIOSKS[0]
BATCHES = ((KIOSKS[0],), KIOSKS[1:3], KIOSKS[3:])
OWNER = "owner"  # with sudo, as an owner logs in
PLAY_S = 600.0

# The kiosk's sound server is there before it.
_UNIT = "[Unit]\nWants=lab-pulse.service lab-room.service\nAfter=lab-pulse.service\n"
# Without a shadow entry that begins with "!", which sshd takes for a locked account.
_INSTALL = f"""set -e
useradd -m -s /bin/bash -p '*' {OWNER}
cd /lab/kioskd
scripts/install --wheelhouse /lab/wheels --no-start"""


@frozen
class Played:
    """What came of a playbook. `changed`: how many changes it tells of, by kiosk."""

    code: int
    said: str
    changed: dict[str, int]

    def expect_done(self) -> Played:
        """Raises CommandError if it failed."""
        if self.code:
            raise CommandError(f"the playbook ended with {self.code}:\n{self.said[-3000:]}")
        return self


@define(eq=False)
class Fleet:
    """`project` is the copy of the checkout that Ansible runs from; `folder` holds the inventory."""

    kiosks: dict[str, Stage]
    folder: Path
    project: Path
    out: Path
    simulator: Simulator
    hosts: dict[str, dict[str, Any]] = field(factory=dict)
    """Further variables of a kiosk."""
    plays: int = 0

    def write_inventory(self, **settings: Any) -> None:
        """Two sites, a canary, and these settings for all; a host's own are in `hosts`."""
        port = self.simulator.port
        endpoint = {"name": "lab", "url": f"ws://{ENDPOINT}:{port}/v1/realtime", "model": "lab"}
        endpoint |= {"plain_text_allowed": True, "key": {"credential": "api-key"}}
        everywhere = {"version": 1, "endpoints": [endpoint], "audio": {"microphone": "mic", "speaker": "spk"}}
        everywhere["audio"] |= settings
        hosts: dict[str, dict[str, Any]] = {name: {} for name in KIOSKS}
        for name, kiosk in self.kiosks.items():
            hosts[name] = {"ansible_host": "127.0.0.1", "ansible_port": kiosk.machine.port}
        for name, own in self.hosts.items():
            hosts.setdefault(name, {}).update(own)
        museum = {name: hosts.pop(name) for name in KIOSKS[:2]}
        ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        common = {
            "ansible_user": OWNER,
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": ssh,
            "kioskd_settings": everywhere,
            "kioskd_secrets": {"api-key": "{{ vault_api_key }}", "spare": "{{ vault_spare }}"},
            "kioskd_probation": "12s",
            "kioskd_report_dir": str(self.out / "report"),
        }
        station = {"hosts": hosts, "vars": {"kioskd_site_settings": {"audio": {"volume_ceiling": 90}}}}
        tree = {
            "kiosks": {"children": {"museum": {"hosts": museum}, "station": station}},
            "canary": {"hosts": {CANARY: {}}},
        }
        folder = self.folder / "inventory"
        (folder / "group_vars/all").mkdir(parents=True, exist_ok=True)
        (folder / "kiosks.yml").write_text(json.dumps(tree, indent=1))  # JSON is YAML
        (folder / "group_vars/all/kiosks.yml").write_text(json.dumps(common, indent=1))

    def write_vault(self, **secrets: str) -> Path:
        """Encrypted, as it may lie in a repository."""
        vault = self.folder / "inventory/group_vars/all/vault.yml"
        vault.parent.mkdir(parents=True, exist_ok=True)
        vault.write_text("".join(f"vault_{name}: {json.dumps(value)}\n" for name, value in secrets.items()))
        self.tool("ansible-vault", "encrypt", str(vault))
        return vault

    def play(self, playbook: str, *options: str, **variables: Any) -> Played:
        """Run one of scripts/fleet's playbooks, as its README says."""
        self.plays += 1
        words = [f"{playbook}.yml", "-i", str(self.folder / "inventory"), *options]
        variables = {"kioskd_batches": [len(batch) for batch in BATCHES]} | variables
        words += ["-e", json.dumps(variables)]
        code, said = self._called("ansible-playbook", *words)
        (self.out / f"play-{self.plays:02d}-{playbook}.txt").write_text(said)
        recap = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+) ", said.rpartition("PLAY RECAP")[2], re.MULTILINE)
        return Played(code, said, {name: int(count) for name, count in recap})

    def tool(self, *command: str) -> str:
        """What one of Ansible's programs says. Raises CommandError."""
        code, said = self._called(*command)
        if code:
            raise CommandError(f"{' '.join(command)}: exit code {code}\n{said[-3000:]}")
        return said

    def _called(self, program: str, *options: str) -> tuple[int, str]:
        fleet, tools = self.project / "scripts/fleet", ansible() / "venv/bin"
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(fleet / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.folder / "vault-password"),
            "ANSIBLE_NOCOLOR": "1",
        }
        try:
            done = subprocess.run(
                [str(tools / program), *options], cwd=fleet, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PLAY_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise CommandError(f"{program}: not done after {PLAY_S:.0f} s\n{(late.stdout or b'')[-2000:]!r}") from None
        return done.returncode, done.stdout.decode(errors="replace")

    def state(self, name: str) -> str:
        """All that a rollout could change on a kiosk; equal, if nothing was."""
        return self.kiosks[name].machine.run(
            "sha256sum /etc/kioskd/kioskd.yaml; kioskd config history --json; readlink /opt/kioskd/current; "
            "systemctl show -p MainPID -p NRestarts kioskd; ls -l --time-style=full-iso /etc/credstore* "
            "/opt/kioskd/versions /var/lib/kioskd-settings /var/tmp 2>&1"
        )

    def states(self) -> dict[str, str]:
        """Of all of them."""
        return {name: self.state(name) for name in self.kiosks}

    def value(self, name: str, key: str) -> str:
        """A setting that counts there."""
        return self.kiosks[name].machine.run(f"kioskd config get {key}").strip()

    def all_healthy(self, patience_s: float = 90) -> None:
        """Raises CommandError."""
        for kiosk in self.kiosks.values():
            kiosk.healthy(patience_s)


def ansible() -> Path:
    """ansible-core and ansible-lint, in a venv of their own."""
    parser = configparser.ConfigParser()
    parser.read(images.PROJECT / "setup.cfg")
    wanted = parser["options.extras_require"]["fleet"].split()

    def build(folder: Path) -> None:
        venv = folder / "venv"
        run([sys.executable, "-m", "venv", str(venv)], timeout=120)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        run([*pip, *wanted], timeout=images.PATIENCE_S)
        for script in (venv / "bin").iterdir():  # they name the folder in which it is built
            if script.is_file() and not script.is_symlink():
                text = script.read_bytes()
                script.write_bytes(text.replace(str(folder).encode(), str(folder.with_suffix("")).encode()))

    return images.kept("ansible", [*wanted, sys.version, images._source(ansible)], build)


def image() -> Path:
    """A machine in which kioskd is installed already: five boots of it cost nothing but their own start."""
    root, wheels = images.machine_root(SUITE), images.dependency_wheels(SUITE)

    def build(folder: Path) -> None:
        run(["cp", "-a", f"{root}/.", str(folder)], timeout=images.PATIENCE_S)
        with workplace("fleet-image") as bundle, images.wheelhouse(SUITE) as house:
            images.copy_of_project(bundle / "kioskd")
            shutil.copytree(house, bundle / "wheels")
            images.enter(folder, "sh", "-c", _INSTALL, binds=[f"{bundle}:/lab"])
        for path, text in nspawn.SOUND.items():
            _put(folder, path, text)
        _put(folder, "/etc/systemd/system/kioskd.service.d/lab-order.conf", _UNIT)
        _put(folder, f"/etc/sudoers.d/{OWNER}", f"{OWNER} ALL=(ALL) NOPASSWD: ALL\n", 0o440)

    inputs = [root.name, wheels.name, *(images.tree_hash(images.PROJECT / name) for name in images.SOURCES)]
    texts = [json.dumps(nspawn.SOUND), _UNIT, _INSTALL, images._source(image)]
    return images.kept("fleet", [*inputs, *texts], build)


@contextmanager
def booted(out: Path) -> Iterator[Fleet]:
    """The kiosks, running, each with settings of its own, and an inventory in which they stand."""
    with ExitStack() as stack:
        folder = stack.enter_context(workplace("fleet"))
        roots = stack.enter_context(tempfile.TemporaryDirectory(prefix="machine-", dir=images.cache()))
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], timeout=30)
        (folder / "vault-password").write_text("made up for the lab\n")
        simulator = Simulator(out, free_port())
        simulator.start()
        stack.callback(simulator.stop)
        project = images.copy_of_project(folder / "kioskd")
        fleet = Fleet({}, folder, project, out, simulator)
        original = image()
        for name in KIOSKS:
            root = Path(roots) / name
            run(["cp", "-al", str(original), str(root)], timeout=120)  # takes no room: all files are links
            fleet.kiosks[name] = stack.enter_context(_one(name, root, fleet))
        for kiosk in fleet.kiosks.values():
            kiosk.facts["ssh_s"] = round(kiosk.machine.wait_for_ssh(90), 1)
            stack.callback(keep_logs, kiosk)
        yield fleet


@contextmanager
def _one(name: str, root: Path, fleet: Fleet) -> Iterator[Stage]:
    bundle, port, out = fleet.folder / name, free_port(), fleet.out / name
    for folder in (bundle, out):
        folder.mkdir()
    shutil.copy(images.HERE / "inside.py", bundle)
    shutil.copy(fleet.folder / "key.pub", bundle / "authorized_keys")
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(bundle / "host_key")], timeout=30)
    (bundle / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey /lab/host_key\nAuthorizedKeysFile /lab/authorized_keys\n"
        "PermitRootLogin yes\nStrictModes no\nUsePAM no\nUseDNS no\nSubsystem sftp internal-sftp\n"
    )
    stage = Stage(name, Machine(fleet.folder, port), fleet.simulator, out)
    settings = SETTINGS.format(port=fleet.simulator.port, microphone="mic", speaker="spk", level="info")
    _put(root, "/etc/kioskd/kioskd.yaml", settings)
    _put(root, "/etc/credstore/kioskd-api-key", KEY, 0o600)
    _put(root, "/etc/hostname", f"{name}\n")
    _put(root, "/etc/hosts", f"127.0.0.1 localhost {name} {ENDPOINT}\n")
    command = ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--console=pipe"]
    command += ["--volatile=overlay", "--resolv-conf=off", "--link-journal=no", f"--bind-ro={bundle}:/lab"]
    say(f"fleet: booting {name}")
    log = out / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            [*command, f"--machine=kioskd-lab-{name}", f"--hostname={name}", "-b"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
        )  # fmt: skip
    try:
        yield stage
    finally:
        ended = process.poll() is not None
        end(process, 30)
        images.clean_mounts(root)
        if ended:
            check_alive(process, log)


def _put(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    """A file in a root whose files may be links to another's: never written in place."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(mode)
