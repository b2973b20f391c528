"""Settings changed over a real sshd, by the settings key: well, badly, at once, cut off, and with malice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lab import faults, key_attacks, loudness
from lab.laptop import Laptop, Said, bring, readme_commands
from lab.report import Case, Evidence, Report, expect
from lab.shell import CommandError, until
from lab.stage import KEY, Stage, settings_text

CHECKOUT = "/root/kioskd"
SETTINGS = "/etc/kioskd/kioskd.yaml"
STORE = "/var/lib/kioskd-settings"
DEAD = "ws://endpoint.lab:9/v1/realtime"  # nobody listens there
KEPT, REFUSED, TAKEN_BACK, BUSY = 0, 1, 3, 4


def owner_path(stage: Stage, laptop: Laptop) -> Evidence:
    """From a bare Debian to a kiosk that answers, and a change from a laptop: the README's lines, as they stand."""
    machine = stage.machine
    machine.run(f"cp -r /lab/kioskd {CHECKOUT} && ln -s /lab/wheels {CHECKOUT}/wheels")
    machine.put((laptop.folder / "id_ed25519.pub").read_text(), f"{CHECKOUT}/laptop.pub")
    (laptop.folder / "api-key").write_text(KEY)
    (laptop.folder / "kioskd.yaml").write_text(settings_text(stage))
    said = []
    for place, command in readme_commands():
        begun = time.monotonic()
        if place == "kiosk":
            done = Said(0, machine.run(f"cd {CHECKOUT} && {command} 2>&1", timeout=600), "")
        else:
            done = laptop.run(command)
            if "config apply" in command and done.code == KEPT:
                stage.healthy(90)
        took = round(time.monotonic() - begun, 1)
        said.append({"place": place, "command": command, "took_s": took, "said": str(done)[-300:]})
        # A doctor may warn of what a container has not; it must not find a fault.
        worst = 1 if "doctor" in command else 0
        expect(done.code <= worst, f"{command}: {done}")
    expect(volume(stage) == 40, f"the volume is {volume(stage)}")
    return {"commands": said}


def good_change(stage: Stage, laptop: Laptop) -> Evidence:
    """A good change: kept, in the same process, and the history knows who, from where."""
    pid = stage.machine.pid()
    done = laptop.ask("config set conversation.forget_after_s=61 --json")
    expect(done.code == KEPT and json.loads(done.out)["result"] == "kept", str(done))
    last = history(laptop)[-1]
    expect(last["who"] == "kioskd-admin from 127.0.0.1", f"the history says {last['who']}")
    expect(last["counts"] and last["changed"] == ["conversation.forget_after_s"], f"the history: {last}")
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"history": last}


def wrong_card(stage: Stage, laptop: Laptop) -> Evidence:
    """A sound card that isn't there: refused at once where that can be known, else taken back."""
    with unchanged(stage):
        known = laptop.ask("config set audio.speaker=plughw:CARD=Nope,DEV=0")
        expect(known.code == REFUSED and "no sound card Nope" in known.err, str(known))
        begun = time.monotonic()
        tried = laptop.ask("config set audio.speaker=nope --probation 8s")
        took = round(time.monotonic() - begun, 1)
        expect(tried.code == TAKEN_BACK and "nope" in tried.out, str(tried))
        return {"recovery_s": faults.recovery(stage, begun), "taken_back_after_s": took, "said": tried.out.strip()}


def network_killed(stage: Stage, laptop: Laptop) -> Evidence:
    """An endpoint that nobody reaches, a name that nobody knows, a dead proxy: each is taken back by itself."""
    evidence: Evidence = {}
    begun = time.monotonic()
    with unchanged(stage):
        for name, change in {
            "endpoint": f"endpoints.lab.url={DEAD}",
            "name": "endpoints.lab.url=ws://nowhere.lab/v1/realtime",
            "proxy": "endpoints.lab.proxy=http://endpoint.lab:9",
        }.items():
            done = laptop.ask(f"config set {change} --probation 8s")
            expect(done.code == TAKEN_BACK, f"{change}: {done}")
            evidence[name] = done.out.strip()
            begun = time.monotonic()
            stage.healthy(60)
        probed = laptop.ask(f"config set endpoints.lab.url={DEAD} --probe")
        expect(probed.code == REFUSED and "no session comes up" in probed.err, str(probed))
    return {"recovery_s": round(time.monotonic() - begun, 1), **evidence}


def not_confirmed(stage: Stage, laptop: Laptop) -> Evidence:
    """With --confirm: what nobody confirms goes by itself; what is confirmed stays."""
    with unchanged(stage):
        done = laptop.ask("config set audio.volume=31 --confirm --probation 5s")
        expect(done.code == KEPT and volume(stage) == 31, str(done))
        until("taken back", lambda: volume(stage) != 31 and not on_trial(stage), 30)
    laptop.ask("config set audio.volume=32 --confirm --probation 60s")
    done = laptop.ask("config confirm")
    expect(done.code == KEPT and volume(stage) == 32 and not on_trial(stage), str(done))
    return {"confirmed": done.out.strip()}


def network_down_already(stage: Stage, laptop: Laptop) -> Evidence:
    """A good change while the endpoint is out of reach anyway: not taken back for that."""
    stage.simulator.stop()
    try:
        stage.unhealthy(30)
        done = laptop.ask("config set audio.volume=33")
        expect(done.code == KEPT and volume(stage) == 33, str(done))
    finally:
        begun = time.monotonic()
        stage.simulator.start()
    seconds = faults.recovery(stage, begun)
    expect(volume(stage) == 33 and history(laptop)[-1]["outcome"] == "kept", f"it did not stay: {history(laptop)[-1]}")
    return {"recovery_s": seconds, "said": done.out.strip()}


def dropped_line(stage: Stage, laptop: Laptop) -> Evidence:
    """The SSH line dies in mid-apply: a bad change is taken back all the same, a good one is kept."""
    with unchanged(stage):
        _cut(stage, laptop, f"config set endpoints.lab.url={DEAD} --probation 8s", lambda process: process.kill())
        begun = time.monotonic()
        until("decided", lambda: not on_trial(stage), 60, every=0.3)
        seconds = faults.recovery(stage, begun)
    bad = history(laptop)[-1]
    expect(bad["outcome"] == "reverted", f"the bad one: {bad}")
    _cut(stage, laptop, "config set audio.volume=34", lambda process: process.kill())
    until("decided", lambda: not on_trial(stage), 60, every=0.3)
    expect(history(laptop)[-1]["outcome"] == "kept" and volume(stage) == 34, f"the good one: {history(laptop)[-1]}")
    return {"recovery_s": seconds, "bad": bad["why"]}


def command_killed(stage: Stage, laptop: Laptop) -> Evidence:
    """kill -9 of everything that was making a change: the timer takes a bad one back, and keeps a good one."""

    def kill(process: object) -> None:
        stage.machine.run("kill -9 $(pgrep -f '[c]onfig-verb')")

    with unchanged(stage):
        _cut(stage, laptop, f"config set endpoints.lab.url={DEAD} --probation 5s", kill)
        begun = time.monotonic()
        until("decided", lambda: not on_trial(stage), 60, every=0.3)
        seconds = faults.recovery(stage, begun)
    expect(history(laptop)[-1]["outcome"] == "reverted", f"the bad one: {history(laptop)[-1]}")
    _cut(stage, laptop, "config set audio.volume=35 --probation 5s", kill)
    until("decided", lambda: not on_trial(stage), 60, every=0.3)
    expect(history(laptop)[-1]["outcome"] == "kept" and volume(stage) == 35, f"the good one: {history(laptop)[-1]}")
    return {"recovery_s": seconds}


def _cut(stage: Stage, laptop: Laptop, change: str, cut: Callable[[Any], object]) -> None:
    process = laptop.begin(change)
    try:
        until("on trial", lambda: on_trial(stage), 30, every=0.05)
        cut(process)
        process.wait(30)
    finally:
        process.kill()
        process.communicate()
    expect(on_trial(stage), "it was decided before the line was cut")


def two_at_once(stage: Stage, laptop: Laptop) -> Evidence:
    """Two who change the settings at once: one counts, the other is told by whom it is refused."""
    said: dict[int, Said] = {}

    def change(value: int) -> None:
        said[value] = laptop.ask(f"config set audio.volume={value}")

    both = [threading.Thread(target=change, args=(value,)) for value in (36, 37)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    expect(sorted(done.code for done in said.values()) == [KEPT, BUSY], f"{[str(done) for done in said.values()]}")
    winner = next(value for value, done in said.items() if done.code == KEPT)
    loser = next(done for done in said.values() if done.code == BUSY)
    expect(volume(stage) == winner, f"the volume is {volume(stage)}, not {winner}")
    return {"refused": loser.err.strip()}


def secret_set(stage: Stage, laptop: Laptop) -> Evidence:
    """A wrong API key, then the right one, over the settings key: each counts at once, and stands nowhere."""
    pid, wrong = stage.machine.pid(), "sk-lab-wrong-9876543210zyxwv"
    done = laptop.ask("secret set api-key", stdin=f"{wrong}\n")
    expect(done.code == 0 and "counts now, for lab" in done.out, str(done))
    status = stage.unhealthy(60)
    begun = time.monotonic()
    done = laptop.ask("secret set api-key", stdin=KEY)
    expect(done.code == 0, str(done))
    seconds = faults.recovery(stage, begun)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    stage.machine.put("\n".join([wrong[:18], KEY[:12]]), "/run/lab-pattern", mode="600")
    look = f"(journalctl --no-pager -o verbose; kioskd status --json; cat {SETTINGS} {STORE}/versions/*/*) 2>/dev/null"
    count = stage.machine.run(f"{look} | grep -c -F -f /run/lab-pattern", check=False, timeout=60).strip()
    expect(count == "0", "a key stands in the journal, the status or the settings")
    stage.machine.run("systemctl restart kioskd", timeout=60)
    stage.healthy(60)
    return {"recovery_s": seconds, "said": done.out.strip(), "refused": status.get("troubles")}


def secret_read_only(stage: Stage, laptop: Laptop) -> Evidence:
    """Where /etc is read-only a secret can't be kept: told with its remedy, and the old one still counts."""
    stage.machine.run("mount --bind /etc /etc && mount -o remount,bind,ro /etc")
    try:
        done = laptop.ask("secret set api-key", stdin="sk-lab-wrong-9876543210zyxwv")
        expect(done.code == REFUSED, str(done))
        expect("Read-only" in done.err and "sudo kioskd secret set api-key" in done.err, f"no remedy: {done}")
        stage.machine.run("systemctl restart kioskd", timeout=60)
        stage.healthy(60)
    finally:
        stage.machine.run("umount /etc")
    return {"said": done.err.strip()}


@contextmanager
def unchanged(stage: Stage) -> Iterator[None]:
    """After all of this the settings are what they were, byte by byte."""
    before = stage.machine.run(f"cat {SETTINGS}")
    yield
    after = stage.machine.run(f"cat {SETTINGS}")
    expect(after == before, f"the settings are not what they were:\n{after}")


def history(laptop: Laptop) -> list[dict[str, Any]]:
    """As the owner sees it, oldest first."""
    found: list[dict[str, Any]] = json.loads(laptop.ask("config history --json").out)
    return found


def volume(stage: Stage) -> int:
    """As the settings file has it."""
    return int(stage.machine.run(f"sed -n 's/^ *volume: *//p' {SETTINGS}").strip() or 80)


def on_trial(stage: Stage) -> bool:
    """Whether a version is."""
    return stage.machine.run(f"test -L {STORE}/pending && echo yes", check=False).strip() == "yes"


CASES = [
    Case("owner-path", owner_path),
    Case("good-change", good_change),
    Case("wrong-card", wrong_card),
    Case("network-killed", network_killed),
    Case("not-confirmed", not_confirmed),
    Case("network-down-already", network_down_already),
    Case("dropped-line", dropped_line),
    Case("command-killed", command_killed),
    Case("two-at-once", two_at_once),
    Case("injections", key_attacks.injections),
    Case("no-other-way-in", key_attacks.no_other_way_in),
    Case("root-side-attacked", key_attacks.root_side),
    Case("secret-set", secret_set),
    Case("secret-read-only-etc", secret_read_only),
    Case("volume-while-speaking", loudness.volume_while_speaking),
    Case("key-withdrawn", key_attacks.withdrawn),
]
NEEDED = frozenset({"owner-path"})


def perform(stage: Stage, report: Report) -> None:
    """All of them, in this order; none where the README's way doesn't lead to a kiosk."""
    laptop = bring(stage)
    for case in CASES:
        done = report.perform(stage.name, case, stage, laptop, needed=case.name in NEEDED)
        if not done and case.name in NEEDED:
            return
        if not done:
            try:
                faults.settle(stage)
            except CommandError:
                return
