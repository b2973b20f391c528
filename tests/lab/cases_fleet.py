"""A fleet under Ansible: what a rollout changes, where it stops, and what it leaves alone."""

from __future__ import annotations

import json
import re
import shutil
import time
import zipfile
from itertools import pairwise
from pathlib import Path

from lab import images
from lab.fleet import BATCHES, CANARY, KIOSKS, SUITE, Fleet, Played
from lab.report import Case, Evidence, Report, expect
from lab.shell import CommandError
from lab.stage import KEY

SPARE = "spare-0123456789abcdefghij"
SICK = "kiosk-3"  # in the second batch, with a healthy one
MATE, LATER = "kiosk-2", KIOSKS[3:]


def ready(fleet: Fleet) -> Evidence:
    """Five kiosks of one image come up and are healthy."""
    begun = time.monotonic()
    fleet.all_healthy(120)
    fleet.write_inventory(volume=50)
    vault = fleet.write_vault(api_key=KEY, spare=SPARE)
    expect(vault.read_text().startswith("$ANSIBLE_VAULT"), "the vault is no vault")
    return {
        "healthy_s": round(time.monotonic() - begun, 1),
        "ansible": fleet.tool("ansible", "--version").split("\n")[0],
    }


def lint(fleet: Fleet) -> Evidence:
    """ansible-lint, by the rules of its profile "production", finds nothing."""
    said = fleet.tool("ansible-lint", "--offline", "--profile", "production")
    expect("Passed: 0 failure(s), 0 warning(s)" in said, said[-500:])
    return {"said": said.strip().splitlines()[-1]}


def check_mode(fleet: Fleet) -> Evidence:
    """--check tells what would change on every kiosk, and changes nothing."""
    before = fleet.states()
    played = fleet.play("apply", "--check").expect_done()
    _expect_untouched(fleet, before, KIOSKS)
    lines = [line.strip(" -'\"") for line in played.said.splitlines() if "volume" in line]
    expect(len([line for line in lines if re.search(r'\+ *"volume": 50', line)]) == len(KIOSKS), str(lines))
    ceilings = [line for line in lines if '"volume_ceiling": 90' in line]
    expect(len(ceilings) == 3, f"the station's own setting is in the diff of {len(ceilings)} kiosks, not 3")
    expect(all(played.changed[name] for name in KIOSKS), f"not announced: {played.changed}")
    return {"announced": played.changed, "diff": lines[:2]}


def rollout(fleet: Fleet) -> Evidence:
    """The canary first, then batch after batch; each kiosk has its own settings, and the key out of the vault."""
    played = fleet.play("apply", "-vv").expect_done()
    fleet.all_healthy(60)
    made = {}
    for name in KIOSKS:
        newest = json.loads(fleet.kiosks[name].machine.run("kioskd config history --json"))[-1]
        expect(newest["outcome"] == "kept" and newest["counts"], f"{name}: {newest}")
        expect(newest["who"] == "owner from 127.0.0.1", f"{name}: by {newest['who']}")
        made[name] = newest["at"]
        ceiling = fleet.value(name, "audio.volume_ceiling")
        expect((fleet.value(name, "audio.volume"), ceiling == "90") == ("50", name in KIOSKS[2:]), f"{name}: {ceiling}")
    for earlier, later in pairwise(BATCHES):
        expect(max(made[each] for each in earlier) < min(made[each] for each in later), f"the order: {made}")
    for secret in (KEY, SPARE):
        expect(secret not in played.said, "a secret is shown")
    notes = fleet.kiosks[CANARY].machine.run("stat -c '%n %a %U' /var/lib/kioskd-settings/fleet/*")
    expect(all(line.endswith(" 600 root") for line in notes.splitlines()), notes)
    return {"at": made, "changed": played.changed}


def again(fleet: Fleet) -> Evidence:
    """The same once more changes nothing, and says so."""
    before = fleet.states()
    begun = time.monotonic()
    played = fleet.play("apply").expect_done()
    seconds = round(time.monotonic() - begun, 1)
    _expect_nothing_changed(played)
    _expect_untouched(fleet, before, KIOSKS)
    return {"changed": played.changed, "seconds": seconds}


def drifted(fleet: Fleet) -> Evidence:
    """A secret and a setting that were changed by hand on one kiosk: only these are set again."""
    machine = fleet.kiosks[SICK].machine
    before = fleet.states()
    machine.run("kioskd secret set spare && kioskd config set audio.volume=33", stdin="another-0123456789", timeout=60)
    played = fleet.play("apply").expect_done()
    expect(fleet.value(SICK, "audio.volume") == "50", "the setting is still another")
    _expect_untouched(fleet, before, [name for name in KIOSKS if name != SICK])
    tasks = _changed_tasks(played, SICK)
    expect(tasks == ["Set it - spare", "Note it - spare", "Apply them, on trial"], f"changed: {tasks}")
    return {"changed": tasks}


def broken_settings(fleet: Fleet) -> Evidence:
    """One kiosk can't be healthy under its settings: they are taken back there, and nobody after it gets any."""
    before, old = fleet.states(), fleet.value(SICK, "audio.speaker")
    fleet.hosts[SICK] = {"kioskd_host_settings": {"audio": {"speaker": "nope"}}}
    fleet.write_inventory(volume=51)
    try:
        played = fleet.play("apply")
        expect(played.code, "the rollout went on")
        expect('"result": "reverted"' in played.said, f"no reason is told: {played.said[-800:]}")
        fleet.all_healthy(60)
        _expect_untouched(fleet, before, LATER)
        expect(not set(LATER) & set(played.changed), f"it came to {played.changed}")
        expect((fleet.value(SICK, "audio.speaker"), fleet.value(SICK, "audio.volume")) == (old, "50"), "not taken back")
        expect([fleet.value(name, "audio.volume") for name in KIOSKS] == ["51", "51", "50", "50", "50"], "the volumes")
    finally:
        fleet.hosts.clear()
        fleet.write_inventory(volume=50)
    said = re.search(r'"why": "([^"]*)"', played.said)
    return {"said": said[1] if said else "", "came_to": sorted(played.changed)}


def wrong_settings(fleet: Fleet) -> Evidence:
    """Settings with a mistake: told with line and key, and nobody gets them, not even the canary."""
    before = fleet.states()
    fleet.write_inventory(volume=500)
    try:
        played = fleet.play("apply")
    finally:
        fleet.write_inventory(volume=50)
    expect(played.code, "the rollout went on")
    _expect_untouched(fleet, before, KIOSKS)
    said = re.search(r"<stdin>:\d+: audio\.volume: [^'\"]*", played.said)
    expect(said, played.said[-800:])
    return {"said": said[0] if said else ""}


def unhealthy_before(fleet: Fleet) -> Evidence:
    """One kiosk is ailing already: the rollout stops before anything is done to it, its batch, or those after it."""
    before = fleet.states()
    machine = fleet.kiosks[SICK].machine
    fleet.write_inventory(volume=52)
    machine.run("systemctl stop lab-pulse")
    try:
        fleet.kiosks[SICK].unhealthy(30)
        played = fleet.play("apply")
        expect(played.code, "the rollout went on")
        _expect_untouched(fleet, before, [name for name in KIOSKS if name != CANARY])
        expect(fleet.value(CANARY, "audio.volume") == "52", "the canary has not got it")
        expect("speaker" in played.said, f"no reason is told: {played.said[-800:]}")
    finally:
        machine.run("systemctl start lab-pulse lab-room")
    begun = time.monotonic()
    fleet.kiosks[SICK].healthy(90)
    seconds = round(time.monotonic() - begun, 1)
    fleet.play("apply").expect_done()
    expect([fleet.value(name, "audio.volume") for name in KIOSKS] == ["52"] * 5, "the rest was not rolled out")
    return {"recovery_s": seconds, "came_to": sorted(played.changed)}


def upgrade(fleet: Fleet) -> Evidence:
    """Another version out of a wheelhouse, on every kiosk; once more, and in check mode, nothing is changed."""
    old = fleet.kiosks[CANARY].machine.run("readlink /opt/kioskd/current").strip()
    house = _wheelhouse(fleet, "good", "kioskd/fleet_was_here.py", b'"""Nothing."""\n')
    before = fleet.states()
    checked = fleet.play("upgrade", "--check", kioskd_wheelhouse=str(house)).expect_done()
    expect(set(checked.changed.values()) == {1}, f"announced: {checked.changed}")
    _expect_untouched(fleet, before, KIOSKS)
    begun = time.monotonic()
    fleet.play("upgrade", kioskd_wheelhouse=str(house)).expect_done()
    seconds = round(time.monotonic() - begun, 1)
    fleet.all_healthy(60)
    new = {fleet.kiosks[name].machine.run("readlink /opt/kioskd/current").strip() for name in KIOSKS}
    expect(len(new) == 1 and old not in new, f"{old} became {new}")
    before = fleet.states()
    _expect_nothing_changed(fleet.play("upgrade", kioskd_wheelhouse=str(house)).expect_done())
    _expect_untouched(fleet, before, KIOSKS)
    return {"from": old, "to": new.pop(), "seconds": seconds}


def broken_upgrade(fleet: Fleet) -> Evidence:
    """A version that doesn't come up: the canary goes back to the one before by itself, the rest is left alone."""
    before = fleet.states()
    old = fleet.kiosks[CANARY].machine.run("readlink /opt/kioskd/current").strip()
    house = _wheelhouse(fleet, "bad", "kioskd/daemon.py", b'raise RuntimeError("broken on purpose")\n')
    begun = time.monotonic()
    played = fleet.play("upgrade", kioskd_wheelhouse=str(house))
    expect(played.code, "the rollout went on")
    expect("broken on purpose" in played.said and "runs again" in played.said, played.said[-1500:])
    _expect_untouched(fleet, before, KIOSKS[1:])
    expect(fleet.kiosks[CANARY].machine.run("readlink /opt/kioskd/current").strip() == old, "the canary has it")
    fleet.kiosks[CANARY].healthy(60)
    return {"recovery_s": round(time.monotonic() - begun, 1), "back_to": old}


def doctor(fleet: Fleet) -> Evidence:
    """A report of all, also of one that ails and of one that can't be reached: as a table, and as JSON."""
    machine = fleet.kiosks[SICK].machine
    before = fleet.states()
    fleet.play("doctor").expect_done()
    well = json.loads((fleet.out / "report/doctor.json").read_text())
    expect({name: each["verdict"] for name, each in well.items()} == dict.fromkeys(KIOSKS, "pass"), _short(well))
    fleet.hosts["kiosk-6"] = {"ansible_host": "127.0.0.1", "ansible_port": 9}
    fleet.write_inventory(volume=52)
    machine.run("systemctl stop lab-pulse")
    try:
        fleet.kiosks[SICK].unhealthy(30)
        played = fleet.play("doctor")
    finally:
        machine.run("systemctl start lab-pulse lab-room")
        fleet.hosts.clear()
        fleet.write_inventory(volume=52)
    fleet.kiosks[SICK].healthy(90)
    report = json.loads((fleet.out / "report/doctor.json").read_text())
    verdicts = {name: each["verdict"] for name, each in report.items()}
    expect(verdicts == dict.fromkeys(KIOSKS, "pass") | {SICK: "fail", "kiosk-6": "unreachable"}, _short(report))
    expect(report[CANARY]["health"] == "healthy" and report[CANARY]["version"], _short(report))
    expect(played.code and "something must be mended: kiosk-3, kiosk-6" in played.said, played.said[-800:])
    _expect_untouched(fleet, before, KIOSKS)
    return {"table": (fleet.out / "report/doctor.txt").read_text().splitlines()}


def _short(report: dict[str, dict[str, object]]) -> str:
    return str({name: (each["verdict"], each["first"], each["health"]) for name, each in report.items()})


def _wheelhouse(fleet: Fleet, name: str, file: str, content: bytes) -> Path:
    """All that is in a wheelhouse, kioskd with another content of one file."""
    folder = fleet.folder / f"wheelhouse-{name}"
    with images.wheelhouse(SUITE) as house:
        shutil.copytree(house, folder)
    wheel = next(folder.glob("kioskd-*.whl"))
    other = wheel.with_suffix(".new")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            if item.filename != file:
                new.writestr(item, old.read(item))
        new.writestr(file, content)
    other.rename(wheel)
    return folder


def _expect_untouched(fleet: Fleet, before: dict[str, str], names: tuple[str, ...] | list[str]) -> None:
    for name in names:
        now = fleet.state(name)
        news = [line for line in now.splitlines() if line not in before[name].splitlines()]
        expect(now == before[name], f"{name} was touched: {news[:8]}")


def _expect_nothing_changed(played: Played) -> None:
    expect(played.changed == dict.fromkeys(KIOSKS, 0), f"changed: {played.changed}")


def _changed_tasks(played: Played, name: str) -> list[str]:
    """The names of the tasks that changed something there."""
    found, task = [], ""
    for line in played.said.splitlines():
        if line.startswith("TASK ["):
            task = line.removeprefix("TASK [kioskd : ").partition("]")[0]
        elif line.startswith(f"changed: [{name}]"):
            found.append(task)
    return found


CASES = [
    Case("ready", ready),
    Case("lint", lint),
    Case("check-mode", check_mode),
    Case("rollout", rollout),
    Case("again", again),
    Case("drifted", drifted),
    Case("wrong-settings", wrong_settings),
    Case("broken-settings", broken_settings),
    Case("unhealthy-before", unhealthy_before),
    Case("upgrade", upgrade),
    Case("broken-upgrade", broken_upgrade),
    Case("doctor", doctor),
]
NEEDED = frozenset({"ready", "rollout"})


def perform(fleet: Fleet, report: Report) -> None:
    """All of them, in this order; none after a first rollout that failed."""
    for case in CASES:
        done = report.perform("fleet", case, fleet, needed=case.name in NEEDED)
        if not done and case.name in NEEDED:
            return
        if not done:
            try:
                fleet.all_healthy(60)
            except CommandError:
                return
