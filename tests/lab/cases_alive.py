"""What stops moving, and what attacks: the documented rung of the ladder each time, or nothing at all."""

from __future__ import annotations

import time
from collections.abc import Callable

from kioskd.health.vitals import RUNG_S, VITALS, Rung
from lab import faults
from lab.report import Case, Evidence, expect
from lab.shell import until
from lab.ssh import TROUBLE
from lab.stage import Stage

LOOKS_S = 15.0  # until it is noticed, and a slow machine
GROWN_MB = 30.0  # what an attack may leave behind in the daemon's memory
NO_DNS_S = 25
CROWD = 200
DESCRIPTORS_MORE = 12


def hung(vital: str, rungs: tuple[Rung, ...], stage: Stage) -> Evidence:
    """The one thread on which a vital depends is stopped, as by a driver that hangs; all others go on."""

    def stop_thread() -> float:
        seen = stage.machine.look("hang", vital, timeout=150, program=TROUBLE)
        expect(seen.get("ended_after_s"), f"the process lives on: {seen}")
        return float(seen["ended_after_s"])

    return climbed(vital, rungs, stage, VITALS[vital].limit_s, stop_thread)


def stood_still(vital: str, rungs: tuple[Rung, ...], stage: Stage) -> Evidence:
    """The task on which a vital depends waits for ever; all others go on."""
    stage.machine.run(
        "mkdir -p /run/standstill /run/systemd/system/kioskd.service.d"
        " && cp /lab/standstill.py /run/standstill/sitecustomize.py"
        " && printf '[Service]\\nEnvironment=PYTHONPATH=/run/standstill\\n'"
        " >/run/systemd/system/kioskd.service.d/standstill.conf && systemctl daemon-reload && systemctl restart kioskd",
        timeout=90,
    )
    limit_s = 2 * VITALS[vital].limit_s  # a part that was begun anew has all of it again

    def stop_task() -> float:
        pid, begun = stage.machine.pid(), time.monotonic()
        stage.machine.run(f"echo {pid} {vital} >/run/standstill/now; sleep 1")
        if vital == "link":
            stage.simulator.stop()
            stage.simulator.start()
        until("another process", lambda: stage.machine.pid() not in (0, pid), limit_s + 4 * RUNG_S + LOOKS_S, every=0.5)
        return round(time.monotonic() - begun, 1)

    try:
        stage.healthy(60)
        return climbed(vital, rungs, stage, limit_s, stop_task)
    finally:
        stage.machine.run(
            "rm -r /run/standstill /run/systemd/system/kioskd.service.d/standstill.conf; systemctl daemon-reload;"
            " systemctl restart kioskd",
            timeout=90,
        )
        stage.healthy(60)


def climbed(
    vital: str, rungs: tuple[Rung, ...], stage: Stage, limit_s: float, stand_still: Callable[[], float]
) -> Evidence:
    """`stand_still` stops it, and tells after how many s the process had ended: by these rungs, and restarted."""
    pid, count = stage.machine.pid(), faults.restarts(stage)
    stage.healthy(30)
    mark = stage.machine.run("date +%s.%N").strip()
    ended_after_s = stand_still()
    begun = time.monotonic()
    seconds = faults.recovery(stage, begun, 120)
    expect(stage.machine.pid() != pid and faults.restarts(stage) > count, "it is the old process")
    journal = stage.machine.run(f"journalctl -u kioskd -o cat --no-pager --since=@{mark}")
    said = [line for line in journal.splitlines() if vital in line or "Main process exited" in line]
    code = VITALS[vital].exit_code
    expect(any(f"status={code}/" in line for line in said), f"the exit code is not {code}: {said}")
    took = [rung.value for line in journal.splitlines() for rung in Rung if line.endswith(f": {rung.value}")]
    wanted = [rung.value for rung in rungs if vital != "loop"]  # its own guard ends it, without a ladder
    expect([rung for rung in took if rung in wanted] == wanted and len(took) == len(wanted), f"the rungs: {took}")
    limit_s += (len(rungs) - 1) * RUNG_S + LOOKS_S
    expect(ended_after_s <= limit_s, f"it took {ended_after_s} s, more than {limit_s}")
    return {"recovery_s": seconds, "ended_after_s": ended_after_s, "exit_code": code, "rungs": took}


def _hang(vital: str, *rungs: Rung) -> Case:
    def run(stage: Stage, *_: object) -> Evidence:
        return hung(vital, rungs, stage)

    run.__doc__ = f"The thread of the vital {vital!r} hangs: {', '.join(rung.value for rung in rungs)}."
    return Case(f"hang:{vital}", run)


def _stands_still(vital: str, *rungs: Rung) -> Case:
    def run(stage: Stage, *_: object) -> Evidence:
        return stood_still(vital, rungs, stage)

    run.__doc__ = f"The task of the vital {vital!r} stands still: {', '.join(rung.value for rung in rungs)}."
    return Case(f"hang:{vital}", run)


def endpoint_frozen(stage: Stage) -> Evidence:
    """The endpoint takes all and says nothing: the link's own deadlines end it, and no rung is needed."""
    pid = stage.machine.pid()
    stage.simulator.freeze()
    try:
        begun = time.monotonic()
        status = stage.unhealthy(90)
        noticed = round(time.monotonic() - begun, 1)
    finally:
        begun = time.monotonic()
        stage.simulator.freeze(False)
    seconds = faults.recovery(stage, begun, 120)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    return {"recovery_s": seconds, "noticed_after_s": noticed, "said": status.get("troubles")}


def var_full(turn: Callable[[Stage], Evidence], stage: Stage) -> Evidence:
    """/var is full: a restart succeeds, a question is answered."""
    stage.machine.run(
        "mount -t tmpfs -o size=400m lab /mnt && cp -a /var/. /mnt && mount --bind /mnt /var && umount -l /mnt;"
        " cat /dev/zero >/var/fill; true",
        timeout=90,
        check=False,
    )
    try:
        expect(stage.machine.run("df --output=avail /var | tail -1").strip() == "0", "/var is not full")
        return _restarted(stage, turn)
    finally:
        stage.machine.run("umount -l /var; systemctl restart kioskd", timeout=90, check=False)
        stage.healthy(60)


def etc_read_only(turn: Callable[[Stage], Evidence], stage: Stage) -> Evidence:
    """/etc can't be written: a restart succeeds, a question is answered."""
    stage.machine.run("mount --bind /etc /etc && mount -o remount,bind,ro /etc")
    try:
        expect("no" in stage.machine.run("touch /etc/x && echo yes || echo no", check=False), "/etc can be written")
        return _restarted(stage, turn)
    finally:
        stage.machine.run("umount /etc; systemctl restart kioskd", timeout=90, check=False)
        stage.healthy(60)


def _restarted(stage: Stage, turn: Callable[[Stage], Evidence]) -> Evidence:
    begun = time.monotonic()
    stage.machine.run("systemctl restart kioskd", timeout=90)
    seconds = faults.recovery(stage, begun)
    return {"recovery_s": seconds, "recognised": turn(stage)["recognised"]}


def no_dns(stage: Stage) -> Evidence:
    """No name server, and the connection is lost: tried again and again, nothing grows, and found again at once."""
    pid, before = stage.machine.pid(), _size(stage)
    stage.machine.run("systemctl stop lab-names")
    stage.simulator.stop()
    stage.simulator.start()
    status = stage.unhealthy(60)
    time.sleep(NO_DNS_S)
    after = _size(stage)
    begun = time.monotonic()
    stage.machine.run("systemctl start lab-names")
    seconds = faults.recovery(stage, begun, 120)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    _unchanged(before, after)
    return {"recovery_s": seconds, "said": status.get("troubles"), "before": before, "after": after}


def attacked(stage: Stage) -> Evidence:
    """A control client that sends 1 GB, one that says nothing, 200 at once: the kiosk doesn't care."""
    pid, before = stage.machine.pid(), _size(stage)
    seen = {
        "gigabyte": stage.machine.look("gigabyte", timeout=90, program=TROUBLE),
        "crowd": stage.machine.look("crowd", CROWD, 0, timeout=90, program=TROUBLE),
        "silent crowd": stage.machine.look("crowd", CROWD, 8, timeout=120, program=TROUBLE),
    }
    begun = time.monotonic()
    seconds = faults.recovery(stage, begun, 30)
    until("down again", lambda: _size(stage)["descriptors"] <= before["descriptors"] + 1, 30, every=1)
    after = _size(stage)
    expect(stage.machine.pid() == pid, "the daemon was restarted for it")
    expect(seen["gigabyte"]["sent_bytes"] < 10_000_000, f"it took the gigabyte: {seen}")
    expect(seen["crowd"]["answered"] == CROWD, f"not all of the crowd got an answer: {seen}")
    _unchanged(before, after)
    return {"recovery_s": seconds, **seen, "before": before, "after": after}


def _size(stage: Stage) -> dict[str, float]:
    """What the daemon has: memory in MB, and open files."""
    pid = stage.machine.pid()
    text = stage.machine.run(f"grep VmRSS /proc/{pid}/status; ls /proc/{pid}/fd | wc -l").split()
    return {"memory_mb": round(int(text[1]) / 1024, 1), "descriptors": int(text[-1])}


def _unchanged(before: dict[str, float], after: dict[str, float]) -> None:
    expect(after["memory_mb"] <= before["memory_mb"] + GROWN_MB, f"it grew: {before}, {after}")
    expect(after["descriptors"] <= before["descriptors"] + DESCRIPTORS_MORE, f"files stay open: {before}, {after}")


# A thread that hangs can't be restarted. The link and the panel have none of their own, and can.
HANGS = [
    _hang("loop", Rung.EXIT),
    _hang("capture", Rung.REOPEN, Rung.EXIT),
    _hang("playback", Rung.REOPEN, Rung.EXIT),
    _stands_still("link", Rung.REOPEN, Rung.RESTART, Rung.EXIT),
    _stands_still("panel", Rung.RESTART, Rung.EXIT),
]


def survives(turn: Callable[[Stage], Evidence]) -> list[Case]:
    """`turn` asks a question, and hears the answer."""

    def full(stage: Stage) -> Evidence:
        return var_full(turn, stage)

    def read_only(stage: Stage) -> Evidence:
        return etc_read_only(turn, stage)

    full.__doc__, read_only.__doc__ = var_full.__doc__, etc_read_only.__doc__
    return [
        Case("endpoint-frozen", endpoint_frozen),
        Case("var-full", full),
        Case("etc-read-only", read_only),
        Case("no-dns", no_dns),
        Case("control-attacked", attacked),
    ]
