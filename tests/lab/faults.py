"""Faults that both kinds of machine can have: each is made, noticed, mended; the time of recovery is measured."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.report import Evidence, expect
from lab.shell import CommandError, until
from lab.stage import KEY, Stage, write_settings

WATCHDOG_PATIENCE_S = 150  # WatchdogSec=30, an abort, a restart, on an emulated processor


def restarts(stage: Stage) -> int:
    """How often systemd restarted the daemon by itself."""
    return int(stage.machine.shown("NRestarts")["NRestarts"])


def recovery(stage: Stage, begun: float, patience_s: float = 90) -> float:
    """The seconds since `begun` once the kiosk is healthy."""
    stage.healthy(patience_s)
    return round(time.monotonic() - begun, 1)


def killed(stage: Stage) -> Evidence:
    """kill -9: systemd restarts the daemon, and it is healthy again."""
    before, count = stage.machine.pid(), restarts(stage)
    begun = time.monotonic()
    stage.machine.run(f"kill -KILL {before}")
    until("another process", lambda: stage.machine.pid() not in (0, before), 60, every=0.2)
    seconds = recovery(stage, begun)
    expect(restarts(stage) > count, "systemd did not count a restart")
    return {"recovery_s": seconds, "restarts": restarts(stage) - count}


def frozen(stage: Stage) -> Evidence:
    """kill -STOP: nothing moves, systemd's watchdog notices, kills and restarts."""
    before = stage.machine.pid()
    begun = time.monotonic()
    stage.machine.run(f"kill -STOP {before}")
    until("another process", lambda: stage.machine.pid() not in (0, before), WATCHDOG_PATIENCE_S, every=0.5)
    seconds = recovery(stage, begun)
    journal = stage.machine.run("journalctl -u kioskd --no-pager -o cat -n 200 | grep -i watchdog", check=False)
    expect("atchdog" in journal, "the journal doesn't say that it was the watchdog")
    return {"recovery_s": seconds, "journal": journal.splitlines()[:2]}


def endpoint_gone(stage: Stage) -> Evidence:
    """The endpoint dies and comes back: no restart of the kiosk, the link is up again by itself."""
    pid = stage.machine.pid()
    stage.simulator.stop()
    status = stage.unhealthy(30)
    time.sleep(5)
    begun = time.monotonic()
    stage.simulator.start()
    seconds = recovery(stage, begun)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"recovery_s": seconds, "said": status.get("troubles")}


def bad_reload(stage: Stage) -> Evidence:
    """Bad settings and SIGHUP: told with their line, the old ones stay in use."""
    pid = stage.machine.pid()
    stage.machine.run("cp /etc/kioskd/kioskd.yaml /run/good.yaml; echo 'nonsense: true' >>/etc/kioskd/kioskd.yaml")
    try:
        stage.machine.run("systemctl reload kioskd", timeout=60, check=False)
        until("told", lambda: "nonsense" in stage.machine.journal(), 20, every=0.5)
        said = [line for line in stage.machine.journal().splitlines() if "nonsense" in line]
        expect("kioskd.yaml:" in said[-1], f"no line is named: {said[-1]}")
        expect(stage.machine.pid() == pid, "the daemon was restarted for it")
        stage.healthy(30)
    finally:
        stage.machine.run("cp /run/good.yaml /etc/kioskd/kioskd.yaml; systemctl reload kioskd", timeout=60, check=False)
    stage.healthy(60)
    return {"said": said[-1]}


def good_reload(stage: Stage) -> Evidence:
    """Other settings and SIGHUP: they count, in the same process."""
    pid = stage.machine.pid()
    write_settings(stage, extra="conversation:\n  forget_after_s: 61\n")
    begun = time.monotonic()
    stage.machine.run("systemctl reload kioskd", timeout=60)
    time.sleep(1)
    seconds = recovery(stage, begun)
    expect(stage.machine.pid() == pid, "the daemon was restarted")
    state = stage.machine.shown("ActiveState", "StatusText")
    expect(state["ActiveState"] == "active", f"the unit is {state['ActiveState']}")
    write_settings(stage)
    stage.machine.run("systemctl reload kioskd", timeout=60)
    time.sleep(1)
    stage.healthy(60)
    return {"recovery_s": seconds, "status_text": state["StatusText"]}


def secret_is_kept(stage: Stage) -> Evidence:
    """The key comes as a credential; it is found in no command line, environment, log, status or settings."""
    pid = stage.machine.pid()
    expect(stage.simulator.events("wire"), "the endpoint, which takes only this key, heard nothing")
    places = {
        "command lines": "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
        "environment": f"cat /proc/{pid}/environ",
        "journal": "journalctl --no-pager -o verbose",
        "status": "kioskd status --json",
        "unit": "systemctl show kioskd",
        "settings": "cat /etc/kioskd/*",
        "state": "cat /var/lib/kioskd/* /run/kioskd/* 2>/dev/null; true",
    }
    # The pattern comes from a file: as an argument, it would be found in this search's own command line.
    stage.machine.put(KEY[:12], "/run/lab-pattern", mode="600")
    for place, command in places.items():
        count = stage.machine.run(f"({command}) 2>/dev/null | grep -c -F -f /run/lab-pattern", check=False, timeout=60)
        expect(count.strip() == "0", f"the key stands in: {place}")
    expect(stage.machine.run("grep -c -F -f /run/lab-pattern /etc/credstore/kioskd-api-key").strip() == "1", "no key")
    private = stage.machine.run(f"nsenter -t {pid} -m sh -c 'stat -c %a,%U /run/credentials/kioskd.service/*'")
    return {"looked_into": list(places), "credential": private.strip()}


def flight_of_a_killed_turn(stage: Stage) -> Evidence:
    """kill -9 in mid-turn: after the restart the flight record of that turn is there."""
    press = "systemd-run -q --collect kioskd press --ms 8000"
    stage.machine.run(press)
    until("listening", lambda: stage.machine.look("status").get("state") == "listening", 20, every=0.2)
    begun = time.monotonic()
    stage.machine.run(f"kill -KILL {stage.machine.pid()}")
    time.sleep(1)
    seconds = recovery(stage, begun)
    listed = stage.machine.run("kioskd flight list", timeout=60)
    latest = stage.machine.run("ls -t /var/lib/kioskd/flight/* | head -1").strip()
    shown = stage.machine.run(f"kioskd flight show {latest}", timeout=60)
    expect("Pressed" in shown or "press" in shown.lower(), "the dump doesn't hold the press")
    replayed = stage.machine.run(f"kioskd flight replay {latest} | tail -3", timeout=120)
    return {"recovery_s": seconds, "list": listed.splitlines()[-2:], "replay": replayed.splitlines()[-1:]}


def stopped_in_mid_answer(
    stage: Stage, ask: Callable[[], object], check: Callable[[], object] = lambda: None
) -> Evidence:
    """SIGTERM while it speaks: within its grace the service is down, cleanly; then it starts again."""
    ask()
    until("speaking", lambda: stage.machine.look("status").get("state") == "speaking", 60, every=0.2)
    begun = time.monotonic()
    stage.machine.run("systemctl stop kioskd", timeout=90)
    took = round(time.monotonic() - begun, 1)
    state = stage.machine.shown("Result", "ExecMainStatus", "ActiveState")
    expect(state["Result"] == "success" and state["ExecMainStatus"] == "0", f"it ended badly: {state}")
    expect(took < 20, f"it took {took} s, with a grace of 8 s")
    check()
    begun = time.monotonic()
    stage.machine.run("systemctl start kioskd", timeout=90)
    return {"stopped_in_s": took, "recovery_s": recovery(stage, begun)}


def ready(stage: Stage) -> Evidence:
    """After the installation the unit is active, says READY and STATUS, and is healthy."""
    seconds = stage.healthy(120)
    state = stage.machine.shown(
        "ActiveState", "Type", "StatusText", "NRestarts", "WatchdogUSec", "User", "MemoryCurrent"
    )
    expect(state["ActiveState"] == "active" and state["Type"] == "notify", f"the unit: {state}")
    expect(state["StatusText"], "there is no STATUS= line")
    code = stage.machine.run("kioskd status >/dev/null; echo $?", timeout=60).strip()
    expect(code == "0", f"kioskd status exits with {code}")
    return {"recovery_s": None, "healthy_after_s": seconds, "unit": state}


def settle(stage: Stage) -> None:
    """Before the next case: whatever the last one did, start from a healthy kiosk. Raises CommandError."""
    try:
        stage.healthy(60)
    except CommandError:
        stage.machine.run("systemctl reset-failed kioskd; systemctl restart kioskd", timeout=120, check=False)
        stage.healthy(90)
