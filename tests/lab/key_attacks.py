"""Whoever has the settings key and wants more: by the forced command, by sshd, and by sudo."""

from __future__ import annotations

import shlex

from lab.injections import INJECTIONS, PWNED
from lab.laptop import SSHD, USER, Laptop
from lab.report import Evidence, expect
from lab.stage import Stage, free_port

USAGE = 2
PROGRAM = "/opt/kioskd/bin/kioskd"


def injections(stage: Stage, laptop: Laptop) -> Evidence:
    """The forced command attacked with each of the injections: exit code 2, a readable refusal, and nothing else."""
    before = _state(stage)
    wrong = []
    for name, command in INJECTIONS.items():
        done = laptop.ask(command, stdin="")
        if (done.code, done.out) != (USAGE, "") or "What works with it:" not in done.err:
            wrong.append(f"{name}: {done}"[:300])
    expect(not wrong, "\n".join(wrong))
    after = _state(stage)
    expect(after == before, f"something was changed: {before} {after}")
    return {"refused": len(INJECTIONS), "one_of_them": laptop.ask(INJECTIONS["semicolon"]).err.splitlines()[0]}


def no_other_way_in(stage: Stage, laptop: Laptop) -> Evidence:
    """sshd gives this key no terminal, no file, no tunnel, no agent, and no environment."""
    before, port = _state(stage), free_port()
    seen: dict[str, str] = {}

    def refused(name: str, command: str, stdin: str = "") -> None:
        done = laptop.run(command, timeout=20, stdin=stdin)
        seen[name] = str(done)[:160]
        expect(done.code != 0 and "root:" not in done.out, f"{name}: {done}")

    refused("login", "ssh kiosk")
    refused("login with a terminal", "ssh -tt kiosk")
    refused("terminal", "ssh -tt kiosk sh")
    refused("sftp", "sftp -b - kiosk", stdin="get /etc/passwd\n")
    refused("scp out", "scp kiosk:/etc/passwd stolen")
    refused("scp in", f"scp ssh_config kiosk:{PWNED}")
    refused("old scp out", "scp -O kiosk:/etc/passwd stolen")
    refused("tunnel inwards", f"ssh -o ExitOnForwardFailure=yes -R {port}:127.0.0.1:22 kiosk nothing")
    refused("socket inwards", f"ssh -o ExitOnForwardFailure=yes -R {PWNED}:127.0.0.1:22 kiosk nothing")
    refused("tunnel outwards", f"ssh -W 127.0.0.1:{stage.machine.port} kiosk", stdin="x\n")
    refused("sftp subsystem", "ssh -s kiosk sftp")
    refused("environment", "ssh -o SetEnv='PYTHONPATH=/tmp SSH_ORIGINAL_COMMAND=status BASH_ENV=/tmp/x' kiosk sh")
    agent = laptop.run("eval $(ssh-agent) >&2; ssh -A kiosk status; code=$?; ssh-agent -k >&2; exit $code", timeout=30)
    expect(agent.code in (0, 1), f"status with an agent: {agent}")
    expect(not (laptop.folder / "stolen").exists(), "a file was taken")
    after = _state(stage)
    expect(after == before, f"something was changed: {before} {after}")
    files = stage.machine.run(f"find / -xdev -user {USER} -not -path '/proc/*' 2>/dev/null", timeout=60).split()
    expect(not files, f"the user owns {files}")
    return seen


def root_side(stage: Stage, laptop: Laptop) -> Evidence:
    """As if the forced command were broken: its user, with a shell, gets no more of sudo than the same table."""
    before = _state(stage)
    seen: dict[str, str] = {}

    def asks(name: str, command: str, asked: str = "", *, wanted: int | None = None) -> None:
        words = ["runuser", "-u", USER, "--", "env", "-i", f"SSH_ORIGINAL_COMMAND={asked}", "PATH=/usr/bin:/bin"]
        told = stage.machine.run(f"{shlex.join([*words, 'sh', '-c', command])} 2>&1; echo code $?", timeout=30)
        code = int(told.split()[-1])
        seen[name] = told.strip()[:160]
        expect(code == wanted if wanted is not None else code != 0, f"{name}: {told}")
        expect("root:" not in told, f"{name}: {told}")

    asks("as it is meant", f"sudo -n {PROGRAM} config-verb", "config get conversation.language", wanted=0)
    for name in ("semicolon", "another file, with =", "a shell", "edit", "check a file", "nothing", "function"):
        asks(f"root's own table: {name}", f"sudo -n {PROGRAM} config-verb", INJECTIONS[name], wanted=USAGE)
    asks("another command", f"sudo -n {PROGRAM} config show --config /etc/shadow")
    asks("an argument more", f"sudo -n {PROGRAM} config-verb --config=/etc/shadow", "status")
    asks("an empty argument", f"sudo -n {PROGRAM} config-verb ''", "status")
    asks("another program", "sudo -n cat /etc/shadow")
    asks("a shell", "sudo -n -s")
    asks("an editor", "sudo -n -e /etc/shadow")
    asks("another user", f"sudo -n -u kioskd {PROGRAM} config-verb", "status")
    asks("an environment of its own", f"PYTHONPATH=/tmp sudo -n -E {PROGRAM} config-verb", "status")
    asks("a variable", f"sudo -n PYTHONPATH=/tmp {PROGRAM} config-verb", "status")
    asks("a folder", f"sudo -n -D /tmp {PROGRAM} config-verb", "status")
    asks("its own keys", "echo x >>$HOME/.ssh/authorized_keys; echo x >>/var/lib/kioskd-admin/.ssh/authorized_keys")
    asks("its own rule", "echo x >>/etc/sudoers.d/kioskd-admin")
    # A module that Python would find first, were it looked for where its user can write.
    stage.machine.run("install -m 644 -o kioskd-admin /dev/null /tmp/argparse.py", check=False)
    stage.machine.put(f"import os; os.system('touch {PWNED}')\n", "/tmp/argparse.py")
    asks("a module", f"cd /tmp && PYTHONPATH=/tmp sudo -n {PROGRAM} config-verb", "config get audio.volume", wanted=0)
    # A file of root's, named as an API key: root's side must not read it for the key's owner.
    stage.machine.put("root-s-own-secret", "/root/secret", mode="600")
    settings = (laptop.folder / "kioskd.yaml").read_text().replace("{credential: api-key}", "{file: /root/secret}")
    for command in ("config check -", "config apply - --probe", "config apply - --probe --anyway --probation 5s"):
        done = laptop.ask(command, stdin=settings)
        seen[command] = str(done)[:200]
        expect(done.code != 0 and "root-s-own" not in str(done), f"{command}: {done}")
    expect(not any("root-s-own" in str(event) for event in stage.simulator.events("wire")), "it reached the endpoint")
    # Programs that a model may have run.
    program = f"tools: {{actions: [{{name: x, description: d, command: [/bin/sh, -c, touch {PWNED}]}}]}}\n"
    done = laptop.ask("config apply - --anyway", stdin=(laptop.folder / "kioskd.yaml").read_text() + program)
    expect(done.code in (1, 78) and "tools" in done.err, f"a program: {done}")
    for device in (f"file:{PWNED},raw", f"\"file:'|touch {PWNED}',raw\"", f"\"tee:null,'{PWNED}',raw\""):
        done = laptop.ask(f"config set audio.speaker={device} --anyway")
        expect(done.code == 78, f"{device}: {done}")
    stage.machine.run("rm -f /tmp/argparse.py /root/secret")
    after = _state(stage)
    expect(after == before, f"something was changed: {before} {after}")
    return seen


def withdrawn(stage: Stage, laptop: Laptop) -> Evidence:
    """A key that is no key is refused; an empty file takes the key, its user and its rule away, and nothing else."""
    install = "cd /root/kioskd && scripts/install --settings-key"
    told = stage.machine.run(f"{install} /etc/passwd 2>&1; echo code $?").strip()
    expect(told.endswith("code 1") and "no public key" in told, told)
    options = "printf 'command=\"sh\" ' | cat - laptop.pub >/run/with-options; printf 'x%.0s' | cat >/dev/null"
    told = stage.machine.run(f"cd /root/kioskd; {options}; scripts/install --settings-key /run/with-options 2>&1; true")
    expect("no public key" in told, told)
    expect(laptop.ask("config get audio.volume").code == 0, "the key was lost by a wrong one")
    pid = stage.machine.pid()
    stage.machine.run(f"{install} /dev/null")
    expect(laptop.ask("config get audio.volume").code == 255, "the key still works")
    left = stage.machine.run(f"ls -d /etc/sudoers.d/{USER} /var/lib/{USER} 2>&1; getent passwd {USER}", check=False)
    expect("No such file" in left and "/bin/sh" not in left, left)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    stage.machine.run(f"{install} laptop.pub")
    expect(laptop.ask("config get audio.volume").code == 0, "it can't be given back")
    return {"sshd": stage.machine.run(f"journalctl -u {SSHD} -o cat --no-pager -n 3").splitlines()}


def _state(stage: Stage) -> str:
    """What no attack may change: the settings, their versions, who is logged in, and no trace of a success."""
    look = (
        "sha256sum /etc/kioskd/kioskd.yaml /etc/passwd /etc/shadow /etc/sudoers.d/* /root/.ssh/* 2>/dev/null;"
        f"ls /var/lib/kioskd-settings/versions; pgrep -u {USER}; ls -d {PWNED}* 2>/dev/null"
    )
    return stage.machine.run(look, check=False)
